"""Train your own model by DGL with Lightning, on one process or several (DDP), with accumulation, in fp32 or bf16.

``pip install lightning``, then ``python examples/with_lightning.py --devices 2 --accumulate 2 --precision bf16-mixed``.
What Lightning wraps in DDP is the objective, so one backward pass is synchronised and right (README says why).
"""

import argparse

import lightning
import torch
from plain_loop import ALPHA, BATCH, EPOCHS, MOMENTUM, RATE, make_data, make_model
from torch.utils.data import DataLoader

from dgl_core import DisentangledObjective, LateFusion


class Disentangled(lightning.LightningModule):
    """The objective holds the model; its ``total`` is trained, its ``multimodal`` is logged."""

    def __init__(self):
        super().__init__()
        self.objective = DisentangledObjective(make_model(), alpha=ALPHA)
        self.curve = []

    def training_step(self, batch, _):
        losses = self.objective(*batch)
        self.log("multimodal", losses.multimodal, prog_bar=True)
        return losses.total

    def on_train_epoch_end(self):
        self.curve.append(self.trainer.callback_metrics["multimodal"].item())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), RATE, MOMENTUM)


def train(accumulate: int = 1, devices: int = 1, precision: str = "32-true") -> tuple[LateFusion, list[float]]:
    """Train and return the model and the last multimodal loss of every epoch; a batch is shared by the devices."""
    trainer = lightning.Trainer(
        accelerator="cpu", devices=devices, strategy="ddp" if devices > 1 else "auto", precision=precision,
        max_epochs=EPOCHS, accumulate_grad_batches=accumulate, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = Disentangled()
    trainer.fit(module, DataLoader(make_data(), BATCH // devices))
    return module.objective.model, module.curve


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches an update")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="processes")
    parser.add_argument("--precision", default="32-true", help="32-true or bf16-mixed")
    parser.add_argument("--save", metavar="FILE", help="keep the weights")
    options = vars(parser.parse_args())
    file, (model, curve) = options.pop("save"), train(**options)
    print(*(f"epoch {n}: multimodal {loss:.4f}" for n, loss in enumerate(curve, start=1)), sep="\n")
    if file:
        torch.save(model.state_dict(), file)
