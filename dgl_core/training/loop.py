"""Train: the one loop that every method, model and data set goes through."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dgl_core import data
from dgl_core.data.transforms import halved
from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, Method
from dgl_core.models.convolution import make_safe
from dgl_core.training import optimizer
from dgl_core.training.distributed import Team
from dgl_core.training.environment import describe, peak_memory_mb, utc_now
from dgl_core.training.evaluation import evaluate
from dgl_core.training.machine import Machine
from dgl_core.training.memory import streaming
from dgl_core.training.records import RunRecord, RunSpec, pack
from dgl_core.training.saving import checkpoints, weights
from dgl_core.utils import derive_seed

REVISION = 1  # raise when the numbers of the loop itself change
LARGER = 2  # times as many samples are scored at once on a GPU; on a CPU that would move last digits of records
STATEFUL = ("model", "heads", "optimizer", "method")  # parts of a checkpoint that keep their own state
Log = Callable[[str], None]  # receives one line per epoch
Listener = Callable[[dict[str, float]], None]  # receives the numbers of one epoch


def _of_branches(kept: Mapping[str, Mapping[str, Mapping[str, str]]], what: str) -> dict[str, dict[str, str]]:
    """Take one packed array of every branch: protocol -> branch -> text."""
    return {p: {b: arrays[what] for b, arrays in by.items() if what in arrays} for p, by in kept.items()}


class TrainingDiverged(ArithmeticError):
    """Raised where a loss becomes infinite or NaN; the message names the epoch and the step."""


def check_task(name: str, method: Method, dataset: data.Dataset) -> None:
    """Raise a ``ValueError`` where a method's own losses are not for this target, or would leave out its weights."""
    kind, fitting = dataset.task.kind, "vanilla, dgl, gblend or partial"
    if kind not in method.TARGETS:
        raise ValueError(f"{name} is for {' or '.join(method.TARGETS)}, but the task of data set {dataset.name!r} is "
                         f"{kind}: use {fitting}.")  # fmt: skip
    if dataset.task.weights is not None and kind != "dense" and not method.WEIGHTS:
        raise ValueError(f"{name} has losses of its own, without class weights: leave out the weights of data set "
                         f"{dataset.name!r}, or use {fitting}.")  # fmt: skip


def check_resolution(spec: RunSpec, dataset: data.Dataset, modalities: Iterable[str]) -> None:
    """Raise a ``ValueError`` where there is nothing to train on at half resolution, or labels that would not fit."""
    if spec.half_resolution:
        shapes, only = dataset.shapes, "half_resolution is for pictures and spectrograms with one target a sample"
        if dataset.task.kind == "dense" or not any(len(shapes[m]) >= 3 for m in modalities):
            raise ValueError(f"{only}; data set {dataset.name!r} has none: leave it at 0.")


