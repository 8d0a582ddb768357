"""One copy of the data for several trainings: filled once, read by all, given back; on a CPU in shared memory."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from multiprocessing.connection import Client
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dgl_core.data import ArrayDataset, random_split
from dgl_core.runs import workers
from dgl_core.training.machine import Machine
from dgl_core.training.memory import shared, streaming

CPU = torch.device("cpu")
SECONDS = 60.0


def clips(seed: int = 0, count: int = 24) -> ArrayDataset:
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(count) % 3
    inputs = {
        "audio": torch.randn(count, 5, generator=generator),
        "face": torch.randn(count, 2, 3, generator=generator),
    }
    return ArrayDataset(inputs, target, split=random_split(target, seed=0))


def size(dataset) -> int:
    return streaming.stored_bytes(dataset)


@pytest.fixture(scope="module")
def address():
    with shared.holder("cpu") as found:
        assert found
        yield found


@pytest.fixture
def own():
    """A function that starts a holder with room for so many bytes in this process; it returns it and its address."""

    def start(room: float) -> tuple[shared.Holder, str]:
        listener = shared.Listener(authkey=multiprocessing.current_process().authkey)
        of = shared.Holder("cpu", room)
        threading.Thread(target=of.serve, args=(listener,), daemon=True).start()
        return of, listener.address

    return start


def until(condition) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def place_of(tensor: torch.Tensor) -> int:
    """The inode of a tensor's shared memory: the same for all processes that map it."""
    start = tensor.untyped_storage().data_ptr()
    with open("/proc/self/maps") as maps:
        for line in maps:
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            if low <= start < high:
                return int(line.split()[4])
    raise AssertionError("not mapped")


def told(address: str, seed: int, key: bytes) -> tuple[int, float]:
    """What another process gets: which memory, and the sum of a modality."""
    multiprocessing.current_process().authkey = key
    found = shared.lent(clips(seed), CPU, address)
    assert not isinstance(found, str), found
    return place_of(found.inputs["audio"]), float(found.inputs["audio"].sum())


def test_batches_are_those_of_a_copy_of_ones_own(address):
    data = clips()
    found, rows = shared.lent(data, CPU, address), torch.tensor([3, 0, 7])
    (inputs, target), (plain, labels) = found.batch(rows), data.to(CPU).batch(rows)
    assert torch.equal(target, labels) and all(torch.equal(inputs[m], plain[m]) for m in plain)
    assert found.fingerprint == data.fingerprint and found.counts == data.counts


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="which memory it is, Linux alone tells")
def test_processes_read_the_same_memory(address):
    mine = shared.lent(clips(5), CPU, address)
    with workers.local_workers(2) as pool:
        key = bytes(multiprocessing.current_process().authkey)
        theirs = [pool.submit(told, address, 5, key).result(SECONDS) for _ in range(2)]
        other = pool.submit(told, address, 6, key).result(SECONDS)
    assert {total for _, total in theirs} == {float(mine.inputs["audio"].sum())} != {other[1]}
    inode = place_of(mine.inputs["audio"])
    assert inode and {found for found, _ in theirs} == {inode} != {other[0]}


def test_a_training_that_dies_while_it_fills_leaves_no_half_full_memory(own):
    of, address = own(1e9)
    data = clips()
    asks = Client(address, authkey=multiprocessing.current_process().authkey)
    wanted = {m: (tuple(x.shape), x.dtype) for m, x in (data.inputs | {shared.TARGET: data.target}).items()}
    asks.send((data.fingerprint, wanted))
    assert asks.recv()[0], "the first one gets it empty"
    found = []
    waiting = threading.Thread(target=lambda: found.append(shared.lent(data, CPU, address)))
    waiting.start()
    time.sleep(0.2)
    assert not found, "the second one waits"
    asks.close()
    waiting.join(SECONDS)
    assert torch.equal(found[0].inputs["audio"], data.inputs["audio"]), "it fills the memory itself"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="the call that hangs up is made to a Unix socket")
