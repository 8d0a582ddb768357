"""What training at full size adds to the loop, proven small: streaming, precision, memory, no waiting."""

from __future__ import annotations

import contextlib
import copy
import re
import threading
from dataclasses import dataclass

import pytest
import tiny
import torch
import torch.nn.functional as F
from tiny import arrays, images, late, pictures
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dgl_core import methods, models
from dgl_core.data.dataset import Dataset
from dgl_core.data.transforms import RandomResizedCrop, Standardise
from dgl_core.methods import METHODS
from dgl_core.methods.base import Method
from dgl_core.training import machine, optimizer, train
from dgl_core.training.loop import Trainer
from dgl_core.training.machine import Machine, OutOfMemory
from dgl_core.training.memory import streaming
from dgl_core.training.memory.streaming import Streamed
from dgl_core.training.records import RunSpec

tiny.register()
CPU = torch.device("cpu")
GIB = 2**30


def trainer(model=None, method="vanilla", dataset=None, how=None, **fields) -> Trainer:
    spec = RunSpec("tiny", method, "custom", **{"epochs": 2, "batch_size": 4, "lr": 0.1, "milestones": ()} | fields)
    return Trainer(spec, methods.build(method), model or pictures(2), dataset or images(2), CPU, how or Machine())


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


# -- where the data are ------------------------------------------------------------------------------------------------


def clips(samples: int = 16) -> Dataset:
    """As CREMA-D is stored: half-precision spectrograms and byte pictures, with the official augmentation."""
    generator = torch.Generator().manual_seed(0)
    return Dataset(
        {
            "audio": torch.randn(samples, 20, 18, generator=generator).half(),
            "visual": torch.randint(256, (samples, 18, 18, 3), generator=generator, dtype=torch.uint8),
        },
        torch.arange(samples) % 3,
        (["train", "train", "val", "test"] * samples)[:samples],
        name="clips",
        transforms={"audio": Standardise(0.0, 1.0, shift=(0, 2)), "visual": RandomResizedCrop(16)},
    )


class Whole(Dataset):
    """Makes its batches in a way of its own, as sets of pictures with label maps do."""

    def batch(self, index, generator=None):
        inputs, target = super().batch(index, generator)
        return {
            m: x + torch.rand(len(x), generator=generator).view(-1, *[1] * (x.dim() - 1)) for m, x in inputs.items()
        }, target


@pytest.mark.parametrize("own_way", [False, True])
def test_streamed_batches_are_those_of_data_in_memory(own_way):
    data = clips()
    if own_way:
        data.__class__ = Whole
    rows = torch.randperm(16, generator=torch.Generator().manual_seed(1)).split(3)
    here, there = (torch.Generator().manual_seed(2) for _ in range(2))
    streamed = list(Streamed(data, "cpu").stream(rows, there))
    assert len(streamed) == len(rows)
    for index, (inputs, target) in zip(rows, streamed, strict=True):
        expected, labels = data.batch(index, here)
        assert list(inputs) == list(expected) and torch.equal(target, labels)
        assert all(torch.equal(inputs[m], expected[m]) for m in expected)
    assert torch.equal(here.get_state(), there.get_state())


@pytest.mark.parametrize("size", [3, 4])  # 3: the last batch is smaller, so each draws for itself
@pytest.mark.parametrize("kept", [["audio", "visual"], ["visual"]])
@pytest.mark.parametrize("placed", [lambda data: data, lambda data: Streamed(data, "cpu")], ids=["memory", "streamed"])
def test_numbers_drawn_for_an_epoch_are_those_that_each_batch_would_draw(placed, kept, size):
    """Bit for bit, and also where a modality is left out: records of before stay what they are."""
    data = clips().only(kept)
    rows = torch.randperm(16, generator=torch.Generator().manual_seed(1)).split(size)
    each, at_once = (torch.Generator().manual_seed(2) for _ in range(2))
    found = list(streaming.batches(placed(data), rows, at_once))
    assert len(found) == len(rows)
    for index, (inputs, target) in zip(rows, found, strict=True):
        expected, labels = data.batch(index, each)
        assert list(inputs) == list(expected) == kept and torch.equal(target, labels)
        assert all(torch.equal(inputs[m], expected[m]) for m in kept)
    assert torch.equal(each.get_state(), at_once.get_state())
    drawn = streaming.drawn_at_once(placed(data), [len(index) for index in rows], at_once)
    assert (drawn is None) == (size == 3)