class Trainer:
    """Train one model on one data set by one method; it is also the ``State`` that methods see.

    It knows no method, task or data set by name; its features are switched by the fields of ``spec`` and ``machine``.

    Args:
        spec: what to run; ``spec.model`` and ``spec.dataset`` only name things here.
        method, model, dataset: the objects themselves. The model is trained in place, on ``device``.
        machine: numerical settings of this computer, no part of a run's key. team: the processes that train together.

    Attributes:
        curves: column -> one value per epoch, as in ``RunRecord``.
        best: protocol -> (score, what the task keeps of every branch on test at the epoch of that score).
        keeps: whether to copy the weights of the epoch that is best on validation. kept: this copy.
        run: what tells this run from others, in its checkpoints; "" where their name does.

    Raises:
        ValueError: settings that do not go with the method, the data, the model or ``team``; says what to change.
    """

    def __init__(
        self,
        spec: RunSpec,
        method: Method,
        model: nn.Module,
        dataset: data.Dataset,
        device: torch.device,
        machine: Machine = Machine(),  # noqa: B008 (frozen)
        team: Team = Team(),  # noqa: B008 (frozen)
    ):
        team.check(spec)
        if spec.accumulate > 1 and method.UPDATES > 1:
            raise ValueError(f"{spec.method} updates {method.UPDATES} times a batch, so accumulate must be 1.")
        self.spec, self.method, self.device, self.machine, self.team = spec, method, device, machine, team
        self.dtype = torch.float64 if spec.precision == "fp64" else torch.float32
        self.epochs, self.epoch, self.step, self.seconds = spec.epochs, 0, 0, 0.0
        self.curves: dict[str, list[float]] = defaultdict(list)
        self.best: dict[str, tuple[float, dict[str, dict[str, str]]]] = {}
        self.keeps, self.kept, self.run = False, None, ""
        self.model = self.team.prepare(model, self.device).to(self.device, self.dtype)
        self._set_up_data(dataset)
        self._set_up_updates()

    def _set_up_data(self, dataset: data.Dataset) -> None:
        """Move the data to where they are trained on; count the steps of an epoch."""
        self.dataset, self.data_on = streaming.place(dataset.only(self.model.encoders), self.device, self.machine)
        self.task, self.classes = dataset.task.to(self.device), len(dataset.classes)
        self.criterion, self.pool = self.task.criterion, self.task.pool
        check_task(self.spec.method, self.method, dataset)
        check_resolution(self.spec, self.dataset, self.model.encoders)
        self.train_index = self.dataset.indices("train")  # where the data are: no copy, and no waiting, at each step
        self.steps_per_epoch, size = len(self.train_index) // self.spec.batch_size, self.spec.batch_size
        if not self.steps_per_epoch:
            raise ValueError(f"batch_size {size} exceeds the {len(self.train_index)} training samples.")

    def _set_up_updates(self) -> None:
        """Lay out the model for speed; make heads, the module that gives the losses, and one optimiser."""
        for module in self.model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # the layout that convolutions run fastest in
                make_safe(module)  # in that layout, a narrow strided one would end the process
        self.heads = self.method.heads(self.model, self.classes).to(self.device, self.dtype)
        objective = self.machine.compiled(self.method.objective(self.model, self.task.criterion))
        self.objective, self._averaged = self.team.wrap(objective, self.method, self.heads)
        groups = {name: self.parameters(name) for name in (*self.model.encoders, "fusion", "heads")}
        if not any(p.requires_grad for group in groups.values() for p in group):
            raise ValueError(f"model {self.spec.model!r} has no parameter to train: all are frozen; thaw some with "
                             "requires_grad_().")  # fmt: skip
        self.optimizer = optimizer.optimizer_of(self.spec, groups)

    # -- what methods see -------------------------------------------------------------------------------------------

    def parameters(self, group: str) -> list[nn.Parameter]:
        part = {"fusion": self.model.fusion, "heads": self.heads}.get(group)
        return list((self.model.encoders[group] if part is None else part).parameters())

    def backward(self, loss: Tensor, *, retain_graph: bool = False) -> None:
        first = self.step - self.step % self.spec.accumulate
        together = min(self.spec.accumulate, self.steps_per_epoch - first)  # the last update of an epoch may have fewer
        with torch.autocast(self.device.type, enabled=False):
            (loss / together).backward(retain_graph=retain_graph)

    def update(self, groups: Sequence[str] | None = None) -> None:
        if (self.step + 1) % self.spec.accumulate and self.step + 1 < self.steps_per_epoch:
            return
        if not self._averaged:
            self.team.average(p.grad for group in self.optimizer.param_groups for p in group["params"])
        norms = optimizer.gradient_norms(self.optimizer, groups)
        for name, norm in norms.items():
            self._norms[name].append(norm)
        if self.spec.clip and norms:
            optimizer.clip(self.optimizer, norms.values(), self.spec.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()  # or another step on this batch would meet low-precision copies of old weights

    def batches(
        self, part: str, *, training: bool = False, limit: int | None = None, probe: int | None = None
    ) -> Iterator[Batch]:
        index, generator = self.dataset.indices(part), None
        size = self.task.evaluation_batch * (LARGER if self.device.type == "cuda" else 1)
        if probe:  # about so many samples, evenly spaced
            index = index[:: math.ceil(len(index) / probe)]
        if training:
            generator, size = self.generator(f"batches/{part}"), self.spec.batch_size
            index = index[torch.randperm(len(index), generator=generator)]
        yield from (self.batch(rows, generator) for rows in index.split(size)[:limit])

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.spec.seed, self.epoch, self.step, purpose))

    # -- the loop ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        checkpoint: Path | None = None,
        every: float = 30.0,
        log: Log | None = None,
        on_epoch: Listener | None = None,
    ) -> None:
        """Train all epochs; the checkpoint is resumed from, saved to every so many seconds, deleted by the caller."""
        parts, first = (self.model, self.heads, self.optimizer), self.team.rank == 0
        if not (checkpoint and checkpoints.resume(checkpoint, self.device, self.load_state_dict, parts, self.method)):
            self.method.on_start(self)
        saved = time.perf_counter()
        for epoch in range(self.epoch, self.epochs):
            self.epoch = epoch
            started = time.perf_counter()
            self._train_epoch()
            trained = time.perf_counter()
            last = epoch + 1 == self.epochs
            scored = last or (epoch + 1) % self.spec.evaluate_every == 0
            if scored:
                self._evaluate_epoch()
            now = time.perf_counter()
            self.curves["seconds/training"].append(trained - started)
            self.seconds += now - started
            if first and checkpoint is not None and now - saved >= every and not last:
                checkpoints.save(self.state_dict(), checkpoint)
                saved = now
            if first and log is not None and scored:
                log(self._epoch_line())
            if first and on_epoch is not None:
                on_epoch(self._epoch_numbers(scored))

    def _train_epoch(self) -> None:
        spec, rank = self.spec, self.team.rank
        torch.manual_seed(derive_seed(spec.seed, self.epoch, "dropout", *((rank,) if rank else ())))
        self.curves["lr"].append(optimizer.start_epoch(self.optimizer, spec, self.epoch))
        self.model.train()
        self.heads.train()
        self.step = 0
        generator = self.generator("train")
        order = self.train_index[torch.randperm(len(self.train_index), generator=generator)]
        self._norms: dict[str, list[Tensor]] = defaultdict(list)
        logs: dict[str, list[Tensor]] = defaultdict(list)
        if self.team.size > 1:
            generator = self.generator(f"train/{rank}")  # of the augmentation; the order is common
        rows = order.split(spec.batch_size)[: self.steps_per_epoch]  # the last, smaller batch is dropped, as officially
        rows = [self.team.part(each) for each in rows]
        for step, loaded in enumerate(streaming.batches(self.dataset, rows, generator)):
            self.step, batch = step, self.at_resolution(self._batch(*loaded))
            self.machine.start_step()
            with self._precision():
                values = self.method.step(self, batch)
            for name, value in values.items():
                logs[name].append(value.detach().clone() if self.machine.graphs else value.detach())
        self._log_epoch(logs)
        self.method.on_epoch_end(self)

    def at_resolution(self, batch: Batch) -> Batch:
        """Halve pictures and spectrograms of a training batch in the epochs that are for that."""
        if self.epoch >= self.spec.halved_epochs:
            return batch
        return Batch({m: halved(x) for m, x in batch.inputs.items()}, batch.target)

    def _precision(self) -> torch.autocast:
        """Compute in bfloat16 where the run says so, in training and in evaluation."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.spec.precision == "bf16")

    def _log_epoch(self, logs: Mapping[str, Sequence[Tensor]]) -> None:
        """Append the means of losses and gradient norms over the steps to the curves; the only waiting of an epoch."""
        together = {name: torch.stack(values).double() for name, values in logs.items()}
        self.team.average([*together.values(), *self.model.buffers(), *self.heads.buffers()])
        losses = {name: values.cpu() for name, values in together.items()}
        wild = [(step.item(), name) for name, values in losses.items() for step in (~values.isfinite()).nonzero()]
        if wild:
            step, name = min(wild)
            raise self._diverged(f"the {name} loss is {losses[name][step].item()} at epoch {self.epoch}, step {step}")
        for name, values in losses.items():
            self.curves[f"loss/{name}"].append(values.mean().item())
        for group in self.optimizer.param_groups:
            norms = self._norms.get(group["name"], [torch.zeros(())])  # 0 where nothing reached the group
            self.curves[f"gradient/{group['name']}"].append(torch.stack(norms).double().mean().item())

    def _evaluate_epoch(self) -> None:
        self.model.eval()
        self.heads.eval()
        with self._precision():
            columns, kept = evaluate(self.method, self, self.task)
        loss = columns[f"train/{FUSED}/loss"]
        if not math.isfinite(loss):  # the last step broke the weights
            raise self._diverged(f"the loss of the trained model is {loss} after epoch {self.epoch}")
        for column, value in columns.items():
            skipped = self.epoch - len(self.curves[column])
            self.curves[column] += [math.nan] * skipped + [value]
        scores = {"last": math.inf} | {f"best_{p}": columns[f"{p}/{FUSED}/{self.task.score}"] for p in ("val", "test")}
        for protocol, score in scores.items():
            if protocol == "last" or protocol not in self.best or score > self.best[protocol][0]:
                self.best[protocol] = (score, kept)
                if protocol == weights.BEST and self.keeps:
                    self.kept = weights.learnt(self)

    def _epoch_line(self) -> str:
        """Say in a line how the epoch went: training loss, validation score of every branch."""
        columns = {b: f"val/{b}/{self.task.score}" for b in (FUSED, *self.model.encoders)}
        scores = ", ".join(f"{b} {100 * self.curves[c][-1]:.1f}" for b, c in columns.items() if c in self.curves)
        loss = self.curves[f"train/{FUSED}/loss"][-1]
        return f"epoch {self.epoch + 1:3d}/{self.epochs}: loss {loss:.3f}, validation {self.task.score} % {scores}"

    def _epoch_numbers(self, scored: bool) -> dict[str, float]:
        """Collect the numbers of the present epoch: every column of the record that has one, and how far the run is."""
        there = {name: values[-1] for name, values in self.curves.items() if len(values) == self.epoch + 1}
        numbers = {name: value for name, value in there.items() if scored or not math.isnan(value)}
        return {"epoch": self.epoch + 1, "epochs": self.epochs} | numbers

    def _diverged(self, what: str) -> TrainingDiverged:
        advice = f"Lower lr (now {self.spec.lr:g}); the last good checkpoint is kept."
        return TrainingDiverged(f"{self.spec}: {what}. {advice}")

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        return self._batch(*self.dataset.batch(rows, generator))

    def _batch(self, inputs: Mapping[str, Tensor], target: Tensor) -> Batch:
        return Batch({m: self._typed(inputs[m]) for m in self.model.encoders}, self._typed(target))

    def _typed(self, values: Tensor) -> Tensor:
        """Give numbers the precision of the run; what counts or names something stays whole."""
        return values.to(self.dtype) if values.is_floating_point() else values

    # -- what stays -------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, object]:
        """Collect all that the specification does not decide, so that a run can go on after the present epoch."""
        state = {"epoch": self.epoch + 1} | {name: getattr(self, name).state_dict() for name in STATEFUL}
        state |= {"curves": dict(self.curves), "best": self.best, "seconds": self.seconds}
        return state | ({"run": self.run} if self.run else {}) | ({"kept": tuple(self.kept)} if self.kept else {})

    def load_state_dict(self, state: Mapping[str, object]) -> None:
        """Go on from a state that ``state_dict`` collected."""
        if self.keeps and state["best"] and "kept" not in state:
            raise ValueError("it holds no best weights")
        for name in STATEFUL:
            getattr(self, name).load_state_dict(state[name])
        self.curves = defaultdict(list, state["curves"])
        self.epoch, self.best, self.seconds = state["epoch"], state["best"], state["seconds"]
        self.kept = weights.Learnt(*state["kept"]) if "kept" in state else None

    def record(self, key: str, revisions: Mapping[str, int], files: Mapping[str, str] | None = None) -> RunRecord:
        """Make the record of the run, after its last epoch; ``files``: protocol -> file of its weights."""
        dataset, method, curves, training = self.dataset, self.method, self.curves, self.curves["seconds/training"]
        kept = {protocol: arrays for protocol, (_, arrays) in self.best.items()}
        return RunRecord(
            spec=self.spec,
            key=key,
            revisions=dict(revisions),
            data={
                "fingerprint": dataset.fingerprint,
                "source": dataset.source,
                "generated": dataset.generated,
                "counts": {part: dataset.split.count(part) for part in data.PARTS},
                "classes": list(dataset.classes),
                "modalities": list(self.model.encoders),
                "score": self.task.score,
                "task": self.task.kind,
                "chance": self._chance(),
                "unimodal": {"zero mask": method.ZERO_MASK, "official": method.OFFICIAL},
            }
            | ({"groups": pack(dataset.test_groups())} if dataset.groups else {}),
            curves={column: [float(f"{v:.6g}") for v in values] for column, values in sorted(curves.items())},
            predictions=_of_branches(kept, "predicted"),
            right=_of_branches(kept, "right"),
            arrays={p: by for p, by in kept.items() if not any("predicted" in a for a in by.values())},
            cost={
                "seconds": round(self.seconds, 3),
                "seconds_per_epoch": round(sum(training) / len(training), 4),
                "peak_memory_mb": peak_memory_mb(self.device),
                "parameters": sum(p.numel() for module in (self.model, self.heads) for p in module.parameters()),
            },
            environment=self._environment(),
            created=utc_now(),
            weights=dict(files or {}),
        )

    def _chance(self) -> dict[str, float]:
        """Score the best answer that looks at no sample, on validation and test."""
        target = {part: self.dataset.target[self.dataset.indices(part)] for part in data.PARTS}
        return {part: round(self.task.chance(target["train"], target[part]), 6) for part in ("val", "test")}

    def _environment(self) -> dict[str, object]:
        """State where the run was made (``RunRecord.environment``): device, versions, unusual settings."""
        where = describe(self.device) | self.machine.describe(self.device)
        if self.device.type == "cuda":
            where["data_on"] = self.data_on
        if self.team.size > 1:
            where["processes"] = self.team.size
            if self.team.sees_whole_batch(self.model, self.task, self._averaged):
                where["whole_batch"] = True
        return where
