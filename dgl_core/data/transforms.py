"""Turn stored values into network input, a batch at a time; training adds random changes from a generator."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dgl_core.data.dataset import Augmentation, Drawn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in 0..1, as in the official code
Value = float | Sequence[float]  # one for all channels, or one each


class Standardise(Augmentation):
    """``(x - mean) / std``; in training moved by a few steps and mirrored at random.

    Args:
        mean, std: in stored units; one number, or one per channel.
        channels: where stored values ``[B, ...]`` have their channels: "none" (``[B, H, W]`` becomes ``[B, 1, H, W]``,
            ``[B, T, H, W]`` becomes ``[B, 1, T, H, W]``) or "last" (``[B, H, W, C]`` becomes ``[B, C, H, W]``).
        shift: largest move (rows, columns) in steps; the border is repeated. All frames of a clip move together.
        flip: mirror left to right with probability 1/2.
    """

    def __init__(
        self, mean: Value, std: Value, *, channels: str = "none", shift: tuple[int, int] = (0, 0), flip: bool = False
    ):
        super().__init__()
        self.register_buffer("mean", _per_channel(mean))
        self.register_buffer("std", _per_channel(std))
        self.channels, self.shift, self.flip = channels, shift, flip
        self.plain = bool((self.mean == 0).all() and (self.std == 1).all())  # only converts

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Drawn:
        """Draw the moves (rows, columns), [B, 1] each, and who is mirrored [B]."""
        if not (any(self.shift) or self.flip):
            return ()
        steps = [torch.randint(-most, most + 1, (shape[0], 1), generator=generator, device=generator.device)
                 for most in self.shift]  # fmt: skip
        return (*steps, _mirror(shape[0], generator)) if self.flip else tuple(steps)

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        x = x.permute(0, 3, 1, 2) if self.channels == "last" else x.unsqueeze(1)
        if drawn:
            x = self._move(x, *drawn)
        x = x.to(torch.float32)
        return x if self.plain else (x - self.mean).div_(self.std)

    def _move(self, x: Tensor, down: Tensor, right: Tensor, mirror: Tensor | None = None) -> Tensor:
        batch, (height, width) = len(x), x.shape[-2:]
        rows, columns = ((torch.arange(size, device=x.device) + step).clamp_(0, size - 1)  # [B, size]
                         for size, step in ((height, down), (width, right)))  # fmt: skip
        if mirror is not None:
            columns = torch.where(mirror[:, None], columns.flip(1), columns)
        index = (rows[:, :, None] * width + columns[:, None, :]).flatten(1)  # [B, HW]
        flat = x.reshape(batch, -1, height * width)
        return flat.gather(2, index[:, None, :].expand(-1, flat.shape[1], -1)).reshape(x.shape)


class RandomResizedCrop(Augmentation):
    """The official picture augmentation for a whole batch: random resized crop, mirror, ImageNet normalisation.

    In training each picture ``[H, W, 3]`` is cut to a box of random area and aspect, scaled to ``size`` x ``size`` with
    antialiasing and mirrored with probability 1/2; in evaluation the whole picture is scaled.

    Args:
        size: output side in pixels.
        scale: range of the box area, as a share of the picture.
        stretch: width / height of the original picture over that of the stored one (4/3 for a CREMA-D frame that is
            stored as a square), so that areas and aspects are those of the original.

    **Source:** official ``dataset/CramedDataset.py`` (RandomResizedCrop(224), RandomHorizontalFlip, Normalize with
    their defaults; Resize((224, 224)) in testing). **Difference:** drawn from one generator for the whole batch.
    """

    TRIES = 10  # boxes drawn before the whole picture is taken, as in torchvision
    RATIO = (3 / 4, 4 / 3)  # range of the box aspect (width / height)

    def __init__(self, size: int, scale: tuple[float, float] = (0.08, 1.0), stretch: float = 1.0):
        super().__init__()
        self.size, self.scale, self.stretch = size, scale, stretch
        self.register_buffer("mean", 255 * _per_channel(IMAGENET_MEAN))
        self.register_buffer("std", 255 * _per_channel(IMAGENET_STD))

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Drawn:
        """Draw the boxes [B, 4] and who is mirrored [B]."""
        count, height, width, _ = shape
        return self.boxes(count, height, width, generator), _mirror(count, generator)

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        boxes, mirror = self._all_of(x) if drawn is None else drawn
        pictures = x.permute(0, 3, 1, 2)  # channels last in memory, what the fast path wants
        if x.device.type == "cpu":
            return self._one_by_one(pictures, boxes.tolist(), mirror.tolist())
        return (resample(pictures, boxes, mirror, self.size) - self.mean) / self.std

    def _all_of(self, x: Tensor) -> Drawn:
        """Return the boxes that are the whole pictures, nobody mirrored, made where ``x`` is: nothing is copied."""
        boxes = torch.zeros(len(x), 4, dtype=torch.long, device=x.device)
        boxes[:, 2], boxes[:, 3] = x.shape[1], x.shape[2]
        return boxes, torch.zeros(len(x), dtype=torch.bool, device=x.device)

    def boxes(self, count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
        """Draw random boxes (top, left, height, width), integer ``[count, 4]``; the number of draws does not vary."""
        draw = torch.rand(4, count, self.TRIES, generator=generator, device=generator.device, dtype=torch.float64)
        area = (self.scale[0] + (self.scale[1] - self.scale[0]) * draw[0]) * (height * width)
        low, high = (math.log(r) for r in self.RATIO)
        aspect = torch.exp(low + (high - low) * draw[1]) / self.stretch  # in stored pixels
        wide, tall = (area * aspect).sqrt().round().long(), (area / aspect).sqrt().round().long()
        fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
        first = fits.int().argmax(1, keepdim=True)  # the first that fits; 0 if none does
        wide, tall, fits, y, x = (v.gather(1, first)[:, 0] for v in (wide, tall, fits, draw[2], draw[3]))
        whole = torch.tensor(self._whole(height, width), device=wide.device)
        tall, wide = torch.where(fits, tall, whole[0]), torch.where(fits, wide, whole[1])
        top = torch.where(fits, (y * (height - tall + 1)).long(), (height - tall) // 2)
        left = torch.where(fits, (x * (width - wide + 1)).long(), (width - wide) // 2)
        return torch.stack([top, left, tall, wide], dim=1)

    def _whole(self, height: int, width: int) -> tuple[int, int]:
        """Return the largest central box (height, width) whose aspect is allowed."""
        tallest, widest = self.stretch * width / self.RATIO[0], height * self.RATIO[1] / self.stretch
        return round(min(height, tallest)), round(min(width, widest))

    def _one_by_one(self, pictures: Tensor, boxes: list[list[int]], mirror: list[bool]) -> Tensor:
        """Scale each box on a CPU, 8-bit and antialiased, normalised row by row straight into the batch."""
        size = self.size
        batch = torch.empty(len(pictures), size, size * 3)  # [B, H, W * C]
        mean, scale = self.mean.flatten().repeat(size), 1 / self.std.flatten().repeat(size)  # [W * C]
        for out, picture, (top, left, tall, wide), flip in zip(batch, pictures, boxes, mirror, strict=True):
            box = picture[None, :, top : top + tall, left : left + wide]
            if (tall, wide) != (size, size):
                box = F.interpolate(box, (size, size), mode="bilinear", antialias=True)
            box = box.flip(3) if flip else box
            torch.sub(box.permute(0, 2, 3, 1).reshape(size, size * 3), mean, out=out).mul_(scale)
        return batch.view(-1, size, size, 3).permute(0, 3, 1, 2)


def resample(pictures: Tensor, boxes: Tensor, mirror: Tensor, size: int) -> Tensor:
    """Crop, scale (bilinear, antialiased) and mirror a batch by two matrix products, on any device.

    Args:
        pictures: uint8 ``[B, C, H, W]``. boxes: (top, left, height, width) ``[B, 4]``. mirror: bool ``[B]``.

    Returns:
        float32 ``[B, C, size, size]``, whole numbers 0..255 as an 8-bit picture has them.
    """
    rows = _weights(boxes[:, 0], boxes[:, 2], pictures.shape[2], size)  # [B, size, H]
    columns = _weights(boxes[:, 1], boxes[:, 3], pictures.shape[3], size)  # [B, size, W]
    columns = torch.where(mirror[:, None, None], columns.flip(1), columns)
    return (rows[:, None] @ pictures.float() @ columns[:, None].transpose(2, 3)).round_().clamp_(0, 255)


def _weights(start: Tensor, length: Tensor, stored: int, size: int) -> Tensor:
    """Return the filter ``[B, size, stored]`` that scales the pixels start..start+length to ``size`` of them."""
    start, length = start[:, None, None], length[:, None, None]  # [B, 1, 1]
    step = length / size
    centre = start + (torch.arange(size, device=start.device)[:, None] + 0.5) * step  # [B, size, 1]
    pixel = torch.arange(stored, device=start.device)  # [stored]
    weight = (1 - ((pixel + 0.5 - centre) / step.clamp(min=1)).abs()).clamp(min=0)
    weight = weight * ((pixel >= start) & (pixel < start + length))
    return weight / weight.sum(2, keepdim=True)


def _mirror(count: int, generator: torch.Generator) -> Tensor:
    """Draw which of ``count`` pictures are mirrored, bool ``[count]``: about half of them."""
    return torch.rand(count, generator=generator, device=generator.device) < 0.5


def _per_channel(value: Value) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.float32)
    return tensor.view(-1, 1, 1) if tensor.dim() else tensor


class TimeCrop(Augmentation):
    """A piece ``[B, 1, F, width]`` of each spectrogram ``[B, F, T]``: in training a random one, else the middle.

    **Source:** official ``dataset/KSDataset.py``: five of ten seconds from a random start. **Difference:** there the
    start is random in testing too, which makes the score of a clip a matter of luck; the piece starts at a column, and
    its first and last column are not blackened by the padding of the transform.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Drawn:
        """Draw where each piece starts, [B, 1, 1]."""
        last = shape[2] - self.width
        return (torch.randint(0, last + 1, (shape[0], 1, 1), generator=generator, device=generator.device),)

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        if drawn is None:
            first = (x.shape[2] - self.width) // 2
            return x[:, None, :, first : first + self.width].to(torch.float32)
        columns = drawn[0] + torch.arange(self.width, device=x.device)  # [B, 1, width]
        return x.gather(2, columns.expand(-1, x.shape[1], -1)).unsqueeze(1).to(torch.float32)