@pytest.mark.parametrize("method", ["dgl", "pmr"])
def test_training_on_streamed_data_ends_with_the_same_weights(monkeypatch, method):
    resident = trainer(method=method)
    monkeypatch.setattr(streaming, "place", lambda data, device, how: (Streamed(data, device), "host"))
    streamed = trainer(method=method)
    assert isinstance(streamed.dataset, Streamed) and streamed.dataset.fingerprint == resident.dataset.fingerprint
    resident.fit()
    streamed.fit()
    assert equal(resident.model, streamed.model)
    drop = {"seconds/training"}
    assert {c: v for c, v in resident.curves.items() if c not in drop} == {
        c: v for c, v in streamed.curves.items() if c not in drop
    }


@pytest.mark.parametrize(("device", "sizes"), [("cuda", [512, 88]), ("cpu", [256, 256, 88])])
def test_a_gpu_scores_512_samples_at_once_from_where_the_data_are(device, sizes):
    run = trainer(late(2), dataset=arrays(2, samples=4 * 600))
    run.device = torch.device(device)
    assert [len(batch.target) for batch in run.batches("test")] == sizes


def test_the_next_batches_are_gathered_meanwhile_and_no_more_than_that():
    data, gathered = Streamed(images(2), "cpu"), []
    gather = data._gather
    data._gather = lambda index, generator: (gathered.append(threading.get_ident()), gather(index, generator))[1]
    stream = data.stream([torch.tensor([i]) for i in range(10)])
    next(stream)
    data_ahead = streaming.AHEAD
    for _ in range(200):
        if len(gathered) == 1 + data_ahead:
            break
        threading.Event().wait(0.01)
    assert len(gathered) == 1 + data_ahead and threading.get_ident() not in gathered
    assert sum(1 for _ in stream) == 9


@pytest.mark.parametrize(
    "needed, free, total, how, expected",
    [
        (2.2, 78, 79, Machine(), True),  # CREMA-D on an H100
        (2.2, 4, 8, Machine(), False),
        (115, 78, 79, Machine(), False),  # VGGSound
        (10, 78, 79, Machine(), True),
        (10, 78, 79, Machine(per_gpu=4), False),  # shared by four
        (115, 78, 79, Machine(data="device"), True),  # as asked
        (1, 78, 79, Machine(data="host"), False),
    ],
)
def test_data_stay_on_the_gpu_if_they_fit(needed, free, total, how, expected):
    assert streaming.resident(int(needed * GIB), int(free * GIB), int(total * GIB), how) is expected


@pytest.mark.parametrize(
    ("needed", "total", "per_gpu", "words"),
    [
        (
            17.16e9,
            85.5e9,
            2,
            "17.10 GB are for data, one copy for each of 2 trainings.*PER_GPU=1 would keep them",
        ),
        (17.16e9, 85.5e9, 4, "8.55 GB are for data, one copy for each of 4 trainings.*PER_GPU=1 would"),
        (10e9, 85.5e9, 4, "PER_GPU=3 would keep them there"),
        (115e9, 85.5e9, 1, r"34.20 GB are for data\): they are streamed .* read the same copy.$"),
        (115e9, 85.5e9, 2, "read the same copy.$"),  # not even one copy would fit
    ],
)
def test_data_that_do_not_fit_as_often_as_there_are_trainings_are_streamed_and_that_is_said(
    monkeypatch, capsys, needed, total, per_gpu, words
):
    """Kinetics-Sounds twice on a card of 80 GB, for example; said once a process, however many runs."""
    how = Machine(per_gpu=per_gpu)
    assert not streaming.resident(needed, total, total, how)
    monkeypatch.setattr(streaming, "_said", set())
    monkeypatch.setattr(streaming, "stored_bytes", lambda data: needed)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (total, total))
    monkeypatch.setattr(streaming, "Streamed", lambda data, device: data)
    for _ in range(2):
        assert streaming.place(clips(), torch.device("cuda"), how)[1] == "host"
    said = capsys.readouterr().err
    assert re.search(words, said.strip()) and said.count("\n") == 1 and said.startswith("clips: ")
    streaming.place(clips(), torch.device("cuda"), Machine(data="host"))
    assert not capsys.readouterr().err, "as the reader asked"


