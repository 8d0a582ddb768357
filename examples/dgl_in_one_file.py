"""Train two encoders by joint training, G-Blending and DGL: torch alone, one plain loop to copy.

Evidence. ``python examples/dgl_in_one_file.py`` printed, on one thread of an AMD EPYC (x86-64):

    test accuracy %, last epoch, mean and standard deviation over n = 10 seeds
                         fused         audio        visual
    vanilla         94.0 ± 1.0    84.5 ± 1.4    67.7 ± 3.3
    G-Blending      93.7 ± 1.2    85.7 ± 1.9    71.0 ± 1.3
    DGL             93.8 ± 1.3    87.5 ± 1.4    71.5 ± 1.4
    7 s, torch 2.13.0+cpu, x86_64, one thread

"audio" and "visual" are the branches of the same model: the other modality's features are zero. On these easy data
the fused models do not differ; the branches of joint training are the worst. Most of what DGL gains there,
G-Blending gains too, which truncates nothing. ``tests/examples`` proves that curves and weights equal those of
``dgl_core.fit``, bit for bit.

Source: Wei, Luo, Luo, "Boosting Multimodal Learning via Disentangled Gradient Learning", ICCV 2025, Eq. 9-15.
Difference: one backward pass; the official code makes two and clears the fusion's gradient in between.
"""

from __future__ import annotations

import hashlib
import platform
import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODALITIES = {"audio": 20, "visual": 30}  # name -> length of its input vector
CLASSES = 6
SAMPLES = {"train": 600, "val": 100, "test": 250}
INFORMATIVE = {"audio": 0.85, "visual": 0.7}  # share of samples whose vector tells the class; the rest is noise
WIDTH = 16  # of a feature vector

METHODS = {  # encoder gate, fusion gate, alpha: which loss trains which part (Table 3 of the paper is this square)
    "vanilla": (1.0, 0.0, 0.0),  # one loss on the fused logits, gradient everywhere
    "G-Blending": (1.0, 1.0, 4.0),  # plus alpha times the loss of each modality alone, gradient everywhere
    "DGL": (0.0, 0.0, 4.0),  # the fused loss trains the fusion alone, each modality's loss its own encoder alone
}
EPOCHS, BATCH, RATE, MOMENTUM, DECAY = 30, 50, 0.02, 0.9, 1e-4
MILESTONE = 20  # from this epoch on the learning rate is a tenth
SEEDS = range(10)


# -- data: two vectors a sample, each a noisy prototype of its class, some of them noise alone ----------------


def generate(seed: int = 0) -> tuple[dict[str, Tensor], Tensor, list[str]]:
    """Draw the data set.

    Returns:
        inputs {modality: [N, length]}, target [N] int64, and "train", "val" or "test" for every sample.
    """
    generator = torch.Generator().manual_seed(seed)
    count = sum(SAMPLES.values())
    target = torch.randint(CLASSES, (count,), generator=generator)
    inputs = {}
    for m, length in MODALITIES.items():
        prototypes = torch.randn(CLASSES, 2, length, generator=generator)  # two looks a class: no linear task
        look = torch.randint(2, (count,), generator=generator)
        told = torch.rand(count, generator=generator) < INFORMATIVE[m]
        noise = torch.randn(count, length, generator=generator)
        inputs[m] = prototypes[target, look] * told[:, None] + 0.8 * noise  # [N, length]
    return inputs, target, [part for part, size in SAMPLES.items() for _ in range(size)]


# -- model: one encoder per modality, features side by side, one linear classifier ----------------------------


