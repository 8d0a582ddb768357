"""``claims --mine``: what of a folder is judged, what is not used and why; nothing in it ends the command."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import socket

import numpy as np
import pytest

from dgl_core.paper.claims import mine, reading
from dgl_core.paper.claims.command import main as command
from dgl_core.paper.claims.ledger import claim_named
from dgl_core.training.records import RunRecord, RunSpec, pack_bits
from dgl_core.verdicts.families import BETTER
from dgl_core.verdicts.inference import Draws

SPEC = RunSpec("things", model="custom")


def record(seed: int, fused: float, spec: RunSpec = SPEC, **changes) -> RunRecord:
    """One epoch; ``changes``: entries of data, environment or revisions, told apart by their names."""
    data = {"fingerprint": "f", "modalities": ["audio", "visual"], "score": "accuracy", "counts": {"test": 100}}
    data |= {name: changes.pop(name) for name in list(changes) if name in data}
    environment = {name: changes.pop(name) for name in list(changes) if name == "processes"}
    curves = {"lr": [0.1]}
    for branch in ("fused", *data["modalities"]):
        curves[f"test/{branch}/{data['score']}"] = [fused]
    revisions = {"dataset": 1, "model": 1, "loop": 1, "method": 1} | changes
    right = {
        "last": {branch: pack_bits(np.arange(100) < round(100 * fused)) for branch in ("fused", *data["modalities"])}
    }
    return RunRecord(spec.but(seed=seed), "k", revisions, data, curves, {}, {}, environment, "now", right=right)


def row(fused: float, count: int = 5, spec: RunSpec = SPEC, **changes) -> list[RunRecord]:
    return [record(seed, fused + 0.01 * (seed % 3), spec, **changes) for seed in range(count)]


def dgl(alpha: float = 4.0, **changes) -> RunSpec:
    return SPEC.but(method="dgl", method_options={"alpha": alpha}, **changes)


def write(folder, records, prefix: str = "") -> None:
    folder.mkdir(exist_ok=True, parents=True)
    for number, one in enumerate(records):
        (folder / f"{prefix}{number:02d}.json").write_text(one.to_json())


def ask(capsys, *arguments) -> tuple[int, str, str]:
    status = command([*map(str, arguments)])
    return status, *capsys.readouterr()


def test_the_readers_own_records_are_judged(tmp_path, capsys):
    write(tmp_path, row(0.6, spec=dgl()), "dgl")
    write(tmp_path, [record(s, 0.5) for s in range(5)], "vanilla")
    status, out, err = ask(capsys, "--mine", tmp_path)
    assert status == 0 and not err
    assert "dgl-vanilla" in out and "things (custom): better: +10.8 [" in out and "other claims need rows" in out


def test_copies_do_not_count(tmp_path, capsys):
    for place in ("", "again", "again/and/again"):
        write(tmp_path / place, row(0.6, 3, dgl()), "dgl")
        write(tmp_path / place, [record(s, 0.5) for s in range(3)], "vanilla")
    status, out, err = ask(capsys, "dgl-vanilla", "--mine", tmp_path)
    assert status == 0 and "3 replicates; fewer than 5 decide nothing" in err
    assert err.count("it is the same run as") == 12 and "not used: again/dgl00.json: " in err


def test_the_same_run_made_again_is_no_further_seed(tmp_path):
    write(tmp_path, [record(0, 0.6), record(0, 0.7)])
    found = mine.records_in(tmp_path)
    assert found.unused == {"01.json": "it is the same run as 00.json"}
    assert [r.score() for r in found.groups["things (custom)"].rows["vanilla"]] == [0.6]


@pytest.mark.parametrize(
    ("difference", "title"),
    [
        ({"fingerprint": "other"}, "data other"),
        ({"dataset": 2}, "revisions (2, 1, 1)"),
        ({"loop": 2}, "revisions (1, 1, 2)"),
        ({"processes": 2}, "2 processes"),
        ({"modalities": ["audio", "visual", "text"]}, "audio + visual + text"),
        ({"score": "miou"}, "miou"),
        ({"spec": SPEC.but(dataset_options={"clips": 9})}, "clips 9"),
        ({"spec": SPEC.but(model="small")}, "small"),
    ],
    ids=str,
)
def test_what_differs_in_more_than_the_method_is_not_pooled(difference, title, tmp_path):
    write(tmp_path, row(0.5), "one")
    write(tmp_path, [record(s, 0.5, **difference) for s in range(5, 10)], "other")
    found = mine.records_in(tmp_path)
    assert not found.unused and len(found.groups) == 2
    assert [len(group.rows["vanilla"]) for group in found.groups.values()] == [5, 5]
    assert any(title in name for name in found.groups)


def test_folds_are_one_data_set_unless_one_of_them_has_two_contents(tmp_path):
    folds = [record(s, 0.5, SPEC.but(dataset_options={"fold": s}), fingerprint=f"fold {s}") for s in range(5)]
    write(tmp_path, folds)
    assert len(mine.records_in(tmp_path).groups) == 1
    write(tmp_path, [record(9, 0.5, SPEC.but(dataset_options={"fold": 3}), fingerprint="else")], "z")
    found = mine.records_in(tmp_path)
    assert (
        set(found.unused) == {"03.json", "z00.json"}
        and "fold 3 was recorded on different data" in found.unused["z00.json"]
    )


def test_one_seed_stands_for_one_fold(tmp_path):
    write(tmp_path, [record(7, 0.5, SPEC.but(dataset_options={"fold": f}), fingerprint=f"{f}") for f in (1, 2)])
    assert all("seed 7 was used on several folds" in reason for reason in mine.records_in(tmp_path).unused.values())


def test_one_modality_alone_goes_with_the_model_that_has_it(tmp_path):
    alone = SPEC.but(method="unimodal", method_options={"modality": "audio"})
    write(tmp_path, row(0.5), "joint")
    write(tmp_path, [record(s, 0.6, alone, modalities=["audio"]) for s in range(5)], "alone")
    (group,) = mine.records_in(tmp_path).groups.values()
    assert [len(group.rows[row]) for row in ("vanilla", "audio alone")] == [5, 5]


def test_questions_of_each_modality_take_the_readers_names(tmp_path, capsys):
    kind = {"modalities": ["front", "side", "top"]}
    write(tmp_path, row(0.6, spec=dgl(), **kind), "dgl")
    write(tmp_path, [record(s, 0.5, **kind) for s in range(5)], "vanilla")
    status, out, _ = ask(capsys, "--mine", tmp_path)
    assert status == 0 and all(f"dgl-joint-{m}  DGL's branch of {m} is better" in out for m in kind["modalities"])


def test_replicates_with_data_of_their_own_are_draws(tmp_path, capsys):
    for seed in range(12):
        drawn = SPEC.but(dataset_options={"seed": seed})
        gain = 0.05 + 0.01 * (seed % 3)
        write(tmp_path, [record(seed, 0.6, drawn, fingerprint=f"draw {seed}")], f"joint{seed}")
        better = dgl().but(dataset_options=drawn.dataset_options)
        write(tmp_path, [record(seed, 0.6 + gain, better, fingerprint=f"draw {seed}")], f"dgl{seed}")
    found, folder = mine.judged_in(tmp_path, [claim_named("dgl-vanilla")])
    assert list(folder.groups) == ["things (custom)"] and not folder.unused
    (((_, judged),),) = [found.values()]
    assert isinstance(judged.member.evidence, Draws) and judged.n == 12 and judged.word == BETTER


def test_records_that_do_not_say_which_items_were_right_are_named(tmp_path, capsys):
    for prefix, records in (("dgl", row(0.6, spec=dgl())), ("vanilla", row(0.5))):
        write(tmp_path, [dataclasses.replace(one, right={}) for one in records], prefix)
    status, out, err = ask(capsys, "dgl-vanilla", "--mine", tmp_path)
    assert status == 0 and "do not say which test items were right" in err


def test_two_settings_in_one_row_are_not_used_and_the_rest_is(tmp_path, capsys):
    write(tmp_path, row(0.6, spec=dgl()), "dgl")
    write(tmp_path, row(0.5, spec=SPEC.but(method="gblend")), "gblend")
    write(tmp_path, [*row(0.5), record(7, 0.5, SPEC.but(lr=0.5))], "vanilla")
    status, out, err = ask(capsys, "--mine", tmp_path)
    assert status == 0 and "dgl-gblend" in out and "dgl-vanilla" not in out
    assert err.count("row 'vanilla' has runs of different settings") == 6


def test_mixed_revisions_of_a_method_are_not_used(tmp_path):
    write(tmp_path, [record(0, 0.5), record(1, 0.5, method=2)])
    assert len(mine.records_in(tmp_path).unused) == 2


def test_of_two_alphas_the_papers_is_dgl(tmp_path):
    write(tmp_path, row(0.6, spec=dgl()) + row(0.6, spec=dgl(2.0)) + row(0.5))
    found = mine.records_in(tmp_path)
    rows = {row: found.groups["things (custom)"].rows[row] for row in ("DGL", "DGL, alpha 2", "DGL, alpha 4")}
    assert [len(of) for of in rows.values()] == [5, 5, 5] and not found.unused
    assert {r.spec.method_options["alpha"] for r in rows["DGL"]} == {4.0}


def forged(one: RunRecord, **changes) -> str:
    """A record with a right checksum whose values are whatever ``changes`` say."""
    body = json.loads(one.to_json())
    body.pop("checksum")
    body |= changes
    return json.dumps(body | {"checksum": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()})


GOOD = record(9, 0.5)
CURVES, DATA = dict(GOOD.curves), dict(GOOD.data)
CONTENTS = {
    "cut": (GOOD.to_json()[:200], "truncated"),
    "a list": ("[1, 2]", "not a run record"),
    "nothing": ("", "truncated"),
    "deep": ("[" * 100_000 + "]" * 100_000, "not a run record"),
    "a number of 5,000 digits": ('{"a": ' + "9" * 5000 + "}", ""),
    "text for a score": (forged(GOOD, curves=CURVES | {"test/fused/accuracy": ["0.9"]}), "no list of one number"),
    "a score beyond all bounds": (forged(GOOD, curves=CURVES | {"test/fused/accuracy": [10**400]}), "no list of one"),
    "a score in per cent": (forged(GOOD, curves=CURVES | {"test/fused/accuracy": [61.5]}), "is no fraction"),
    "a score that is no number": (forged(GOOD, curves=CURVES | {"test/fused/accuracy": [float("nan")]}), "no fraction"),
    "a curve too short": (forged(GOOD, curves=CURVES | {"lr": [0.1, 0.1]}), "one number an epoch"),
    "no curves": (forged(GOOD, curves="none"), "curves lack 'lr'"),
    "text for modalities": (forged(GOOD, data=DATA | {"modalities": "audio"}), "no list of names"),
    "no fingerprint": (forged(GOOD, data=DATA | {"fingerprint": None}), "no fingerprint"),
    "text for alpha": (forged(GOOD, spec={"dataset": "x", "method": "dgl", "method_options": {"alpha": "4"}}), "alpha"),
    "a list for a name": (forged(GOOD, spec={"dataset": ["x"]}), "dataset is ['x']; it must be one registered name"),
    "text for processes": (forged(GOOD, environment={"processes": "two"}), "number of processes"),
    "endless processes": (forged(GOOD, environment={"processes": float("inf")}), "number of processes"),
    "an escape": (forged(GOOD, spec={"dataset": "x", "\x1b[31mred": 1}), r"\x1b[31mred"),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_a_file_that_is_no_record_is_named_with_its_reason(content, tmp_path, capsys):
    text, reason = CONTENTS[content]
    write(tmp_path, row(0.6, spec=dgl()), "dgl")
    write(tmp_path, row(0.5), "vanilla")
    (tmp_path / "bad.json").write_text(text)
    status, out, err = ask(capsys, "dgl-vanilla", "--mine", tmp_path)
    assert status == 0 and "n = 5" in out
    assert err.count("\n") == 1 and err.startswith("not used: bad.json: ") and reason in err and "\x1b" not in err


def make_unreadable(path, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(str(path))
    elif kind == "huge":
        with open(path, "wb") as file:
            file.truncate(reading.LARGEST + 1)  # sparse: it takes no room
    elif kind == "no text":
        path.write_bytes(b"\xff\xfe\x00")
    else:
        path.symlink_to({"endless": "/dev/zero", "nowhere": path.parent / "none", "itself": path}[kind])


KINDS = {
    "pipe": "it is a pipe",
    "folder": "it is a folder",
    "socket": "it is a socket",
    "endless": "it is a device",
    "nowhere": "No such file",
    "itself": "symbolic links",
    "huge": "it has more than 64 MiB",
    "no text": "it is no text",
}


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices are no files of Windows")
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_of_moderate_size_is_never_read(kind, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    write(tmp_path, row(0.6, spec=dgl()), "dgl")
    write(tmp_path, row(0.5), "vanilla")
    make_unreadable(tmp_path / "x.json" if kind != "socket" else type(tmp_path)("x.json"), kind)
    status, out, err = ask(capsys, "dgl-vanilla", "--mine", tmp_path)
    assert status == 0 and "n = 5" in out
    assert err.count("\n") == 1 and err.startswith("not used: x.json: ") and KINDS[kind] in err


def test_names_cannot_write_to_the_terminal(tmp_path, capsys):
    odd = dgl(dataset="\x1b[2Jthings\r")
    write(tmp_path, [record(s, 0.6 + 0.01 * (s % 3), odd) for s in range(5)], "\x1b[31m\n")
    write(tmp_path, [record(s, 0.5, SPEC.but(dataset="\x1b[2Jthings\r")) for s in range(5)], "vanilla")
    (tmp_path / "\x1b]0;title\x07.json").write_text("{}")
    os.close(os.open(os.fsencode(tmp_path) + b"/no\xffutf8.json", os.O_CREAT | os.O_WRONLY))
    status, out, err = ask(capsys, "dgl-vanilla", "--mine", tmp_path)
    assert status == 0 and "n = 5" in out and r"\x1b[2Jthings\r" in out
    assert not set("\x1b\x07\r") & set(out + err) and err.count("\n") == 2 and r"no\udcffutf8.json" in err


def test_a_curve_that_decides_nothing_is_said_and_the_rest_is_judged(tmp_path, capsys):
    alone = SPEC.but(method="unimodal", method_options={"modality": "audio"})
    silent = [record(s, 0.6, alone, modalities=["audio"]) for s in range(5)]
    joint = row(0.5)
    for one in silent + joint:
        one.curves["gradient/audio"] = [0.0]  # the ratio of two of them is none
    write(tmp_path, silent, "alone")
    write(tmp_path, joint, "joint")
    status, out, err = ask(capsys, "--mine", tmp_path)
    assert status == 0 and "alone-joint-audio" in out and "gradient-audio" not in out
    assert "not judged: things (custom): rows 'audio alone', 'vanilla' cannot be compared" in err


def test_a_curve_that_was_scored_too_rarely_is_named_with_what_helps(tmp_path, capsys):
    joint = row(0.5)
    for one in joint:
        one.curves["suppression/audio/R_q50"] = [math.nan]
    write(tmp_path, joint, "joint")
    _, out, err = ask(capsys, "--mine", tmp_path)
    assert "suppression-grows" not in out
    assert "'suppression/audio/R_q50' was not scored between 0% and 20% of the epochs of vanilla on things" in err
    assert "train with a smaller evaluate_every" in err


@pytest.mark.parametrize("folder", ["nowhere", "file.json", "empty"])
def test_a_folder_without_records_is_an_error(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    status, _, err = ask(capsys, "--mine", folder)
    assert status == 2 and f"No run records in '{folder}'" in err


def test_a_claim_of_mathematics_needs_no_records(tmp_path, capsys):
    status, _, err = ask(capsys, "eq-4", "--mine", tmp_path)
    assert status == 2 and "needs no records" in err
