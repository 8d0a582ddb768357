"""The rivals of Tables 1 and 2, one method a file."""
