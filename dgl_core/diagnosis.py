"""Measure on anyone's model what fusion does to each modality, and to the gradient of its encoder.

``diagnose(model, loader)`` looks once at a trained or half-trained model, trains nothing and leaves it as it found it.
"""

from __future__ import annotations

import functools
import math
import tomllib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgl_core.data.tasks.label_maps import VOID, at_size
from dgl_core.gradients import FUSED, check_partition
from dgl_core.models.multimodal import untouched
from dgl_core.suppression import suppression_ratio
from dgl_core.utils import Range, brief, check_modality_names, needs

if TYPE_CHECKING:
    import pandas

Encoders = Callable[[nn.Module], Mapping[str, nn.Module | Iterable[nn.Parameter]]]
Forward = Callable[[nn.Module, Mapping[str, Tensor], Collection[str] | None], Tensor]
FITTED = Path(__file__).with_name("forecast.toml")  # made by ``python -m tools.map forecast``
FEWEST = 100  # samples that a forecast needs
PIXELS = 1024  # of every dense prediction, evenly spaced
ADDITIVE = "additive"
PARTNERS = 6  # samples of a batch whose other modalities stand in, to measure what the fused model adds up


@dataclass(frozen=True)
class Branch:
    """What fusion does to one modality.

    Attributes:
        accuracy: of the zero-masked branch, as a fraction.
        ratio: quartiles (25, 50, 75 %) over samples of R = (1 - p_fused) / (1 - p_branch) (METHODS T3).
        suppressed: share of samples with s-bar < 1, where fusion shrinks the residual (T2), that is R < 1.
        joint, own: norm of the gradient of the multimodal loss and of the branch's own loss at the encoder.
        cosine: between these two; NaN if one is zero. frozen: whether no parameter of the encoder is trained.
    """

    accuracy: float
    ratio: tuple[float, float, float]
    suppressed: float
    joint: float
    own: float
    cosine: float
    frozen: bool = False

    def __str__(self) -> str:
        ratio = f"{self.joint / self.own:.2f} times" if self.own else "no part of"
        gets = f"gets {ratio} the gradient of its own loss (cosine {self.cosine:.2f})"
        return (
            f"fusion shrinks the residual of {100 * self.suppressed:.0f} % of the samples (median R "
            f"{self.ratio[1]:.2g}); the encoder {'is frozen and gets no gradient' if self.frozen else gets}; "
            f"with the other modalities at zero {100 * self.accuracy:.1f} % are right."
        )


@dataclass(frozen=True)
class Diagnosis:
    """What ``diagnose`` found in so many samples (or pixels), accuracy as a fraction; prints as a plain paragraph.

    Attributes:
        additive: accuracy of the part of the fused logits that is a sum of one score a modality; NaN for label maps.
            What it loses against ``accuracy`` is what the model reads from combinations. classes: how many.
        overlap: smallest correlation, over samples, of what two branches believe of the true class. Below 0 one sees
            where the other does not: they complement each other.
    """

    samples: int
    accuracy: float
    branches: dict[str, Branch]
    additive: float = math.nan
    classes: int = 0
    overlap: float = math.nan

    def __str__(self) -> str:
        most = min(self.branches, key=lambda m: self.branches[m].ratio[1])
        known = self.branches[most].ratio[1] < 1
        return " ".join([
            f"Fused accuracy {100 * self.accuracy:.1f} % on {self.samples} samples.",
            *(f"{m}: {branch}" for m, branch in self.branches.items()),
            f"Most suppressed: {most}." if known else "No median R is below 1: nothing is suppressed.",
        ])  # fmt: skip

    def forecast(self, alone: Mapping[str, float] | None = None) -> Forecast:
        """Foretell what DGL would gain over the joint training of this model, from regressions on generated data.

        Args:
            alone: accuracies on the same samples, as fractions, of models that see one modality each, trained for as
                long as this one: {modality: accuracy, "fused": that of their averaged log-probabilities}. Without them
                this one look has to do, and it knows little.

        Raises:
            ValueError: label maps, too few samples, a frozen encoder, other names in ``alone``, or a number outside
                the range that the regression was fitted on.
        """
        if math.isnan(self.additive):
            raise ValueError("A forecast needs one class a sample; it was not fitted on label maps.")
        if self.samples < FEWEST:
            raise ValueError(f"A forecast needs {FEWEST} labelled samples to know a branch by; diagnose saw "
                             f"{self.samples}: give it a longer loader.")  # fmt: skip
        if frozen := [m for m, branch in self.branches.items() if branch.frozen]:
            raise ValueError(f"The encoder of {frozen[0]!r} is frozen, so no training changes it; thaw it first.")
        if alone is None:
            return foretell(traits(self), fitted())
        wanted = [*self.branches, FUSED]
        if set(alone) != set(wanted) or not all(0 <= accuracy <= 1 for accuracy in alone.values()):
            raise ValueError(f"alone is {brief(dict(alone))}; give one accuracy in [0, 1] for each of {wanted}.")
        return foretell_from(gaps(self, alone), fitted()["alone"])

    def table(self) -> pandas.DataFrame:
        """Make a table with one row per modality, as strings."""
        needs("Tables", "pandas")
        import pandas

        rows = {
            m: {
                "accuracy, others zero": f"{100 * b.accuracy:.1f} %",
                "median R (quartiles)": "{1:.2g} ({0:.2g} to {2:.2g})".format(*b.ratio),
                "samples with s-bar < 1": f"{100 * b.suppressed:.0f} %",
                "gradient of the fused loss": "frozen" if b.frozen else f"{b.joint:.3g}",
                "gradient of its own loss": "frozen" if b.frozen else f"{b.own:.3g}",
                "cosine": "frozen" if b.frozen else f"{b.cosine:.2f}",
            }
            for m, b in self.branches.items()
        }
        return pandas.DataFrame.from_dict(rows, orient="index")


