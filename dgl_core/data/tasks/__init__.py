"""Define what a data set asks of a model: the training loss and the scores of its predictions."""

from __future__ import annotations

from dgl_core.utils import Registry

TASKS: Registry = Registry({
    "classification": "dgl_core.data.tasks.classes:Classification",
    "segmentation": "dgl_core.data.tasks.label_maps:Segmentation",
})  # fmt: skip
