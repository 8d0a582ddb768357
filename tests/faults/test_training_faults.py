"""Bad input and bad luck in training: one clear error that names the place, and nothing finished is lost."""

from __future__ import annotations

import errno
import os

import pytest
import torch
from torch import nn

from dgl_core.data import DATASETS, ArrayDataset, Recipe
from dgl_core.data.files import atomic
from dgl_core.data.recipe import Facts
from dgl_core.methods import METHODS
from dgl_core.models import ConcatFusion, LateFusion
from dgl_core.runs import keys
from dgl_core.runs import run as runs
from dgl_core.runs.run import RunsFailed, load_or_run, run_all
from dgl_core.training import loop, records
from dgl_core.training import train as training
from dgl_core.training.loop import TrainingDiverged
from dgl_core.training.records import RunSpec
from dgl_core.training.saving import checkpoints
from dgl_core.training.train import fit

SAMPLES = 24


def arrays(**changes) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    values = {
        "inputs": {m: torch.randn(SAMPLES, 1, 16, 16, generator=generator) for m in ("sound", "face")},
        "target": torch.arange(SAMPLES) % 3,
        "split": ["train", "val", "train", "test"] * (SAMPLES // 4),
        "name": "faulty",
    }
    return values | changes


def vectors() -> ArrayDataset:
    made = arrays()
    return ArrayDataset(**made | {"inputs": {m: x[:, 0, 0, :4] for m, x in made["inputs"].items()}})


def model() -> LateFusion:
    torch.manual_seed(0)
    return LateFusion({m: nn.Linear(4, 2) for m in ("sound", "face")}, ConcatFusion({"sound": 2, "face": 2}, 3))


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """A store of its own, and a data set of the name "faulty"."""
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path / "store"))
    training.load.cache_clear()
    recipe = Recipe(
        name="faulty",
        load=lambda root: ArrayDataset(**arrays()),
        options={},
        generated=True,
        facts=Facts("for faults"),
    )
    monkeypatch.setitem(DATASETS, "faulty", recipe)
    return tmp_path / "store"


def spec(**fields) -> RunSpec:
    small = {"model": "small", "model_options": {"width": 2}, "epochs": 3, "batch_size": 4, "lr": 0.05}
    return RunSpec("faulty", **small | fields)


# -- data --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused_before_training(bad):
    made = arrays()
    made["inputs"]["face"][7, 0, 3, 3] = bad
    with pytest.raises(ValueError, match="modality 'face' of sample '7' has values that are not finite"):
        ArrayDataset(**made)


@pytest.mark.parametrize("label, classes", [(3, ("a", "b", "c")), (-1, None)])
def test_a_label_outside_the_classes_is_refused(label, classes):
    target = torch.arange(SAMPLES) % 3
    target[5] = label
    with pytest.raises(ValueError, match=f"label {label} of sample '5' is outside the 3 classes"):
        ArrayDataset(**arrays(target=target, classes=classes))


def test_a_batch_larger_than_the_training_part():
    with pytest.raises(ValueError, match="batch_size 13 exceeds the 12 training samples"):
        fit(model(), "dgl", vectors(), batch_size=13)


# -- divergence --------------------------------------------------------------------------------------------------------


def test_a_loss_that_turns_nan_stops_and_names_the_step():
    """The encoder of one modality breaks in the third step of the second epoch."""

    class Breaking(nn.Linear):
        calls = 0

        def forward(self, x):
            self.calls += self.training
            return super().forward(x) * (float("nan") if self.calls == 3 + 3 else 1.0)

    broken = model()
    broken.encoders["face"] = Breaking(4, 2)
    with pytest.raises(TrainingDiverged) as caught:
        fit(broken, "dgl", vectors(), epochs=3, batch_size=4, lr=0.01, seed=5)
    message = str(caught.value)
    assert message.startswith("dgl on faulty, seed 5: the ") and "loss is nan at epoch 1, step 2." in message
    assert "Lower lr (now 0.01)" in message


