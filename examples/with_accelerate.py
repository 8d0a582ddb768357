"""Train your own model by DGL with accelerate: the plain loop, on any number of processes.

``pip install accelerate``, then ``python examples/with_accelerate.py``, or ``accelerate launch`` for several processes.
What is prepared is the objective, so that DDP wraps what is really trained.
"""

import argparse

import torch
from accelerate import Accelerator
from plain_loop import ALPHA, BATCH, EPOCHS, MOMENTUM, RATE, make_data, make_model
from torch.utils.data import DataLoader

from dgl_core import DisentangledObjective, LateFusion


def train(accumulate: int = 1) -> tuple[LateFusion, list[float]]:
    """Train and return the model and the last multimodal loss of every epoch."""
    accelerator, curve = Accelerator(cpu=True, gradient_accumulation_steps=accumulate), []
    objective = DisentangledObjective(make_model(), alpha=ALPHA)
    optimizer = torch.optim.SGD(objective.parameters(), RATE, MOMENTUM)
    loader = DataLoader(make_data(), BATCH // accelerator.num_processes)
    objective, optimizer, loader = accelerator.prepare(objective, optimizer, loader)
    for epoch in range(EPOCHS):
        for inputs, target in loader:
            with accelerator.accumulate(objective):
                losses = objective(inputs, target)
                accelerator.backward(losses.total)  # its gradient is the method; its value is only a sum
                optimizer.step()
                optimizer.zero_grad()
        curve.append(losses.multimodal.item())  # this is the loss to log
        accelerator.print(f"epoch {epoch + 1}: multimodal {curve[-1]:.4f}")
    return accelerator.unwrap_model(objective).model, curve


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches an update")
    train(parser.parse_args().accumulate)