def test_a_caller_who_may_not_ask_or_hangs_up_at_once_ends_nothing(own):
    _, address = own(1e9)
    with pytest.raises(multiprocessing.AuthenticationError):
        Client(address, authkey=b"another")
    with socket.socket(socket.AF_UNIX) as call:
        call.connect(address)
    assert shared.lent(clips(), CPU, address).counts == clips().counts


def test_what_nobody_uses_makes_room(own):
    one, two = clips(1), clips(2)
    of, address = own(1.5 * size(one))
    first = shared.lent(one, CPU, address)
    assert isinstance(shared.lent(two, CPU, address), str), "the first one is in use"
    del first
    until(lambda: not any(held.users for held in of.held.values()))
    assert one.fingerprint in of.held, "kept as long as there is room"
    second = shared.lent(two, CPU, address)
    assert torch.equal(second.inputs["face"], two.inputs["face"]) and list(of.held) == [two.fingerprint]


@pytest.fixture
def card(monkeypatch):
    """A card on which one copy of ``clips()`` fits and two do not; 'cuda' is the CPU."""
    total = 1.5 * size(clips()) / streaming.DATA_SHARE
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (total, total))
    monkeypatch.setattr(streaming, "_said", set())
    monkeypatch.setattr(streaming, "Streamed", lambda data, device: SimpleNamespace(streamed=True))
    plain = shared.lent
    monkeypatch.setattr(shared, "lent", lambda data, device, address: plain(data, CPU, address))


def test_trainings_share_a_copy_where_two_do_not_fit(card, address, monkeypatch, capsys):
    monkeypatch.setenv(shared.PLACE, address)
    found, where = streaming.place(clips(), torch.device("cuda"), Machine(per_gpu=2))
    assert where == "device" and found.lease and not capsys.readouterr().err


@pytest.mark.parametrize("gone", ["/nowhere/at/all", ""])
def test_without_a_holder_they_are_streamed_with_a_sentence(card, gone, monkeypatch, capsys):
    monkeypatch.setenv(shared.PLACE, gone)
    found, where = streaming.place(clips(), torch.device("cuda"), Machine(per_gpu=2))
    said = capsys.readouterr().err
    assert where == "host" and found.streamed
    assert said.count("\n") == 1 and "do not fit" in said and ("share one copy" in said) == bool(gone)


def test_what_the_reader_has_asked_for_is_not_shared(card, address, monkeypatch):
    monkeypatch.setenv(shared.PLACE, address)
    assert streaming.place(clips(), torch.device("cuda"), Machine(data="host", per_gpu=2))[1] == "host"


def test_each_card_that_is_shared_has_a_holder_of_its_own(monkeypatch):
    monkeypatch.setattr(shared, "hold", only_told)
    assert not_started(["0", "1"], 1) == {}
    with workers.holders(["0", "1", "0"], 2) as each:
        assert list(each) == ["0", "1"] and len({found[shared.PLACE] for found in each.values()}) == 2
        with workers.local_workers(2, ["0", "1"], each) as pool:
            seen = {pool.submit(of_worker).result(SECONDS) for _ in range(20)}
    assert seen <= {(gpu, found[shared.PLACE]) for gpu, found in each.items()}


def not_started(gpus, per_gpu) -> dict:
    with workers.holders(gpus, per_gpu) as each:
        return each


def of_worker() -> tuple[str, str]:
    return os.environ["CUDA_VISIBLE_DEVICES"], os.environ[shared.PLACE]


def only_told(answer, device, share) -> None:
    """A holder that says which card it sees."""
    answer.send(f"holder of {os.environ['CUDA_VISIBLE_DEVICES']}")
    time.sleep(SECONDS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_card_holds_one_copy():
    data, device = clips(), torch.device("cuda")
    with shared.holder("cuda", 0.4) as address:
        found = shared.lent(data, device, address)
        assert found.inputs["audio"].is_cuda and torch.equal(found.inputs["audio"].cpu(), data.inputs["audio"])
