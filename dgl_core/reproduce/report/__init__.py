"""Write the report: the executed notebooks and the verdicts as a site, one folder that opens from a disk."""

from dgl_core.utils import needs

needs("Reports", "docutils", "furo", "jinja2", "latex2mathml", "myst_parser", "pygments", "sphinx")