@dataclass(frozen=True)
class Estimate:
    """A gain in points, with the interval that held 90 % of the errors on parts of the map that were left out."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.1f} points [{self.low:+.1f}, {self.high:+.1f}]"

    @property
    def word(self) -> str:
        """Say which sign the interval allows."""
        return "gain" if self.low > 0 else "lose" if self.high < 0 else "gain or lose"


@dataclass(frozen=True)
class Trust:
    """How a forecast did on networks whose data had no part in the fit.

    Attributes:
        networks: how many; gaining: how many of them gained more than ``delta`` points.
        area: under the ROC curve, the chance that one of those is ranked above one of the others; NaN if all or none.
        error, always_no: mean absolute error of the forecast, and of "DGL changes nothing", in points.
    """

    networks: int
    gaining: int
    delta: float
    area: float
    error: float
    always_no: float

    @property
    def misleads(self) -> bool:
        """Say whether a reader is better off with "DGL changes nothing"."""
        return not self.error < self.always_no

    def __str__(self) -> str:
        limit = f"{self.delta:g} point{'s' if self.delta != 1 else ''}"
        ranks = f"the {self.gaining} that gained more than {limit} rank above the others with an AUC of "
        told = f"{ranks}{self.area:.2f}" if not math.isnan(self.area) else "an AUC cannot be computed"
        return (f"on {self.networks} networks whose data had no part in the fit {told}, and it misses by "
                f"{self.error:.1f} points, where 'nothing changes' misses by {self.always_no:.1f}")  # fmt: skip


@dataclass(frozen=True)
class Forecast:
    """What DGL would gain over joint training, in points.

    Attributes:
        fused, absent: of the fused model, and the mean over the modality that is absent; None where a forecast would
            mislead, or is not asked for (absent: of more than two modalities, from accuracies alone). trust: name of
            either -> how forecasts of it did where they could be checked. hint: what would know more.
    """

    fused: Estimate | None
    absent: Estimate | None
    trust: Mapping[str, Trust]
    hint: str = ""

    def __str__(self) -> str:
        said = []
        titles = {"fused": "the fused model", "absent": "what is left with a modality absent"}
        for name, known in self.trust.items():
            found, what = getattr(self, name), titles[name]
            if found is None:
                said.append(f"For {what} no forecast is given: {known}.")
            else:
                said.append(f"With DGL {what} would {found.word}: {found}. How far to trust this: {known}.")
        if self.fused or self.absent:
            said.append("An interval held 90 % of the errors on parts of the map that were left out.")
        return " ".join([*said, *([self.hint] if self.hint else [])])


def traits(report: Diagnosis) -> dict[str, float]:
    """Reduce a diagnosis to what forecasts are made of, comparable between sets.

    Skill is accuracy rescaled so that guessing among K classes is 0 and no error is 1.
    """
    skill = lambda accuracy: (accuracy * report.classes - 1) / (report.classes - 1)  # noqa: E731
    branches, fused = list(report.branches.values()), skill(report.accuracy)
    alone = [skill(branch.accuracy) for branch in branches]
    return {
        "skill": fused,
        "combination": fused - skill(report.additive),
        "mean gap": fused - float(np.mean(alone)),
        "largest gap": fused - min(alone),
        "residual": min(_log(branch.ratio[1]) for branch in branches),
        "push": float(np.mean([_log(branch.joint / branch.own) if branch.own else 0.0 for branch in branches])),
        "cosine": float(np.mean([0.0 if math.isnan(branch.cosine) else branch.cosine for branch in branches])),
        "overlap": report.overlap,
    }


def _log(ratio: float) -> float:
    return math.log(min(max(ratio, 1e-2), 1e2))


HINT = "Models of one modality know more: train each for as long, and give their accuracies as forecast(alone=...)."
TRAITS = {
    "skill": "skill of the fused model",
    "combination": "skill that only combinations give",
    "mean gap": "skill that the mean branch lacks",
    "largest gap": "skill that the weakest branch lacks",
    "residual": "log of the smallest median R",
    "push": "log of fused over own gradient",
    "cosine": "cosine of fused and own gradient",
    "overlap": "correlation of what two branches believe",
}


@functools.cache
def fitted() -> dict:
    """Read the regressions behind forecasts."""
    return tomllib.loads(FITTED.read_text(encoding="utf-8"))


def foretell(found: Mapping[str, float], fit: Mapping) -> Forecast:
    """Apply a fitted regression to traits; a ``ValueError`` names the first trait outside its range."""
    for name, (low, high) in fit["range"].items():
        if not low <= found[name] <= high:
            raise ValueError(f"No forecast: the {TRAITS[name]} is {found[name]:.2f}, and the regression was fitted on "
                             f"{low:.2f} to {high:.2f} only.")  # fmt: skip
    trust = {name: Trust(**fit[name]["trust"]) for name in ("fused", "absent")}
    given = {name: None if trust[name].misleads else one for name, one in estimates(found, fit).items()}
    return Forecast(**given, trust=trust, hint="" if all(given.values()) else HINT)


def gaps(report: Diagnosis, alone: Mapping[str, float]) -> dict[str, float]:
    """Subtract the model from models of one modality, in points: fused and, of two modalities, the mean branch."""
    found = {"fused": 100 * (alone[FUSED] - report.accuracy)}
    if len(report.branches) == 2:
        apart = [alone[m] - branch.accuracy for m, branch in report.branches.items()]
        found["absent"] = 100 * float(np.mean(apart))
    return found


def foretell_from(found: Mapping[str, float], fit: Mapping) -> Forecast:
    """Foretell from ``gaps``; a ``ValueError`` names the first outside the range of the fit."""
    for name, value in found.items():
        low, high = fit[name]["range"]
        if not low <= value <= high:
            raise ValueError(f"No forecast: alone and together differ by {value:+.1f} points ({name}), and the "
                             f"regression was fitted on {low:+.1f} to {high:+.1f} only.")  # fmt: skip
    trust = {name: Trust(**fit[name]["trust"]) for name in found}
    given = {name: None if trust[name].misleads else around(fit[name], value) for name, value in found.items()}
    return Forecast(given["fused"], given.get("absent"), trust)


def around(block: Mapping, gap: float) -> Estimate:
    """Foretell one gain from one gap."""
    mean = block["slope"] * gap
    return Estimate(mean, mean - block["error"], mean + block["error"])


def estimates(found: Mapping[str, float], fit: Mapping) -> dict[str, Estimate]:
    """Apply a fitted regression to traits, whatever their range and however it did: fused and absent gain."""
    known = {}
    for target in ("fused", "absent"):
        block = fit[target]
        mean = sum(weight * found[name] / fit["scale"][name] for name, weight in block["weights"].items())
        known[target] = Estimate(mean, mean - block["error"], mean + block["error"])
    return known


def diagnose(
    model: nn.Module,
    loader: Iterable[tuple[Mapping[str, Tensor], Tensor]],
    *,
    encoders: Encoders | None = None,
    forward: Forward | None = None,
    share: float = 0.125,
) -> Diagnosis:
    """Measure suppression, gradients and branches of a model, in one pass over ``loader``.

    The model runs in evaluation mode (no dropout, running batch-norm statistics), so a step of training, in which
    batch-norm uses the batch, has gradients of somewhat other size. Cost: under three evaluations of all branches, and,
    for the additive part, ``PARTNERS`` passes for each modality: of the fusion alone in a ``LateFusion``.

    Args:
        model: a ``MultimodalModel``, or any module together with the two functions below.
        loader: yields ``(inputs, target)``: {modality: [B, ...]} and class indices [B] (dense: [B, H, W], 255 = void).
        encoders: for a foreign model: ``encoders(model)`` -> {modality: module or parameters}, no parameter in two.
        forward: for a foreign model: ``forward(model, inputs, keep)`` -> logits [B, K] (dense: [B, K, h, w]) when only
            the modalities in ``keep`` (all for None) survive and the features of the others are zero.
        share: of every batch on which gradients are measured, in (0, 1].

    Raises:
        ValueError: something is not of this form, or not finite; the model has fewer than two modalities.
    """
    Range(above=0, high=1).check("share", share)
    if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
        raise ValueError(f"The loader is {type(loader).__name__}; give a DataLoader, or a list of (inputs, target).")
    parts = _parts(model, encoders, forward)
    meter = Meter(model, parts, forward)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with untouched(model), torch.random.fork_rng(devices=[]):
        for batch in loader:
            meter.measure(*_labelled(batch, device), stride=round(1 / share))
        if meter.kept:
            meter.differentiate()
    if not meter.differentiated:
        raise ValueError("The loader gave no labelled sample to differentiate: give labels, or a larger share.")
    additive = meter.right[ADDITIVE] / meter.samples if ADDITIVE in meter.right else math.nan
    branches = {m: meter.branch(m) for m in parts}
    fused = meter.right[FUSED] / meter.samples
    return Diagnosis(meter.samples, fused, branches, additive, meter.classes, meter.overlap())


def _parts(model: nn.Module, encoders: Encoders | None, forward: Forward | None) -> dict[str, list[Tensor]]:
    """Find the trainable parameters of each modality's encoder."""
    given: Any
    if encoders is None and forward is None:
        if not hasattr(model, "all_logits"):
            wanted = "encoders= (what belongs to which modality) and forward= (logits with the other features at zero)"
            raise ValueError(f"{type(model).__name__} is no MultimodalModel: pass {wanted}.")
        check_partition(model)
        given = model.encoders
    else:
        for name, function in (("encoders", encoders), ("forward", forward)):
            if not callable(function):
                raise ValueError(f"{name} is {brief(function)}; a foreign model needs both functions, encoders(model) "
                                 "and forward(model, inputs, keep).")  # fmt: skip
        given = encoders(model) if encoders else None
    if not hasattr(given, "items"):
        raise ValueError(f"encoders(model) gave {type(given).__name__}: it must give modality -> module or parameters.")
    parts = {m: _parameters(m, part) for m, part in given.items()}
    check_modality_names(parts)
    if len(parts) < 2:
        raise ValueError(f"The model has the modalities {list(parts)}; suppression by fusion needs at least two.")
    names: dict[Tensor, str] = {p: n for n, p in model.named_parameters()}
    owners: dict[Tensor, str] = {}
    for m, p in ((m, p) for m, group in parts.items() for p in group):
        if (first := owners.setdefault(p, m)) != m:
            raise ValueError(f"Parameter {names.get(p, '?')!r} belongs to the encoders of both {first!r} and {m!r}.")
    return {m: [p for p in group if p.requires_grad] for m, group in parts.items()}


