"""Hold pictures with a label for every pixel, turn them into network input, and augment them as ESANet does."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.data.dataset import Dataset, Drawn, moved
from dgl_core.data.tasks.label_maps import VOID, Segmentation, at_size, median_frequency
from dgl_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD

LARGEST_ZOOM, JITTER = 1.4, 0.1
VIEW = "\0view"  # key of the numbers that all modalities share; no modality can have this name


class PictureView(nn.Module):
    """Turn a batch of stored pictures into network input.

    RGB is scaled to 0..1 and standardised with ImageNet's mean and deviation, the other modalities with their own.
    In training with augmentation ``"esanet"`` each picture is zoomed by 1.0-1.4 and cut at random (RGB bilinear, the
    rest nearest), its hue, saturation and value are each multiplied by 0.9-1.1, and it is mirrored half of the time.
    Then the lower and right border is filled (0, void) until height and width are divisible by ``multiple``.

    Args:
        size: height and width of the stored pictures.
        statistics: modality -> mean and deviation in stored units, for all but ``"rgb"``.

    **Source:** ESANet ``src/preprocessing.py`` (2025). **Difference:** positions of zoom and cut are real numbers, not
    whole pixels; colours are not rounded to 8 bits after the jitter; a whole batch at once, on its device.
    """

    def __init__(
        self, size: tuple[int, int], multiple: int, statistics: Mapping[str, tuple[float, float]], augment: str
    ):
        super().__init__()
        self.size, self.augment = size, augment
        self.padded = tuple(-(-n // multiple) * multiple for n in size)
        for m, (mean, std) in {"rgb": (IMAGENET_MEAN, IMAGENET_STD), **statistics}.items():
            self.register_buffer(f"{m}_mean", torch.tensor(mean).view(-1, 1, 1))
            self.register_buffer(f"{m}_std", torch.tensor(std).view(-1, 1, 1))

    def forward(
        self, inputs: Mapping[str, Tensor], target: Tensor, draw: Tensor | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Turn ``inputs`` {m: [B, C, h, w] or [B, h, w]} and ``target`` [B, H, W], both as stored, into network input.

        ``draw``: what ``draw`` has drawn, in training; on their device.

        Returns:
            ``({m: float32 [B, C, h', w']}, int64 [B, H', W'])``: in training the target has the size of the inputs, in
            evaluation the size of the stored labels (padded alike), where predictions are scored.
        """
        pictures = {m: x if x.dim() == 4 else x[:, None] for m, x in inputs.items()}
        if draw is None:
            pictures = {m: x.float() for m, x in pictures.items()}
            pictures["rgb"] = pictures["rgb"] / 255
        elif self.augment == "none":
            return self.forward(inputs, at_size(target, self.size))
        else:
            pictures, target = self._move(pictures, target, draw)
        ratio = [n / m for n, m in zip(target.shape[-2:], self.size, strict=True)]
        border = [round((p - n) * r) for p, n, r in zip(self.padded, self.size, ratio, strict=True)]
        inputs = {m: self._standardise(m, x) for m, x in pictures.items()}
        return inputs, F.pad(target, (0, border[1], 0, border[0]), value=VOID).long()

    def _standardise(self, modality: str, x: Tensor) -> Tensor:
        x = (x - getattr(self, f"{modality}_mean")) / getattr(self, f"{modality}_std")
        return F.pad(x, (0, self.padded[1] - self.size[1], 0, self.padded[0] - self.size[0]))

    def draw(self, batch: int, generator: torch.Generator) -> Tensor:
        """Draw the random numbers of a training batch, [7, B, 1], uniform in 0..1; none without augmentation."""
        return torch.rand(7 if self.augment != "none" else 0, batch, 1, generator=generator, device=generator.device)

    def _move(self, pictures: dict[str, Tensor], target: Tensor, draw: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Zoom, cut, mirror and jitter; pixel i of the result looks at the share (i + offset + 1/2) / (zoom * n)."""
        device = target.device
        zoom = 1 + (LARGEST_ZOOM - 1) * draw[0]
        rows, columns = (
            (torch.arange(n, device=device) + 0.5 + place * (zoom - 1) * n) / (zoom * n)  # [B, n], 0..1 of the picture
            for n, place in zip(self.size, draw[1:3], strict=True)
        )
        columns = torch.where(draw[3] < 0.5, columns.flip(1), columns)
        places = torch.broadcast_tensors(columns[:, None, :], rows[:, :, None])
        grid = torch.stack(places, dim=-1) * 2 - 1  # [B, h, w, 2], x before y, -1..1
        rgb = F.grid_sample(pictures["rgb"] / 255, grid, padding_mode="border", align_corners=False)
        moved = {m: nearest(x, rows, columns).float() for m, x in pictures.items() if m != "rgb"}
        moved["rgb"] = jitter_colours(rgb, 1 - JITTER + 2 * JITTER * draw[4:7, :, 0].T)
        return {m: moved[m] for m in pictures}, nearest(target[:, None], rows, columns)[:, 0]


def nearest(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Sample ``x`` [B, C, H, W] at the places ``rows`` [B, h] and ``columns`` [B, w], shares 0..1 of its size."""
    down = (rows * x.shape[-2]).long().clamp_(max=x.shape[-2] - 1)
    right = (columns * x.shape[-1]).long().clamp_(max=x.shape[-1] - 1)
    index = (down[:, :, None] * x.shape[-1] + right[:, None, :]).flatten(1)  # [B, h w]
    found = x.flatten(2).gather(2, index[:, None].expand(-1, x.shape[1], -1))
    return found.view(*x.shape[:2], rows.shape[1], columns.shape[1])


def jitter_colours(rgb: Tensor, factors: Tensor) -> Tensor:
    """Multiply hue, saturation and value of ``rgb`` [B, 3, h, w] (0..1) each by its factor [B, 3], cut to 0..1."""
    r, g, b = rgb.unbind(1)  # [B, h, w]
    value = rgb.amax(1)
    chroma = value - rgb.amin(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    sextant = torch.where(value == r, (g - b) / safe, torch.where(value == g, (b - r) / safe + 2, (r - g) / safe + 4))
    hue = torch.where(sextant < 0, sextant + 6, sextant) / 6
    saturation = chroma / torch.where(value > 0, value, 1.0)
    hue, saturation, value = (
        (part * factor[:, None, None]).clamp_(0, 1)
        for part, factor in zip((hue, saturation, value), factors.unbind(1), strict=True)
    )
    angle = torch.stack([6 * hue + shift for shift in (5.0, 3.0, 1.0)], dim=1)  # [B, 3, h, w]
    angle = torch.where(angle >= 6, angle - 6, angle)
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(angle, 4 - angle).clamp_(0, 1))


class PicturePreparation(nn.Module):
    """Turn stored pictures into network input as ``PictureView`` does in evaluation, where there is no label map."""

    def __init__(self, view: PictureView):
        super().__init__()
        self.view = view

    def forward(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``stored`` {m: [B, C, h, w] or [B, h, w]} -> float32 {m: [B, C, h', w']}."""
        first = next(iter(stored.values()))
        nothing = torch.zeros(len(first), *self.view.size, dtype=torch.uint8, device=first.device)
        return self.view(stored, nothing)[0]


class DenseDataset(Dataset):
    """Hold RGB-D pictures with label maps; to the rest of the house it is a ``Dataset`` whose target is [N, H, W].

    Args:
        inputs: ``"rgb"`` uint8 [N, 3, h, w] and others [N, h, w], integers; memory-mapped storage is fine.
        target: uint8 [N, H, W], ``VOID`` where nothing is labelled; at least as large as the inputs.
        multiple: what height and width must be divisible by; smaller pictures are filled up.
        augment: "esanet" or "none".
        maps: how many predicted label maps are kept for pictures.
        split, classes, about: as ``Dataset``. Means, deviations, class weights are measured on the training part.

    Raises:
        ValueError: as ``Dataset``, or no RGB, or a label that is neither a class nor void.
    """

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        target: Tensor,
        split: Sequence[str],
        *,
        classes: Sequence[str],
        multiple: int = 32,
        augment: str = "esanet",
        maps: int = 4,
        **about,
    ):
        if "rgb" not in inputs or target.dtype != torch.uint8 or target.dim() != 3:
            raise ValueError(
                f"data set {about.get('name')!r} has pictures {list(inputs)} and a target {target.dtype} "
                f"{list(target.shape)}; give 'rgb' among the pictures and uint8 label maps [N, H, W]"
            )
        placeholder = torch.zeros(len(target), dtype=torch.long)  # the base checks all but the label maps
        super().__init__(inputs, placeholder, split, classes=classes, **about)
        self.target = target
        for row, image in enumerate(target):
            wrong = image[(image >= len(classes)) & (image != VOID)]
            if len(wrong):
                raise ValueError(
                    f"data set {self.name!r}: label {wrong.min()} in sample {self.ids[row]!r} is outside the "
                    f"{len(classes)} classes 0..{len(classes) - 1} and is not void ({VOID})"
                )
        train = self.indices("train")
        size = tuple(self.inputs["rgb"].shape[-2:])
        statistics = {m: mean_and_deviation(x[train]) for m, x in self.inputs.items() if m != "rgb"}
        self.view = PictureView(size, multiple, statistics, augment)
        self.task = Segmentation(len(self.classes), median_frequency(target[train], len(self.classes)), maps)

    def batch(
        self, index: Tensor, generator: torch.Generator | None = None, drawn: Mapping[str, Drawn] | None = None
    ) -> tuple[dict[str, Tensor], Tensor]:
        index = index.to(self.target.device)
        if generator is not None:
            drawn = {VIEW: moved(self.draw(len(index), generator)[VIEW], index.device)}
        stored = {m: x.index_select(0, index) for m, x in self.inputs.items()}
        return self.view(stored, self.target.index_select(0, index), None if drawn is None else drawn[VIEW][0])

    def draw(self, count: int, generator: torch.Generator) -> dict[str, Drawn]:
        return {VIEW: (self.view.draw(count, generator),)}

    def preparation(self, modalities: Collection[str]) -> nn.Module:
        return PicturePreparation(self.view)

    def to(self, device: torch.device | str) -> DenseDataset:
        moved = super().to(device)
        moved.view, moved.task = copy.deepcopy(self.view).to(device), self.task.to(device)
        return moved


def mean_and_deviation(values: Tensor) -> tuple[float, float]:
    """Compute mean and standard deviation of integers exactly, so that every processor finds the same bits."""
    total = squares = 0
    for image in values:
        image = image.long()
        total, squares = total + int(image.sum()), squares + int((image * image).sum())
    count = values.numel()
    deviation = math.sqrt((count * squares - total * total) / count**2)
    return total / count, deviation or 1.0