def test_the_size_of_stored_data():
    assert streaming.stored_bytes(clips(16)) == 16 * (20 * 18 * 2 + 18 * 18 * 3 + 8)


# -- nothing in an epoch waits for the device --------------------------------------------------------------------------

WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "is_nonzero", "bincount"}


class Watch(TorchDispatchMode):
    """Lists operations whose result the host must wait for: ``item``, ``float``, ``if tensor``, boolean indexing."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        if name in WAITING:
            self.seen.append(name)
        return function(*arguments, **options or {})


def watch(run: Trainer, monkeypatch, first: int = 1) -> list[str]:
    """Train an epoch; what made the host wait from step ``first`` on."""
    mode, plain = Watch(), streaming.batches

    def watched(*arguments):
        batches = plain(*arguments)
        for _ in range(first):
            yield next(batches)
        with mode:
            yield from batches

    for name in ("cpu", "numpy", "tolist"):
        monkeypatch.setattr(torch.Tensor, name, spy(name, mode))
    monkeypatch.setattr(streaming, "batches", watched)
    run.epochs = 1
    run.method.on_start(run)
    run._train_epoch()
    return mode.seen


def spy(name: str, mode: Watch):
    plain = getattr(torch.Tensor, name)

    def called(self, *arguments, **options):
        if torch.utils._python_dispatch._get_current_dispatch_mode() is mode:
            mode.seen.append(name)
        return plain(self, *arguments, **options)

    return called


@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("unimodal", "dgl_dense")])
def test_no_step_waits_for_the_device(monkeypatch, method):
    """From the second step on; what a method measures before an epoch (clusters, trial trainings) may wait."""
    data = images(2, samples=48)
    assert watch(trainer(method=method, dataset=data, momentum=0.9, clip=1.0), monkeypatch) == []


@pytest.mark.parametrize("act", [lambda x: x.item(), lambda x: x.cpu(), float, bool, lambda x: x[x > 0]])
def test_a_step_that_waits_is_seen(monkeypatch, act):
    @dataclass
    class Waiting(Method):
        def step(self, state, batch):
            losses = super().step(state, batch)
            act(losses["multimodal"].detach())
            return losses

    monkeypatch.setitem(METHODS, "waiting", Waiting)
    assert watch(trainer(method="waiting"), monkeypatch)


# -- no step copies anything to the device -----------------------------------------------------------------------------

META = torch.device("meta")  # holds no values: whatever needs one on the host is an error, as on no other device


class Copies(TorchDispatchMode):
    """Lists operations that take a tensor of the host to the device, or back."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **options or {})
        given = [x for x in tree_leaves((arguments, options)) if isinstance(x, torch.Tensor) and x.dim()]
        places = {x.device for x in (*given, *(x for x in tree_leaves(found) if isinstance(x, torch.Tensor)))}
        if len(places) > 1:
            self.seen.append(function.overloadpacket.__name__)
        return found