def _parameters(m: str, part: nn.Module | Iterable[nn.Parameter]) -> list[Tensor]:
    part = part.parameters() if isinstance(part, nn.Module) else part
    group: list[Tensor] = list(part) if isinstance(part, Iterable) else [part]
    if not all(isinstance(p, Tensor) and p.is_leaf for p in group):
        raise ValueError(f"encoders(model) gave {type(part).__name__} for {m!r}: it must give a module or parameters.")
    return group


def _labelled(batch: object, device: torch.device) -> tuple[dict[str, Tensor], Tensor]:
    """Check inputs and target of one batch and move them to the device of the model."""
    inputs, target = batch if isinstance(batch, tuple | list) and len(batch) == 2 else (batch, None)
    wanted = "The loader must give (inputs, target): a dictionary modality -> tensor, and integer classes"
    if target is None:
        raise ValueError(f"{wanted}; it gave {type(batch).__name__} without labels.")
    integers = isinstance(target, Tensor) and not target.is_floating_point() and not target.is_complex()
    if not integers or not isinstance(inputs, Mapping) or not all(isinstance(x, Tensor) for x in inputs.values()):
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise ValueError(f"{wanted}; it gave inputs of type {type(inputs).__name__} and a target of {kind}.")
    for m, x in inputs.items():
        if what := "complex" if x.is_complex() else "NaN or infinite" if not x.isfinite().all() else "":
            raise ValueError(f"The inputs of {m!r} hold {what} values; mend or leave out those samples first.")
    return {m: x.to(device) for m, x in inputs.items()}, target.to(device).long()


