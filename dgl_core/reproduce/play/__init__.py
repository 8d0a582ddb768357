"""Write pages that a reader plays with in the browser, without a network: theory, a model, a training, a protocol."""

from dgl_core.utils import needs

needs("Pages to play with", "matplotlib", "scipy", "PIL")

from dgl_core.reproduce.play.pages import Page, write  # noqa: E402 (the sentence about a missing package comes first)

__all__ = ["Page", "write"]
