"""Train your own model by DGL with the Hugging Face Trainer.

``pip install transformers accelerate``, then ``python examples/with_transformers.py``. The Trainer backpropagates what
``compute_loss`` returns, and logs it too; a subclass of twelve lines logs the multimodal loss beside it.
"""

import argparse
import tempfile

import torch
from plain_loop import ALPHA, BATCH, EPOCHS, MOMENTUM, RATE, make_data, make_model
from torch.utils.data import default_collate
from transformers import Trainer, TrainingArguments

from dgl_core import DisentangledObjective, LateFusion


class DisentangledTrainer(Trainer):
    """The objective is the Trainer's model: ``total`` is trained, ``multimodal`` is logged."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        losses = model(inputs["inputs"], inputs["labels"])
        self.multimodal = losses.multimodal.detach()
        return (losses.total, {"logits": losses.logits["fused"]}) if return_outputs else losses.total

    def log(self, logs, *args, **kwargs):
        if "loss" in logs:
            logs["multimodal"] = self.multimodal.item()
        super().log(logs, *args, **kwargs)


def collate(samples: list) -> dict:
    inputs, target = default_collate(samples)
    return {"inputs": inputs, "labels": target}


def train(accumulate: int = 1) -> tuple[LateFusion, list[float]]:
    """Train and return the model and the last multimodal loss of every epoch."""
    objective = DisentangledObjective(make_model(), alpha=ALPHA)
    optimizer = torch.optim.SGD(objective.parameters(), RATE, MOMENTUM)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder, num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, gradient_accumulation_steps=accumulate,
            lr_scheduler_type="constant", max_grad_norm=0.0, logging_strategy="epoch", save_strategy="no", use_cpu=True,
            train_sampling_strategy="sequential", remove_unused_columns=False, report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = DisentangledTrainer(objective, settings, collate, make_data(), optimizers=(optimizer, None))
        trainer.train()
    return objective.model, [row["multimodal"] for row in trainer.state.log_history if "multimodal" in row]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches an update")
    train(parser.parse_args().accumulate)