class Model(nn.Module):
    """Two encoders and a concatenation head; ``fuse`` takes features, so that gradients can be cut between them."""

    def __init__(self, seed: int):
        super().__init__()
        torch.manual_seed(seed)
        self.encoders = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(n, 32), nn.ReLU(), nn.Linear(32, WIDTH)) for m, n in MODALITIES.items()}
        )
        self.head = nn.Linear(WIDTH * len(MODALITIES), CLASSES)

    def encode(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """{modality: [B, length]} -> {modality: [B, WIDTH]}."""
        return {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}

    def fuse(self, features: dict[str, Tensor], weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """{modality: [B, WIDTH]} -> logits [B, CLASSES]; with ``weight`` and ``bias`` in place of the head's own."""
        together = torch.cat(list(features.values()), dim=1)
        return F.linear(
            together, self.head.weight if weight is None else weight, self.head.bias if bias is None else bias
        )


def only(features: dict[str, Tensor], modality: str) -> dict[str, Tensor]:
    """The features of one modality, zeros in place of all others (Eq. 12)."""
    return {m: z if m == modality else torch.zeros_like(z) for m, z in features.items()}


# -- the method: three lines of gates around one backward pass ------------------------------------------------


def losses(model: Model, inputs: dict[str, Tensor], target: Tensor, method: str) -> tuple[Tensor, Tensor]:
    """Compute the loss to call ``backward()`` on, and the multimodal loss for the log.

    A gate of 1 lets a gradient through, 0 truncates it by ``detach``. So for DGL

        encoder m  receives  alpha * gradient of L_m      and nothing of L_multi   (multimodal truncation)
        fusion     receives  the gradient of L_multi      and nothing of any L_m   (unimodal truncation)
    """
    encoder_gate, fusion_gate, alpha = METHODS[method]
    features = model.encode(inputs)
    multimodal = F.cross_entropy(model.fuse(features if encoder_gate else detached(features)), target)
    if not alpha:
        return multimodal, multimodal
    weight, bias = (p if fusion_gate else p.detach() for p in (model.head.weight, model.head.bias))
    unimodal = [F.cross_entropy(model.fuse(only(features, m), weight, bias), target) for m in features]
    return multimodal + alpha * sum(unimodal), multimodal


def detached(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {m: z.detach() for m, z in features.items()}


# -- the loop -------------------------------------------------------------------------------------------------


def train(method: str, seed: int, data: tuple[dict[str, Tensor], Tensor, list[str]]) -> tuple[Model, dict[str, list]]:
    """Train one model.

    Returns:
        The model, and one value per epoch of "loss" (multimodal, mean over the steps) and of the test accuracy of
        "fused" and of each modality alone.
    """
    inputs, target, split = data
    rows = {part: torch.tensor([i for i, s in enumerate(split) if s == part]) for part in SAMPLES}
    model = Model(seed)
    optimizer = torch.optim.SGD(model.parameters(), RATE, MOMENTUM, weight_decay=DECAY, fused=True)
    curves: dict[str, list] = {"loss": []}
    for epoch in range(EPOCHS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (0.1 if epoch >= MILESTONE else 1.0)
        order = torch.randperm(len(rows["train"]), generator=shuffling(seed, epoch))
        steps = []
        for batch in rows["train"][order].split(BATCH):
            total, multimodal = losses(model, {m: x[batch] for m, x in inputs.items()}, target[batch], method)
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            steps.append(multimodal.detach())
        curves["loss"].append(torch.stack(steps).double().mean().item())
        test = {m: x[rows["test"]] for m, x in inputs.items()}
        for branch, accuracy in accuracies(model, test, target[rows["test"]]).items():
            curves.setdefault(branch, []).append(accuracy)
    return model, curves


def shuffling(seed: int, epoch: int) -> torch.Generator:
    """Random numbers that depend on seed and epoch alone, so that every method sees the batches in one order."""
    digest = hashlib.sha256(f"{seed}/{epoch}/0/train".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


@torch.no_grad()
def accuracies(model: Model, inputs: dict[str, Tensor], target: Tensor) -> dict[str, float]:
    """Score the fused model, and each modality with the others' features zero."""
    features = model.encode(inputs)
    logits = {"fused": model.fuse(features)} | {m: model.fuse(only(features, m)) for m in features}
    return {branch: (x.argmax(dim=1) == target).double().mean().item() for branch, x in logits.items()}


def main() -> None:
    torch.set_num_threads(1)
    data, started = generate(), time.perf_counter()
    print(f"test accuracy %, last epoch, mean and standard deviation over n = {len(SEEDS)} seeds")
    print(f"{'':12}" + "".join(f"{branch:>14}" for branch in ("fused", *MODALITIES)))
    for method in METHODS:
        last = [{b: 100 * v[-1] for b, v in train(method, seed, data)[1].items()} for seed in SEEDS]
        cells = [[run[branch] for run in last] for branch in ("fused", *MODALITIES)]
        words = [f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" for values in cells]
        print(f"{method:12}" + "".join(f"{word:>14}" for word in words))
    seconds = time.perf_counter() - started
    print(f"{seconds:.0f} s, torch {torch.__version__}, {platform.machine()}, one thread")


if __name__ == "__main__":
    main()