def copies(method: str, dataset: Dataset, model, monkeypatch) -> tuple[list[str], list[str]]:
    """Train an epoch on a device that is not the host; what was copied before the first step, and in the steps."""
    spec = RunSpec("tiny", method, "custom", epochs=2, batch_size=4, milestones=(), clip=1.0)
    plain_sgd = lambda spec, groups: torch.optim.SGD(  # noqa: E731 (there is no fused one for this device)
        [{"params": list(each), "name": name, "scale": 1.0} for name, each in groups.items() if each], momentum=0.9
    )
    monkeypatch.setattr(optimizer, "optimizer_of", plain_sgd)
    monkeypatch.setattr(torch, "autocast", lambda *arguments, **options: contextlib.nullcontext())
    monkeypatch.setattr(streaming, "place", lambda data, device, how: (data.to(device), "device"))
    run = Trainer(spec, methods.build(method), model, dataset, META, Machine())
    run.method.on_start(run)
    monkeypatch.setattr(run, "_log_epoch", lambda logs: None)  # the one place where an epoch may wait
    monkeypatch.setattr(run.method, "on_epoch_end", lambda state: None)
    before, during, batches = Copies(), Copies(), streaming.batches

    def watched(*arguments):
        with before:
            found = batches(*arguments)
            first = next(found)
        yield first  # a method may move what it remembers, once a run
        with during:
            yield from found

    monkeypatch.setattr(streaming, "batches", watched)
    run._train_epoch()
    assert run.step >= 3
    return before.seen, during.seen


@pytest.mark.parametrize("method", ["vanilla", "dgl", "gblend", "ogm", "agm", "mla", "mmcosine", "mmpareto"])
def test_no_step_copies_anything_to_the_device(monkeypatch, method):
    """Of the official augmentation: moves in time; boxes and mirrors. Each kind of number is moved once an epoch."""
    model = models.build("small", {"audio": (1, 20, 18), "visual": (3, 16, 16)}, 3, 0, width=2)
    before, during = copies(method, clips(32), model, monkeypatch)
    assert during == [] and before == ["_to_copy"] * 4


# -- precision, compilation, determinism -------------------------------------------------------------------------------


def test_every_update_in_an_autocast_region_uses_the_weights_of_the_one_before(monkeypatch):
    """Autocast keeps low-precision copies of weights until its region ends, which is after the second update."""

    @dataclass
    class Twice(Method):
        UPDATES = 2

        def step(self, state, batch):
            self.losses = []
            for _ in range(2):
                loss = F.cross_entropy(state.model(batch.inputs), batch.target)
                self.losses.append(loss.detach())
                state.backward(loss)
                state.update()
            return {"multimodal": loss}

    monkeypatch.setitem(METHODS, "twice", Twice)
    run = trainer(
        late(2), "twice", arrays(2), precision="bf16", lr=1.0, momentum=0.0, clip=0.0, batch_size=30, epochs=1
    )
    fresh = copy.deepcopy(run.model)
    seen = []
    step = run.method.step
    run.method.step = lambda state, batch: (seen.append(batch), step(state, batch))[1]
    run.fit()
    (batch,) = seen
    with torch.autocast("cpu", torch.bfloat16):
        loss = F.cross_entropy(fresh(batch.inputs), batch.target)
    loss.backward()
    with torch.no_grad():
        for parameter in fresh.parameters():
            parameter -= parameter.grad + 1e-4 * parameter
    with torch.autocast("cpu", torch.bfloat16):
        second = F.cross_entropy(fresh(batch.inputs), batch.target)
    assert abs(run.method.losses[1] - second) < 0.02 < abs(run.method.losses[0] - second)


def test_tf32_is_not_what_a_cpu_does():
    spec = RunSpec("tiny", model="small", model_options={"width": 2}, epochs=1, batch_size=4, precision="tf32")
    with pytest.raises(ValueError, match="'tf32' exists on NVIDIA GPUs only; on cpu use 'fp32'"):
        train.train(spec)


