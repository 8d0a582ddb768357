"""The command behind the notebooks: plan, train, execute, report."""
