"""Write the report: prose and cells, and the page they make."""
