"""Make the tables that notebooks show from run records."""
