"""The one training loop: every method, model and data set goes through it."""

from __future__ import annotations

import hashlib
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dgl_core import data
from dgl_core.gradients import FUSED
from dgl_core.methods.base import Batch, Method
from dgl_core.training import checkpoints, optimizer, recording, streaming
from dgl_core.training.distributed import Team
from dgl_core.training.evaluation import evaluate
from dgl_core.training.machine import Machine
from dgl_core.training.records import RunRecord, RunSpec

REVISION = 1  # raise when the numbers of the loop itself change
Log = Callable[[str], None]  # receives one line per epoch


class TrainingDiverged(ArithmeticError):
    """A loss became infinite or NaN; the message names the epoch and the step."""


def derive_seed(*parts: object) -> int:
    """A 56-bit seed from any values: random numbers depend on what they are for, not on what was drawn before."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "big")


class Trainer:
    """Runs one method on one model and one data set; it is the ``State`` that methods see.

    Args:
        spec: what to run; ``spec.model`` and ``spec.dataset`` only name things here.
        method, model, dataset: the objects themselves. The model is trained in place.
        device: where to train. machine: how this computer goes about it. team: the processes that train together.
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
        dtype = torch.float64 if spec.precision == "fp64" else torch.float32
        self.model = model = team.prepare(model, device).to(device, dtype)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                module.to(memory_format=torch.channels_last)  # the layout that convolutions run fastest in
        self.dataset, self.data_on = streaming.place(dataset, device, machine)
        self.task = dataset.task.to(device)
        self.classes = len(dataset.classes)
        self.heads = method.heads(model, self.classes).to(device, dtype)
        objective = machine.compiled(method.objective(model, self.task.criterion))
        self.objective, self._averaged = team.wrap(objective, method, self.heads)
        self.dtype = dtype
        self.epochs, self.epoch, self.step = spec.epochs, 0, 0
        self.train_index = self.dataset.indices("train")  # where the data are: no copy, and no waiting, at each step
        self.steps_per_epoch = len(self.train_index) // spec.batch_size
        if not self.steps_per_epoch:
            raise ValueError(f"batch_size {spec.batch_size} exceeds the {len(self.train_index)} training samples.")
        self.optimizer = optimizer.optimizer_of(
            spec, {g: self.parameters(g) for g in (*model.encoders, "fusion", "heads")}
        )
        self.curves: dict[str, list[float]] = defaultdict(list)
        self.best: dict[str, tuple[float, dict[str, dict[str, str]]]] = {}  # protocol -> (score, packed arrays)
        self.seconds = 0.0

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
        last = self.step + 1 == self.steps_per_epoch
        if (self.step + 1) % self.spec.accumulate and not last:
            return
        if not self._averaged:
            self.team.average(p.grad for group in self.optimizer.param_groups for p in group["params"])
        norms = []
        for group in self.optimizer.param_groups:
            if groups is not None and group["name"] not in groups:
                for parameter in group["params"]:
                    parameter.grad = None
            if any(p.grad is not None for p in group["params"]):
                norms.append(gradient_norm(group["params"]))
                self._norms[group["name"]].append(norms[-1])
        everything = [p for group in self.optimizer.param_groups for p in group["params"]]
        if self.spec.clip and norms:
            total = torch.linalg.vector_norm(torch.stack(norms))
            torch.nn.utils.clip_grads_with_norm_(everything, self.spec.clip, total)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()  # or another step on this batch would meet low-precision copies of old weights

    def batches(self, part: str, *, training: bool = False, limit: int | None = None) -> Iterator[Batch]:
        index, generator, size = self.dataset.indices(part), None, self.task.evaluation_batch
        if training:
            generator, size = self.generator(f"batches/{part}"), self.spec.batch_size
            index = index[torch.randperm(len(index), generator=generator)]
        for number, rows in enumerate(index.split(size)):
            if limit is not None and number >= limit:
                return
            yield self.batch(rows, generator)

    def generator(self, purpose: str) -> torch.Generator:
        return torch.Generator().manual_seed(derive_seed(self.spec.seed, self.epoch, self.step, purpose))

    # -- the loop ---------------------------------------------------------------------------------------------------

    def fit(self, checkpoint: Path | None = None, every: float = 30.0, log: Log | None = None) -> None:
        """Train all epochs, from the checkpoint if there is one.

        Args:
            checkpoint: file to resume from and to save to at most ``every`` seconds; deleted by the caller.
            log: called with one line per epoch.
        """
        if checkpoint is None or not checkpoints.restore(self, checkpoint):
            self.method.on_start(self)
        saved = time.perf_counter()
        for epoch in range(self.epoch, self.epochs):
            self.epoch = epoch
            started = time.perf_counter()
            self._train_epoch()
            trained = time.perf_counter()
            if (epoch + 1) % self.spec.evaluate_every == 0 or epoch + 1 == self.epochs:
                self._evaluate_epoch()
            now = time.perf_counter()
            self.curves["seconds/training"].append(trained - started)
            self.seconds += now - started
            first = self.team.rank == 0
            if first and checkpoint is not None and now - saved >= every and self.epoch + 1 < self.epochs:
                checkpoints.save(self, checkpoint)
                saved = now
            if first and log is not None and self._scored:
                log(self._line())

    def _train_epoch(self) -> None:
        spec, rank = self.spec, self.team.rank
        torch.manual_seed(derive_seed(spec.seed, self.epoch, "dropout", *((rank,) if rank else ())))
        rate = optimizer.start_epoch(self.optimizer, spec, self.epoch)
        self.curves["lr"].append(rate)
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
        parts = map(self.team.part, rows)
        for step, loaded in enumerate(streaming.batches(self.dataset, parts, generator)):
            self.step, batch = step, self._batch(*loaded)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=spec.precision == "bf16"):
                values = self.method.step(self, batch)
            for name, value in values.items():
                logs[name].append(value.detach())
        together = {name: torch.stack(values).double() for name, values in logs.items()}
        self.team.average([*together.values(), *self.model.buffers(), *self.heads.buffers()])
        losses = {name: values.cpu() for name, values in together.items()}
        bad = [
            ((~values.isfinite()).nonzero()[0].item(), n) for n, values in losses.items() if not values.isfinite().all()
        ]
        if bad:
            step, name = min(bad)
            raise self._diverged(f"the {name} loss is {losses[name][step].item()} at epoch {self.epoch}, step {step}")
        for name, values in losses.items():
            self.curves[f"loss/{name}"].append(values.mean().item())
        for group in self.optimizer.param_groups:
            norms = self._norms.get(group["name"], [torch.zeros(())])  # 0 where nothing reached the group
            self.curves[f"gradient/{group['name']}"].append(torch.stack(norms).double().mean().item())
        self.method.on_epoch_end(self)

    def _evaluate_epoch(self) -> None:
        self.model.eval()
        self.heads.eval()
        columns, kept = evaluate(self)
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

    @property
    def _scored(self) -> bool:
        """Was the model evaluated after the present epoch?"""
        return len(self.curves[f"val/{FUSED}/{self.task.score}"]) == self.epoch + 1

    def _diverged(self, what: str) -> TrainingDiverged:
        spec = self.spec
        advice = f"Lower lr (now {spec.lr:g}); the last good checkpoint is kept."
        return TrainingDiverged(f"{spec.method} on {spec.dataset}, seed {spec.seed}: {what}. {advice}")

    # -- plumbing ---------------------------------------------------------------------------------------------------

    def batch(self, rows: Tensor, generator: torch.Generator | None = None) -> Batch:
        return self._batch(*self.dataset.batch(rows, generator))

    def _batch(self, inputs: Mapping[str, Tensor], target: Tensor) -> Batch:
        return Batch({m: inputs[m].to(self.dtype) for m in self.model.encoders}, target)

    def _line(self) -> str:
        latest = {c: v[-1] for c, v in self.curves.items()}
        score = self.task.score
        branches = [b for b in (FUSED, *self.model.encoders) if f"val/{b}/{score}" in latest]
        scores = ", ".join(f"{b} {100 * latest[f'val/{b}/{score}']:.1f}" for b in branches)
        loss = latest[f"train/{FUSED}/loss"]
        return f"epoch {self.epoch + 1:3d}/{self.epochs}: loss {loss:.3f}, validation {score} % {scores}"

    def record(self, key: str, revisions: Mapping[str, int]) -> RunRecord:
        return recording.record(self, key, revisions)


def gradient_norm(parameters: Iterable[Tensor]) -> Tensor:
    """L2 norm over all gradients present, a 0-d tensor on their device (no waiting); 0 where there is none."""
    grads = [p.grad for p in parameters if p.grad is not None]
    return torch.nn.utils.get_total_norm(grads) if grads else torch.zeros(())
