"""The data sets by name."""

from __future__ import annotations

from dgl_core.data import audiovisual
from dgl_core.data.recipe import Recipe

FORM_CHOICES = {"spectrogram": ("compact", "official", "paper"), "augment": ("none", "shift")}

DATASETS: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "emotions",
            "Generated emotions",
            audiovisual.load_emotions,
            {
                "clips": 1500, "seed": 0, "audio_difficulty": 0.5, "visual_difficulty": 0.5,
                "spectrogram": "compact", "frame_size": 48, "augment": "shift",
            },
            revision=1,
            available=lambda root: True,
            generated=True,
            choices=FORM_CHOICES,
        ),
    )
}  # fmt: skip