@pytest.mark.parametrize("precision, tf32", [("fp32", False), ("tf32", True), ("bf16", True), ("fp64", False)])
def test_switches_of_a_gpu_are_those_of_the_run_and_are_put_back(monkeypatch, precision, tf32):
    """ "fp32" is fp32 in convolutions too, where torch alone takes TF32."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    cudnn, before = torch.backends.cudnn, (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    with Machine(deterministic=True).numerics(RunSpec("tiny", precision=precision), torch.device("cuda")):
        assert (torch.get_float32_matmul_precision() == "high") is tf32 and cudnn.allow_tf32 is tf32
        assert torch.are_deterministic_algorithms_enabled() and cudnn.deterministic and not cudnn.benchmark
    assert (torch.get_float32_matmul_precision(), cudnn.allow_tf32) == before
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_a_precision_that_an_old_gpu_lacks_is_refused_and_the_slower_one_named(monkeypatch, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla V100")
    with pytest.raises(ValueError, match=f"'{precision}' needs an Ampere GPU or newer, not Tesla V100: use 'fp32'"):
        machine.check_precision(RunSpec("tiny", precision=precision), torch.device("cuda"))
    machine.check_precision(RunSpec("tiny", precision="fp32"), torch.device("cuda"))


def test_a_compiled_run_is_the_same_run():
    """Only digits beyond the precision move, so the choice is not in the key; the record states it."""
    compiled, eager = (trainer(method="dgl", how=how, precision="fp64", epochs=1)
                       for how in (Machine(compile="aot_eager"), Machine()))  # fmt: skip
    compiled.fit()
    eager.fit()
    for name, x in eager.model.state_dict().items():
        assert torch.allclose(compiled.model.state_dict()[name], x, rtol=0, atol=1e-10), name
    assert compiled.record("", {}).environment["compile"] == "aot_eager"
    assert "compile" not in eager.record("", {}).environment


def test_choices_come_from_the_environment():
    assert Machine.from_environment({}) == Machine()
    chosen = Machine("inductor", True, "host", 3)
    assert Machine.from_environment(chosen.variables()) == chosen
    assert Machine.from_environment({"DGL_COMPILE": "1"}).compile == "inductor"
    for variables, words in (
        ({"DGL_DETERMINISTIC": "yes"}, "DGL_DETERMINISTIC is 'yes'; it must be 0 or 1"),
        ({"DGL_DATA_ON": "hosts"}, "place for the data .*'hosts': did you mean 'host'"),
        ({"DGL_PER_GPU": "0"}, "DGL_PER_GPU is 0; it must be at least 1"),
        ({"DGL_PER_GPU": "two"}, "DGL_PER_GPU is 'two'"),
        ({"DGL_COMPILE": "inducter"}, "compiler .*'inducter': did you mean 'inductor'"),
    ):
        with pytest.raises(ValueError, match=words):
            Machine.from_environment(variables)


# -- out of memory -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["step", "start"])
def test_out_of_memory_says_what_to_lower(monkeypatch, place):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(
        METHODS["dgl"] if place == "step" else streaming, {"step": "step", "start": "place"}[place], full
    )
    spec = RunSpec("tiny", "dgl", "small", model_options={"width": 2}, epochs=1, batch_size=8, seed=3)
    with pytest.raises(OutOfMemory) as caught:
        train.train(spec, machine=Machine(per_gpu=2))
    text = str(caught.value)
    assert text.startswith("dgl on tiny, seed 3: out of memory on cpu with batch_size 8 in fp32. ")
    for advice in (
        "batch_size=4 and accumulate=2",
        "precision='bf16'",
        "DGL_DATA_ON=host",
        "fewer trainings per GPU (now 2)",
    ):
        assert advice in text
    assert "Tried to allocate" in str(caught.value.__cause__)


@pytest.mark.parametrize("first", ["auto", "device"])
def test_a_run_that_finds_the_gpu_too_small_goes_on_with_its_data_on_the_host(monkeypatch, capsys, first):
    """Unless the reader has said where the data are to be, or the host is too small as well."""
    asked = []

    def small(spec, machine, *rest):
        asked.append(machine.data)
        if len(asked) == 1:
            raise OutOfMemory(f"{spec}: out of memory on cuda, 8 GiB with batch_size 64 in fp32. Set batch_size=32.")
        return "record"

    monkeypatch.setattr(train, "_train", small)
    made = lambda: train.train(RunSpec("tiny"), device=torch.device("cuda"), machine=Machine(data=first))  # noqa: E731
    if first == "device":
        with pytest.raises(OutOfMemory):
            made()
        return
    assert made() == "record" and asked == ["auto", "host"]
    said = capsys.readouterr().err
    assert said.endswith("in fp32; it goes on with its data in host memory, which is slower.\n")
    assert said.count("\n") == 1
