"""List the data sets by name, and what is known of them as tables.

A set is added in three places: a file with a ``Recipe`` in ``sets`` or ``generated``, that recipe in the lines above
``DATASETS``, and its block in ``catalogue.toml``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dgl_core.data.generated import dial, triplet
from dgl_core.data.generated.emotions import emotion_files
from dgl_core.data.generated.rooms import pictures
from dgl_core.data.recipe import Recipe, facts
from dgl_core.data.sets import cremad, grid, kinetics, mosi, nyuv2, own, vggsound
from dgl_core.utils import needs

if TYPE_CHECKING:
    import pandas

_MEDIA = (emotion_files.RECIPE, cremad.RECIPE, kinetics.RECIPE, vggsound.RECIPE, own.RECIPE)
_ARRAYS = (*grid.RECIPES, mosi.RECIPE, triplet.RECIPE, dial.RECIPE, nyuv2.RECIPE, pictures.RECIPE)
DATASETS: dict[str, Recipe] = {recipe.name: recipe for recipe in _MEDIA + _ARRAYS}
_OURS = "not in the paper"


def overview(profile: str, root: Path | None = None) -> pandas.DataFrame:
    """Show what the paper says of each data set beside what is here; the smoke profile does not look for real data."""
    needs("Tables", "pandas")
    import pandas

    def here(recipe: Recipe) -> str:
        if recipe.generated:
            return "made here"
        if profile == "smoke":
            return "not used in this profile"
        if not recipe.available(root):
            return "not here"
        return recipe.verify(root) if recipe.verify is not None else "here"

    told = [name for name, block in facts().items() if block.paper and not block.like]
    told.sort(key=lambda name: (facts()[name].paper == _OURS, DATASETS[name].generated))  # the paper's, real, generated
    rows = [(facts()[name].name, facts()[name].paper, here(DATASETS[name])) for name in told]
    return pandas.DataFrame(rows, columns=["data set", "paper", f"here ({profile})"]).set_index("data set")


def licences() -> pandas.DataFrame:
    """Return the licences of all data as a table, indexed by data set."""
    needs("Tables", "pandas")
    import pandas

    rows = [
        (block.name, block.what, block.licence, block.cite, "made here" if DATASETS[name].generated else "no")
        for name, block in facts().items()
        if block.licence and not block.like
    ]
    columns = ["data set", "what", "licence", "cite", "in this repository"]
    return pandas.DataFrame(rows, columns=columns).set_index("data set")