def test_the_first_bad_step_of_any_loss_is_named():
    """One branch breaks earlier than the fused loss."""
    method = METHODS["dgl"]()
    step = method.step

    def late(state, batch):
        losses = step(state, batch)
        if state.step >= 1:
            losses["face"] = losses["face"] * float("inf")
        if state.step >= 2:
            losses["multimodal"] = losses["multimodal"] * float("nan")
        return losses

    method.step = late
    trainer = loop.Trainer(spec(method="dgl"), method, model(), vectors(), torch.device("cpu"))
    with pytest.raises(TrainingDiverged, match="the face loss is inf at epoch 0, step 1"):
        trainer.fit()


def test_divergence_keeps_the_last_good_checkpoint_and_the_other_runs(workplace, monkeypatch):
    """The rate is too high from the second epoch on; what is kept is the state after the first."""
    train = training.train
    monkeypatch.setattr(training, "train", lambda s, **options: train(s, **options | {"every": 0}))
    monkeypatch.setitem(records.RANGES, "decay", (0, 1e50))  # no specification of a reader could ask for this
    wild = spec(lr=1e-20, milestones=(1,), decay=1e45, clip=0.0)
    with pytest.raises(RunsFailed, match="vanilla on faulty, seed 0: .* epoch 1.*Finished runs are recorded") as caught:
        run_all([wild, spec(seed=1)])
    assert isinstance(caught.value.failures[0][1], TrainingDiverged)
    assert runs.find(spec(seed=1)) is not None and runs.find(wild) is None
    (checkpoint,) = workplace.glob("*.checkpoint")
    state = checkpoints.restore(checkpoint, torch.device("cpu"))
    assert state["epoch"] == 1
    assert all(t.isfinite().all() for t in state["model"].values() if t.is_floating_point())


def test_weights_that_break_in_the_last_step_are_never_saved(tmp_path):
    """Every loss was finite; the last update left a NaN. No checkpoint and no record may hold that."""
    method = METHODS["vanilla"]()
    step = method.step

    def breaking(state, batch):
        losses = step(state, batch)
        if state.epoch == 1 and state.step == state.steps_per_epoch - 1:
            with torch.no_grad():
                state.model.encoders["face"].weight[0, 0] = float("nan")
        return losses

    method.step = breaking
    trainer = loop.Trainer(spec(), method, model(), vectors(), torch.device("cpu"))
    with pytest.raises(TrainingDiverged, match="the loss of the trained model is nan after epoch 1"):
        trainer.fit(tmp_path / "checkpoint", every=0)
    state = checkpoints.restore(tmp_path / "checkpoint", torch.device("cpu"))
    assert state["epoch"] == 1 and all(t.isfinite().all() for t in state["model"].values())


# -- interrupted, damaged, full ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 half a file", b"no checkpoint at all"])
def test_a_damaged_checkpoint_starts_again(workplace, capsys, damage):
    whole = training.train(spec())
    made = keys.canonical(spec())
    workplace.mkdir()
    path = runs.here().path(made, keys.key(made)).with_suffix(".checkpoint")
    path.write_bytes(damage)
    (record,) = load_or_run([spec()])
    said = capsys.readouterr().err
    assert f"Checkpoint {path.name} is not used, it is damaged" in said and "this run starts again. Moved to" in said
    assert path.with_name(path.name + ".damaged").read_bytes() == damage
    assert record.curves["test/fused/loss"] == whole.curves["test/fused/loss"]
    assert not path.exists()


