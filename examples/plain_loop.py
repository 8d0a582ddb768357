"""Train your own model by DGL in a plain loop of torch; the framework files beside this one train the same model.

``python examples/plain_loop.py`` needs torch, numpy and this package alone. ``tests/examples`` proves that Lightning,
the Hugging Face Trainer and accelerate end at the same weights, to 1e-6.
"""

import argparse

import torch
from torch import nn
from torch.utils.data import DataLoader

from dgl_core import ConcatFusion, LateFusion, disentangled_loss

ALPHA, RATE, MOMENTUM, BATCH, EPOCHS = 4.0, 0.05, 0.9, 20, 3
WIDTHS = {"audio": 20, "face": 30}  # modality -> length of its input vector
CLASSES = 6


def make_data(samples: int = 240) -> list:
    """Make one ``({modality: [D_m]}, class)`` a sample; any Dataset that gives such pairs will do."""
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(CLASSES, (samples,), generator=generator)
    prototypes = {m: torch.randn(CLASSES, width, generator=generator) for m, width in WIDTHS.items()}
    inputs = {m: p[target] + torch.randn(samples, p.shape[1], generator=generator) for m, p in prototypes.items()}
    return [({m: x[i] for m, x in inputs.items()}, target[i]) for i in range(samples)]


def make_model() -> LateFusion:
    """Make two encoders, ``[B, D_m] -> [B, 16]``, and a fusion; any modules with these shapes will do."""
    torch.manual_seed(0)
    encoders = {m: nn.Sequential(nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, 16)) for m, width in WIDTHS.items()}
    return LateFusion(encoders, ConcatFusion(dict.fromkeys(WIDTHS, 16), CLASSES))


def train(accumulate: int = 1) -> tuple[LateFusion, list[float]]:
    """Train and return the model and the last multimodal loss of every epoch."""
    model, loader, curve = make_model(), DataLoader(make_data(), BATCH), []  # the data are in random order already
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM)
    for epoch in range(EPOCHS):
        for step, (inputs, target) in enumerate(loader, start=1):
            losses = disentangled_loss(model, inputs, target, alpha=ALPHA)
            (losses.total / accumulate).backward()  # its gradient is the method; its value is only a sum
            if step % accumulate == 0:
                optimizer.step()
                optimizer.zero_grad()
        curve.append(losses.multimodal.item())  # this is the loss to log
        print(f"epoch {epoch + 1}: multimodal {curve[-1]:.4f}")
    return model, curve


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--accumulate", type=int, default=1, metavar="N", help="batches an update")
    train(parser.parse_args().accumulate)