class PerFrame(Augmentation):
    """A transform of pictures ``[N, H, W, 3]`` on clips: each frame draws its own crop, as in the official code."""

    def __init__(self, transform: Augmentation):
        super().__init__()
        self.transform = transform

    def draw(self, shape: Sequence[int], generator: torch.Generator) -> Drawn:
        """Draw what ``transform`` needs for ``B * T`` pictures."""
        return self.transform.draw((shape[0] * shape[1], *shape[2:]), generator)

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        return self.transform.use(x.flatten(0, 1), drawn).unflatten(0, x.shape[:2]).transpose(1, 2)  # [B, 3, T, S, S]


def halved(x: Tensor) -> Tensor:
    """Halve height and width, [B, C, ..., H, W] -> [B, C, ..., H // 2, W // 2], by means over 2 x 2 values.

    What is no picture and no spectrogram (vectors, tokens) stays as it is.
    """
    if x.dim() < 4 or not x.is_floating_point() or min(x.shape[-2:]) < 2:
        return x
    return F.avg_pool2d(x.flatten(1, -3), 2).unflatten(1, x.shape[1:-2])


LIMIT = 5.0  # deviations; extracted features have rare values hundreds of deviations away


class StandardiseFeatures(Augmentation):
    """``(x - mean) / std`` with mean and deviation of each entry of ``train`` ``[N, D]``, cut to five deviations."""

    def __init__(self, train: Tensor):
        super().__init__()
        rows = train.double()
        mean, std = rows.mean(dim=0), rows.std(dim=0, correction=0)
        self.register_buffer("mean", mean.float())
        self.register_buffer("std", torch.where(std > 0, std, 1.0).float())  # a constant entry becomes zero

    def use(self, x: Tensor, drawn: Drawn | None) -> Tensor:
        return ((x.to(torch.float32) - self.mean) / self.std).clamp(-LIMIT, LIMIT)


def group_folds(groups: Sequence[str], folds: int) -> list[int]:
    """Return the fold of each sample; a group (a video, a speaker) is in one fold, folds are nearly equal in size.

    Groups go, largest first, to the fold that is smallest so far. Fewer groups than folds are a ``ValueError``.
    """
    sizes = Counter(groups)
    if len(sizes) < folds:
        raise ValueError(f"{len(sizes)} groups cannot be spread over {folds} folds; use fewer folds")
    filled, place = [0] * folds, {}
    for group, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        place[group] = filled.index(min(filled))
        filled[place[group]] += size
    return [place[group] for group in groups]