class Meter:
    """Add up over batches what ``diagnose`` reports of a model in evaluation mode."""

    def __init__(self, model: nn.Module, parts: dict[str, list[Tensor]], forward: Forward | None):
        self.model: Any = model  # known by its parts and not by its class
        self.parts, self.forward = parts, forward
        self.samples = self.differentiated = self.classes = 0
        self.right: defaultdict[str, int] = defaultdict(int)
        self.suppressed: defaultdict[str, int] = defaultdict(int)
        self.ratio: defaultdict[str, list[Tensor]] = defaultdict(list)
        self.belief: defaultdict[str, list[Tensor]] = defaultdict(list)  # of a branch in the true class, per sample
        self.kept: list[tuple[dict[str, Tensor], Tensor]] = []
        self.joint: defaultdict[str, Any] = defaultdict(float)  # sums of gradients over samples
        self.own: defaultdict[str, Any] = defaultdict(float)

    def rows(self, inputs: Mapping[str, Tensor], target: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """Compute fused and zero-masked logits {branch: [N, K]} and classes [N]; dense: of some labelled pixels."""
        keeps = {FUSED: None} | {m: (m,) for m in self.parts}
        foreign = self.forward and {branch: self.forward(self.model, inputs, keep) for branch, keep in keeps.items()}
        logits = foreign or self.model.all_logits(inputs)
        for branch, values in logits.items():
            these = f"The logits of {branch!r}"
            shape = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
            if not isinstance(values, Tensor) or values.dim() not in (2, 4) or values.shape[1] < 2:
                raise ValueError(f"{these} are {shape}; give a tensor [B, K] with K > 1, or [B, K, h, w].")
            if not values.is_floating_point():
                raise ValueError(f"{these} are {values.dtype}; give floating-point numbers.")
            if not values.isfinite().all():
                raise ValueError(f"{these} hold NaN or infinite values: the model has diverged.")
            if target.dim() != values.dim() - 1 or len(target) != len(values):
                wanted = "give one class per sample [B], or per pixel [B, H, W]"
                raise ValueError(f"Labels of shape {list(target.shape)} do not fit logits of shape {shape}: {wanted}.")
        if logits[FUSED].dim() == 4:
            target = at_size(target, logits[FUSED].shape[-2:]).flatten(1)  # [B, h w]
            step = math.ceil(target.shape[1] / PIXELS)
            target = target[:, ::step]
            known = target != VOID
            logits = {b: x.flatten(2)[:, :, ::step].movedim(1, 2)[known] for b, x in logits.items()}
            target = target[known]
        classes, (first, last) = logits[FUSED].shape[1], target.aminmax() if len(target) else (0, 0)
        if not 0 <= int(first) <= int(last) < classes:
            raise ValueError(f"Labels from {int(first)} to {int(last)} do not fit logits of {classes} classes: number "
                             f"the classes from 0 to {classes - 1}, or give the model more of them.")  # fmt: skip
        return logits, target

    @torch.no_grad()
    def measure(self, inputs: Mapping[str, Tensor], target: Tensor, stride: int) -> None:
        """Count what is right and suppressed in a batch; keep samples until a batch of them can be differentiated."""
        logits, labels = self.rows(inputs, target)
        self.samples, self.classes = self.samples + len(labels), logits[FUSED].shape[1]
        for branch, values in logits.items():
            self.right[branch] += int((values.argmax(1) == labels).sum())
        for m in self.parts:
            ratio, s_bar = suppression_ratio(logits[FUSED], logits[m], labels)
            self.ratio[m].append(ratio.cpu())
            self.suppressed[m] += int((s_bar < 1).sum())
            self.belief[m].append(logits[m].double().softmax(1).gather(1, labels[:, None])[:, 0].cpu())
        if target.dim() == 1:
            self.right[ADDITIVE] += int((self.additive(inputs).argmax(1) == labels).sum())
        self.kept.append(({m: x[::stride] for m, x in inputs.items()}, target[::stride]))
        if sum(len(y) for _, y in self.kept) >= len(target):
            self.differentiate()

    def additive(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Compute the additive part of the fused logits, [B, K], with partners from the batch.

        One modality of every sample meets the others of a partner, averaged over the partners: a function of that
        modality alone. Their sum, less the mean of the partners' own logits counted too often, equals the fused logits
        exactly where the head is additive.

        **Source.** J. Hessel, L. Lee, "Does my multimodal model learn cross-modal interactions?" (EMNLP 2020), EMAP.
        **Difference.** (1) ``PARTNERS`` samples stand for all. (2) Any number of modalities.
        """
        late = self.forward is None and hasattr(self.model, "encode")
        values = self.model.encode(inputs) if late else inputs
        whole = self.forward and (lambda x: self.forward(self.model, x, None))
        call = self.model.fuse if late else whole or self.model
        count = len(next(iter(values.values())))
        chosen = torch.linspace(0, count - 1, min(PARTNERS, count)).long().tolist()
        own = call({m: x[chosen] for m, x in values.items()}).mean(dim=0)  # [K]
        total = -(len(self.parts) - 1) * own
        for m in self.parts:
            for row in chosen:
                met = {j: x if j == m else x[row : row + 1].expand_as(x) for j, x in values.items()}
                total = total + call(met) / len(chosen)
        return total

    def differentiate(self) -> None:
        """Add the gradients of the summed losses of what was kept; ``.grad`` of the parameters is never touched."""
        inputs = {m: torch.cat([x[m] for x, _ in self.kept]) for m in self.kept[0][0]}
        target = torch.cat([y for _, y in self.kept])
        self.kept.clear()
        with torch.enable_grad():
            logits, target = self.rows(inputs, target)
            losses = {branch: F.cross_entropy(values, target, reduction="sum") for branch, values in logits.items()}
        joint = _gradient(losses[FUSED], [p for group in self.parts.values() for p in group])
        for m, group in self.parts.items():
            own = _gradient(losses[m], group)
            self.joint[m] = self.joint[m] + joint[: len(own)]
            self.own[m] = self.own[m] + own
            joint = joint[len(own) :]
        self.differentiated += len(target)

    def overlap(self) -> float:
        """Compute the smallest correlation of two branches' beliefs; 0 where a belief never varies."""
        beliefs = torch.stack([torch.cat(values) for values in self.belief.values()])  # [M, N]
        if beliefs.shape[1] < 2:
            return 0.0
        known = torch.corrcoef(beliefs).nan_to_num()
        first, second = torch.triu_indices(len(beliefs), len(beliefs), offset=1)
        return known[first, second].min().item()

    def branch(self, m: str) -> Branch:
        """Sum up what was found of one modality."""
        joint, own = self.joint[m] / self.differentiated, self.own[m] / self.differentiated
        product = (joint.norm() * own.norm()).item()
        return Branch(
            accuracy=self.right[m] / self.samples,
            ratio=tuple(np.quantile(torch.cat(self.ratio[m]).numpy(), (0.25, 0.5, 0.75)).tolist()),
            suppressed=self.suppressed[m] / self.samples,
            joint=joint.norm().item(),
            own=own.norm().item(),
            cosine=(joint @ own).item() / product if product else math.nan,
            frozen=not self.parts[m],
        )


def _gradient(loss: Tensor, parameters: list[Tensor]) -> Tensor:
    """Compute the gradient of a loss as one float64 vector; it is zero where the loss does not reach."""
    if not parameters or not loss.requires_grad:
        return torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64, device=loss.device)
    found = torch.autograd.grad(loss, parameters, retain_graph=True, materialize_grads=True)
    return torch.cat([g.flatten().double() for g in found])
