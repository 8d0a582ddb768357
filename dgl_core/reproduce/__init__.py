"""Plan, train, execute, report: the command behind the notebooks."""
