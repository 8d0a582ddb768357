"""The data sets by name."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dgl_core.data import media_recipes, sequences
from dgl_core.data.generated import triplet
from dgl_core.data.generated.emotions import clips, files
from dgl_core.data.generated.rooms import pictures
from dgl_core.data.media_recipes import found
from dgl_core.data.recipe import Recipe
from dgl_core.data.sets import grid, mosi, nyuv2

if TYPE_CHECKING:
    import pandas

_AUGMENT = ("none", "shift")
_CHOICES = {"spectrogram": ("compact", "official", "paper"), "augment": (*_AUGMENT, "crop")}


_GRID_FRAMES = (1, 2, 4, 8)  # evenly spaced over the word
_RECIPES = (
    Recipe(
        name="emotions",
        title="Generated emotions",
        load=clips.load_emotions,
        options=asdict(files.Settings()) | {"spectrogram": "compact", "frame_size": 48, "augment": "shift"},
        revision=1,
        available=lambda root: True,
        generated=True,
        choices=_CHOICES,
        licence="Generated emotions",
        verify=files.verify,
    ),
    *media_recipes.RECIPES,
    Recipe(
        name="grid_letters",
        title="GRID letters (a stand-in)",
        load=grid.load_letters,
        options={"fold": 0, "frames": 8, "augment": "shift"},
        revision=1,
        available=found(grid.find_grid),
        generated=False,
        choices={"frames": _GRID_FRAMES, "augment": _AUGMENT},
        licence="GRID, talker s1",
        find=grid.find_grid,
        verify=grid.verify_grid,
    ),
    Recipe(
        name="grid_digits",
        title="GRID digits (a stand-in)",
        load=grid.load_digits,
        options={"fold": 0, "frames": 8, "augment": "shift"},
        revision=1,
        available=found(grid.find_grid),
        generated=False,
        choices={"frames": _GRID_FRAMES, "augment": _AUGMENT},
        licence="GRID, talker s1",
        find=grid.find_grid,
        verify=grid.verify_grid,
    ),
    Recipe(
        name="grid_words",
        title="GRID words (a stand-in)",
        load=grid.load_words,
        options={"frames": 8, "augment": "shift"},
        revision=1,
        available=found(grid.find_grid),
        generated=False,
        choices={"frames": _GRID_FRAMES, "augment": _AUGMENT},
        licence="GRID, talker s1",
        find=grid.find_grid,
        verify=grid.verify_grid,
    ),
    Recipe(
        name="mosi",
        title="CMU-MOSI",
        load=mosi.load_mosi,
        options={"protocol": "nested", "fold": 0, "text": "features"},
        revision=1,
        available=found(mosi.find_mosi),
        generated=False,
        choices={"protocol": mosi.PROTOCOLS, "text": mosi.TEXTS},
        licence="CMU-MOSI",
        find=mosi.find_mosi,
    ),
    Recipe(
        name="mosi_sequences",
        title="CMU-MOSI sequences",
        load=sequences.load_sequences,
        options={"steps": 0, "zero": "positive"},
        revision=1,
        available=found(sequences.find_sequences),
        generated=False,
        choices={"zero": sequences.ZEROS},
        find=sequences.find_sequences,
    ),
    Recipe(
        name="triplet",
        title="Generated three-modality features",
        load=triplet.load_triplet,
        options={"samples": 1500, "modalities": 3, "steps": 0, "seed": 0},
        revision=1,
        available=lambda root: True,
        generated=True,
        licence="Generated features",
    ),
    nyuv2.RECIPE,
    pictures.RECIPE,
)

DATASETS: dict[str, Recipe] = {recipe.name: recipe for recipe in _RECIPES}

# data set, what it is, who may use it, whom to cite, whether the project ships or makes it
LICENCES: tuple[tuple[str, str, str, str, str], ...] = (
    ("Generated emotions", "drawn faces, synthetic voices, 6 classes", "as the project (MIT)", "-", "made here"),
    ("Generated features", "2 to 5 modalities, 4 classes", "as the project (MIT)", "-", "made here"),
    ("Generated rooms", "RGB-D pictures of drawn rooms, 13 classes", "as the project (MIT)", "-", "made here"),
    ("CREMA-D", "7442 acted clips, 91 actors, 6 emotions", "ODbL 1.0, contents DbCL 1.0", "Cao et al. 2014", "no"),
    (
        "GRID, talker s1",
        "6000 spoken words with lip video, 51 / 25 / 10 classes",
        "CC BY 4.0",
        "Cooke, Barker, Cunningham, Shao 2006",
        "no",
    ),
    (
        "Kinetics-Sounds",
        "YouTube clips, 31 to 34 classes",
        "lists CC BY 4.0; videos: their owners'",
        "Arandjelović, Zisserman 2017; Kay et al. 2017",
        "no",
    ),
    ("VGGSound", "YouTube clips, 309 classes", "lists CC BY 4.0; videos: their owners'", "Chen et al. 2020", "no"),
    (
        "CMU-MOSI",
        "2199 utterances, text, audio and visual features",
        "features MIT; the corpus states none",
        "Zadeh et al. 2016; Poria et al. 2017",
        "no",
    ),
    ("NYU Depth v2", "1449 RGB-D pictures, 40 classes", "none stated, research use", "Silberman et al. 2012", "no"),
)

# data set, its recipe here, what the paper says of it (Section 4.1)
PAPER: tuple[tuple[str, str, str], ...] = (
    ("CREMA-D", "cremad", "6,698 train, 744 test; 91 actors, 6 classes; 1 frame; spectrogram 257 x 299"),
    ("Kinetics-Sounds", "ks", "15k train, 1.9k validation, 1.9k test; 34 classes; 3 frames; 257 x 1,004"),
    ("VGGSound", "vggsound", "168,618 train and validation, 13,954 test; 309 classes; 3 frames; 257 x 1,004"),
    ("CMU-MOSI", "mosi", "2,199 utterances of 93 videos; text, audio, visual; 2 classes"),
    ("NYU Depth v2", "nyuv2", "795 train, 654 test; RGB and depth; 40 classes"),
    ("GRID, talker s1", "grid_words", "not in the paper"),
    ("Generated emotions", "emotions", "not in the paper"),
    ("Generated rooms", "rooms", "not in the paper"),
)


def overview(profile: str, root: Path | None = None) -> pandas.DataFrame:
    """What the paper says of each data set beside what is here; the smoke profile does not look for real data."""
    import pandas

    def here(name: str) -> str:
        recipe = DATASETS.get(name)
        if recipe is not None and recipe.generated:
            return "made here"
        if profile == "smoke":
            return "not used in this profile"
        if recipe is None or not recipe.available(root):
            return "not here"
        return recipe.verify(root) if recipe.verify is not None else "here"

    rows = [(name, said, here(recipe)) for name, recipe, said in PAPER]
    return pandas.DataFrame(rows, columns=["data set", "paper", f"here ({profile})"]).set_index("data set")


def licences() -> pandas.DataFrame:
    """The licences of all data as a table, indexed by data set."""
    import pandas

    table = pandas.DataFrame(LICENCES, columns=["data set", "what", "licence", "cite", "in this repository"])
    return table.set_index("data set")
