"""Define what a run is (``RunSpec``) and what it leaves behind (``RunRecord``), both as plain values."""

from __future__ import annotations

import base64
import dataclasses
import functools
import hashlib
import io
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from dgl_core.training.environment import making
from dgl_core.utils import coerce, unknown_name

SCHEMA = 1
PROTOCOLS = ("last", "best_val", "best_test")  # last epoch; best on validation (ours); best on test (the paper's)
MANY = 10**6  # epochs, samples or batches: more is a slip of the keyboard
RANGES = {  # field -> lowest and highest value, both allowed
    **dict.fromkeys(("lr", "encoder_lr_scale", "weight_decay", "clip"), (0, MANY)),
    **dict.fromkeys(("momentum", "decay", "half_resolution"), (0, 1)),
    **dict.fromkeys(("epochs", "batch_size", "accumulate", "evaluate_every"), (1, MANY)),
    "milestones": (0, MANY),
    "seed": (0, 2**63 - 1),
}
CHOICES = {
    "optimizer": ("sgd", "adam", "adamw"),
    "precision": ("fp32", "tf32", "bf16", "fp64"),
    "schedule": ("step", "one_cycle"),
}


@dataclass(frozen=True)
class RunSpec:
    """Specify one training run by everything that decides its outcome: plain values, no profile, no device, no path.

    Defaults are the paper's (METHODS 1.4); the clip at 40 is an undocumented setting of the official code.

    Attributes:
        dataset, model, method: registered names; their options as dictionaries.
        lr: learning rate of fusion and heads. encoder_lr_scale: encoders use ``lr * encoder_lr_scale``; with alpha in
            its place this is the learning-rate control, because under SGD alpha does nothing else to an encoder.
        milestones, decay: the rate is multiplied by ``decay`` from each of these epochs (0-based) on.
        accumulate: batches whose gradients are averaged before one update.
        clip: largest norm of all gradients together; 0: none.
        precision: "fp32" (in convolutions too), "tf32" (NVIDIA tensor cores), "bf16" (autocast) or "fp64".
        schedule: "step" (milestones, decay) or "one_cycle" (lr is the peak; momentum is cycled .95-.85-.95).
        nesterov: of SGD only. evaluate_every: score the model after so many epochs, and after the last.
        half_resolution: share of the epochs, the first ones, that train on pictures and spectrograms of half the height
            and width, for about a quarter of the operations. Scores are always at full size.
    """

    dataset: str
    method: str = "vanilla"
    model: str = "resnet18"
    dataset_options: dict = field(default_factory=dict)
    method_options: dict = field(default_factory=dict)
    model_options: dict = field(default_factory=dict)
    optimizer: str = "sgd"
    lr: float = 2e-3
    encoder_lr_scale: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-4
    milestones: tuple[int, ...] = (70,)
    decay: float = 0.1
    epochs: int = 100
    batch_size: int = 64
    accumulate: int = 1
    clip: float = 40.0
    seed: int = 0
    precision: str = "fp32"
    schedule: str = "step"
    nesterov: bool = False
    evaluate_every: int = 1
    half_resolution: float = 0.0

    def __post_init__(self):
        for name, default in self._defaults().items():
            value = getattr(self, name)
            if isinstance(default, dict):
                if not isinstance(value, Mapping):
                    raise ValueError(f"{name} is {value!r}; it must be a dictionary of options.")
                value = {k: tuple(v) if isinstance(v, list) else v for k, v in sorted(value.items())}
            else:
                value = coerce(name, value, default)
            object.__setattr__(self, name, value)
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            for one in value if isinstance(value, tuple) else (value,):
                if not low <= one <= high:
                    bound = f"at least {low}" if not one >= low else f"at most {high:,}"
                    raise ValueError(f"{name} is {value}; it must be {bound}.")
        if self.momentum == 1:
            raise ValueError("momentum is 1; it must be below 1, or old gradients never fade.")
        if not isinstance(self.dataset, str):
            raise ValueError(f"dataset is {self.dataset!r}; it must be one registered name, as text.")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise unknown_name(name, getattr(self, name), choices)

    @classmethod
    @functools.cache
    def _defaults(cls) -> Mapping[str, object]:
        """List the fields that have a default, with it."""
        return {f.name: {} if f.default is dataclasses.MISSING else f.default for f in fields(cls)[1:]}

    def __hash__(self):
        return hash((self.dataset, self.method, self.model, self.seed, self.lr))  # 4 == 4.0 among the options

    def __str__(self):
        return f"{self.method} on {self.dataset}, seed {self.seed}"

    @property
    def halved_epochs(self) -> int:
        """Count the first epochs, those at half resolution; a part of one does not count."""
        return math.floor(self.half_resolution * self.epochs + 1e-9)

    def but(self, **changes) -> RunSpec:
        """Copy the specification with some fields changed."""
        return dataclasses.replace(self, **changes)

    def plain(self) -> dict[str, object]:
        """List the fields that differ from their default, as JSON values."""
        own = {name: value for name, default in self._defaults().items() if (value := getattr(self, name)) != default}
        return json.loads(json.dumps({"dataset": self.dataset} | own))

    def identity(self) -> str:
        """Write the canonical text: defaults left out (a new field orphans nothing), keys sorted."""
        return json.dumps(self.plain(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_plain(cls, values: Mapping[str, object]) -> RunSpec:
        names = {f.name for f in fields(cls)}
        for name in (name for name in values if name not in names):
            raise unknown_name("field of a run specification", name, names)
        return cls(**values)


class CorruptRecord(ValueError):
    """Raised for a record that is truncated, hand-edited or from another schema."""


@dataclass(frozen=True)
class RunRecord:
    """Hold what one run leaves behind. A record is written once and never changed.

    Attributes:
        spec, key, revisions: what was run; see ``runs.key``.
        data: fingerprint, source, generated (bool), counts per split, classes, modalities, score, task, chance (part ->
            score of the best answer that looks at no sample), unimodal (how branches are scored, and with what share of
            the bias), and ``groups`` (``pack``), the group of every test sample, where its data set has some.
        curves: column -> one value per epoch. Columns read ``part/branch/metric`` (``"test/fused/accuracy"``,
            fractions), ``gradient/<encoder>`` (L2 norm before clipping, mean over steps), ``loss/...`` (mean over
            steps), ``suppression/<modality>/R_mean`` and so on (on the training probe), ``lr``.
        predictions: protocol -> branch -> predicted class of every test sample (see ``unpack``).
        arrays: protocol -> branch -> name -> what the task keeps for tables and pictures (see ``unpack_array``), and of
            label maps what every test picture adds to the score, for verdicts.
        right: protocol -> branch -> one bit for every test sample: was it right? (see ``unpack_bits``).
        cost: seconds, seconds_per_epoch, peak_memory_mb, parameters.
        environment: device, threads, portable, versions, commit; ``processes`` where several trained together, and
            ``whole_batch`` if their update is that of the whole batch all the same.
        created: UTC time.
        weights: protocol -> name of the file that holds the weights of its epoch, where they were kept.
    """

    spec: RunSpec
    key: str
    revisions: dict[str, int]
    data: dict[str, object]
    curves: dict[str, list[float]]
    predictions: dict[str, dict[str, str]]
    cost: dict[str, float]
    environment: dict[str, object]
    created: str
    arrays: dict[str, dict[str, dict[str, str]]] = field(default_factory=dict)
    right: dict[str, dict[str, str]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)

    def epoch(self, protocol: str = "last") -> int:
        """Find the 0-based epoch that a protocol selects; ties go to the earliest."""
        if protocol not in PROTOCOLS:
            raise unknown_name("protocol", protocol, PROTOCOLS)
        part = {"best_val": "val", "best_test": "test"}.get(protocol)
        if not part:
            return len(self.curves["lr"]) - 1
        column = f"{part}/fused/{self.selecting}"
        if column not in self.curves:
            raise ValueError(f"This {self.spec.method} run has no {part!r} part, so no {protocol!r} epoch.")
        return int(np.nanargmax(self.curves[column]))  # NaN: not scored after that epoch

    def score(self, branch: str = "fused", protocol: str = "last", part: str = "test", metric: str = "") -> float:
        """Read one number, a fraction, at the epoch of ``protocol``; by default the score that selects epochs."""
        column = f"{part}/{branch}/{metric or self.selecting}"
        if column not in self.curves:
            raise unknown_name("column of this record", column, self.curves)
        return self.curves[column][self.epoch(protocol)]

    def branches(self) -> list[str]:
        """List the branches with a test score, as ``evaluation.branches_of`` names them."""
        return [c.split("/")[1] for c in self.curves if c.startswith("test/") and c.endswith(f"/{self.selecting}")]

    def at_chance(self, branch: str = "fused", part: str = "val") -> bool:
        """Tell whether the last score of a branch is not above what an answer that looks at no sample may reach.

        That is the score of the best such answer and one standard error of a share of so many samples.
        """
        chance, count = self.data["chance"][part], self.data["counts"][part]
        spread = math.sqrt(max(chance * (1 - chance), 0.0) / count)
        return self.score(branch, part=part) <= chance + spread

    @property
    def making(self) -> str:
        """Name what moved the numbers and is no part of the key (``environment.making``)."""
        parts = 1 if self.environment.get("whole_batch") else self.environment.get("processes", 1)
        return making(bool(self.environment.get("portable")), parts)

    @property
    def selecting(self) -> str:
        """Name the score by which epochs are selected: accuracy, or what the data set's task says."""
        return str(self.data.get("score", "accuracy"))

    def to_json(self) -> str:
        body = {"schema": SCHEMA} | {f.name: getattr(self, f.name) for f in fields(self)} | {"spec": self.spec.plain()}
        for name in (
            "right",
            "weights",
        ):  # not of every run, and no earlier record had them
            if not body[name]:
                body.pop(name)
        text = json.dumps(body, sort_keys=True)
        return json.dumps(body | {"checksum": hashlib.sha256(text.encode()).hexdigest()}, sort_keys=True, indent=0)

    @classmethod
    def from_json(cls, text: str) -> RunRecord:
        """Read a record; one that is not as it was written, or of another version, raises a ``CorruptRecord``."""
        try:
            body = json.loads(text)
            checksum = body.pop("checksum")
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise CorruptRecord("it is truncated or not a run record") from None
        if body.get("schema") != SCHEMA:
            raise CorruptRecord(f"its schema is {body.get('schema')!r:.40}, this version reads {SCHEMA}")
        if hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest() != checksum:
            raise CorruptRecord("its checksum does not match its content, so it was edited or damaged")
        body.pop("schema")
        try:
            return cls(**body | {"spec": RunSpec.from_plain(body["spec"])})
        except (TypeError, ValueError, KeyError) as error:
            raise CorruptRecord(f"another version of this project wrote it ({error})") from None


def pack(labels: np.ndarray) -> str:
    """Write class indices as base64 of little-endian uint16, small enough to keep for every test sample."""
    return base64.b64encode(np.asarray(labels).astype("<u2").tobytes()).decode()


def unpack(text: str) -> np.ndarray:
    """Read class indices (int64) that ``pack`` wrote."""
    return np.frombuffer(base64.b64decode(text), dtype="<u2").astype(np.int64)


def pack_bits(bits: np.ndarray) -> str:
    """Write booleans [N] as base64, eight in a byte."""
    return base64.b64encode(np.packbits(np.asarray(bits, dtype=bool)).tobytes()).decode()


def unpack_bits(text: str, n: int) -> np.ndarray:
    """Read the ``n`` booleans that ``pack_bits`` wrote."""
    return np.unpackbits(np.frombuffer(base64.b64decode(text), dtype=np.uint8), count=n).astype(bool)


def pack_array(array: np.ndarray) -> str:
    """Write any small array of numbers as text: an npy file, compressed, in base64."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return base64.b64encode(zlib.compress(buffer.getvalue(), 9)).decode()


def unpack_array(text: str) -> np.ndarray:
    """Read an array that ``pack_array`` wrote."""
    return np.load(io.BytesIO(zlib.decompress(base64.b64decode(text))), allow_pickle=False)