def test_half_a_checkpoint_starts_again(tmp_path, capsys):
    checkpoint = tmp_path / "run.checkpoint"

    def fresh():
        return loop.Trainer(spec(), METHODS["vanilla"](), model(), vectors(), torch.device("cpu"))

    fresh().fit(checkpoint, every=0)
    checkpoint.write_bytes(checkpoint.read_bytes()[: checkpoint.stat().st_size // 2])
    run = fresh()
    run.fit(checkpoint, every=0)
    assert len(run.curves["lr"]) == 3 and "is damaged" in capsys.readouterr().err


def trained_to_a_checkpoint(path) -> loop.Trainer:
    made = loop.Trainer(spec(), METHODS["vanilla"](), model(), vectors(), torch.device("cpu"))
    made.fit(path, every=0)
    return made


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_single_flipped_bit_never_reaches_a_record(tmp_path, capsys, share):
    """Wherever it is: in the checksum, in the weights, in the list of files of the archive."""
    checkpoint = tmp_path / "run.checkpoint"
    whole = trained_to_a_checkpoint(checkpoint)
    content = bytearray(checkpoint.read_bytes())
    content[int(share * len(content))] ^= 16
    checkpoint.write_bytes(content)
    again = trained_to_a_checkpoint(checkpoint)
    assert again.curves["test/fused/loss"] == whole.curves["test/fused/loss"]
    assert "starts again" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["model", "optimizer", "curves"])
def test_a_checkpoint_that_does_not_fit_is_set_aside_and_leaves_no_trace(tmp_path, capsys, part):
    """Its checksum is right: another version wrote it. The run starts again and ends as if it had not been there."""
    checkpoint = tmp_path / "run.checkpoint"
    whole = trained_to_a_checkpoint(checkpoint)
    state = checkpoints.restore(checkpoint, torch.device("cpu"))
    checkpoints.save(state | {part: [1, 2]}, checkpoint)
    again = trained_to_a_checkpoint(checkpoint)
    assert again.curves["test/fused/loss"] == whole.curves["test/fused/loss"] and len(again.curves["lr"]) == 3
    assert "does not fit this run" in capsys.readouterr().err


def full_disk(monkeypatch, suffix: str) -> list[str]:
    """From now on, no file with this suffix can be moved to its place."""
    replace, refused = os.replace, []

    def full(source, target):
        if str(target).endswith(suffix):
            refused.append(str(target))
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(source, target)

    monkeypatch.setattr(atomic.os, "replace", full)
    return refused


def test_a_disk_that_is_full_when_a_record_is_written(workplace, monkeypatch):
    """One message with the remedy; finished records stay; the long training is not lost but goes on from its end."""
    (first,) = load_or_run([spec()])
    train, epochs = training.train, []
    monkeypatch.setattr(training, "train", lambda s, **o: train(s, **o | {"every": 0, "log": epochs.append}))
    refused = full_disk(monkeypatch, ".json")
    with pytest.raises(
        RunsFailed, match="cannot write to .*No space left on device.*DGL_RESULTS.*Finished runs are rec"
    ):
        load_or_run([spec(), spec(seed=1)])
    assert len(refused) == 1 and len(epochs) == 3
    assert sorted(p.suffix for p in workplace.iterdir()) == [".checkpoint", ".json"]
    monkeypatch.setattr(atomic.os, "replace", os.rename)
    both = load_or_run([spec(), spec(seed=1)])
    assert both[0] == first and len(epochs) == 4, "only the last epoch is trained again"


def test_a_disk_that_is_full_when_a_checkpoint_is_written(workplace, monkeypatch):
    (first,) = load_or_run([spec()])
    train = training.train
    monkeypatch.setattr(training, "train", lambda s, **options: train(s, **options | {"every": 0}))
    full_disk(monkeypatch, ".checkpoint")
    with pytest.raises(RunsFailed, match="No space left on device.*Finished runs are recorded"):
        load_or_run([spec(), spec(seed=1)])
    assert load_or_run([spec()]) == [first] and [p.suffix for p in workplace.iterdir()] == [".json"]


def test_ctrl_c_leaves_the_store_clean(workplace, monkeypatch):
    """No claim and no half-written file stays behind, and the next call simply goes on."""
    train = training.train

    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "train", lambda s, **options: train(s, **options | {"log": interrupt}))
    with pytest.raises(KeyboardInterrupt):
        load_or_run([spec()])
    assert list(workplace.iterdir()) == []
    monkeypatch.setattr(training, "train", train)
    assert len(load_or_run([spec()])[0].curves["lr"]) == 3
