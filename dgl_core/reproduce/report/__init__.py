"""Write the report: prose and cells, and the page they make."""

from dgl_core.utils import needs

needs("Reports", "jinja2", "latex2mathml", "mistune", "pygments")
