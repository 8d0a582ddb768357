"""Write the report: prose and cells, and the page they make."""

from dgl_core.reproduce.report.page import write

__all__ = ["write"]
