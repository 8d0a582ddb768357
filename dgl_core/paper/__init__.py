"""What the paper says, and whether it holds: experiments, theory, claims, tables."""

from dgl_core.utils import needs

needs("The tables and claims of the paper", "pandas", "scipy")
