"""Define what a data set asks of a model: the training loss and the scores of its predictions; one file a kind."""

from __future__ import annotations

from dgl_core.utils import Registry

TASKS: Registry = Registry({
    "classification": "dgl_core.data.tasks.classes:Classification",
    "multi_label": "dgl_core.data.tasks.multi_label:MultiLabel",
    "regression": "dgl_core.data.tasks.regression:Regression",
    "sequence": "dgl_core.data.tasks.sequences:SequenceLabels",
    "dense": "dgl_core.data.tasks.label_maps:Segmentation",
})  # fmt: skip
