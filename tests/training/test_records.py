"""Specifications and records: one spelling, one key, nothing lost on the way to JSON and back."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

import numpy as np
import pytest
import tiny

from dgl_core.runs import keys
from dgl_core.training.records import CorruptRecord, RunRecord, RunSpec, pack, unpack
from dgl_core.utils import coerce, resolve_options, unknown_name

tiny.register()


def record(**changes) -> RunRecord:
    """A small record; validation is best at epoch 1, test at epoch 0."""
    spec = RunSpec("tiny", method="dgl", method_options={"alpha": 2.0}, milestones=(3, 5), epochs=3, seed=4)
    values = {
        "spec": spec,
        "key": keys.key(spec),
        "revisions": {"dataset": 1},
        "data": {"fingerprint": "f", "counts": {"train": 4}, "classes": ["a", "b"]},
        "curves": {
            "lr": [0.1, 0.1, 0.1],
            "val/fused/accuracy": [0.25, 0.5, 0.5],
            "test/fused/accuracy": [0.75, 0.25, 0.5],
            "test/sound/accuracy": [0.1, 0.2, 0.3],
            "val/fused/loss": [3.0, 2.0, 1.0],
        },
        "predictions": {"last": {"fused": pack(np.array([0, 1]))}},
        "cost": {"seconds": 1.5},
        "environment": {"threads": 1},
        "created": "2025-01-01T00:00:00+00:00",
    }
    return RunRecord(**values | changes)


# -- the specification -------------------------------------------------------------------------------------------------


def test_numbers_have_one_spelling():
    """4 and 4.0, [70] and (70.0,), numpy scalars: one run, one key, one hash."""
    one = RunSpec("tiny", method="dgl", method_options={"alpha": 2.5}, lr=1, seed=3, milestones=(2, 4))
    for other in (
        one.but(lr=1.0),
        one.but(seed=3.0),
        one.but(milestones=[2, 4]),
        one.but(milestones=(2.0, 4.0)),
        one.but(lr=np.float64(1.0), seed=np.int64(3)),
        one.but(method_options={"alpha": np.float64(2.5)}),
    ):
        assert other == one and hash(other) == hash(one) and keys.key(other) == keys.key(one)
    whole = one.but(method_options={"alpha": 2})
    assert keys.key(whole) == keys.key(one.but(method_options={"alpha": 2.0}))


def test_equal_specifications_hash_alike():
    """Options in another numeric type are equal in Python, so the hash must not tell them apart."""
    a, b = (RunSpec("tiny", method="dgl", method_options={"alpha": alpha}) for alpha in (2, 2.0))
    assert a == b and len({a, b}) == 1


def test_defaults_do_not_change_the_key():
    plain = RunSpec("tiny", method="dgl")
    spelled = RunSpec(
        "tiny",
        method="dgl",
        model="resnet18",
        method_options={"alpha": 4},
        model_options={"fusion": "concat"},
        dataset_options={"modalities": 2},
        lr=2e-3,
        milestones=(70,),
    )
    assert keys.key(spelled) == keys.key(plain)
    assert keys.canonical(spelled) == plain
    assert plain.plain() == {"dataset": "tiny", "method": "dgl"}


@pytest.mark.parametrize("change", [
    {"method": "gblend"}, {"model": "small"}, {"seed": 1}, {"lr": 2.1e-3}, {"epochs": 99}, {"milestones": (70, 80)},
    {"method_options": {"alpha": 4.5}}, {"dataset_options": {"samples": 25}}, {"precision": "fp64"}, {"accumulate": 2},
    {"encoder_lr_scale": 4}, {"clip": 0}, {"optimizer": "adam"}, {"model_options": {"fusion": "sum"}},
    {"half_resolution": 0.5},
])  # fmt: skip
def test_every_choice_changes_the_key(change):
    plain = RunSpec("tiny", method="dgl")
    assert keys.key(plain.but(**change)) != keys.key(plain)


@pytest.mark.parametrize("kind", ["dataset", "model", "method", "loop"])
def test_every_revision_changes_the_key(kind, monkeypatch):
    spec = RunSpec("tiny", method="dgl")
    before, revisions = keys.key(spec), keys.revisions(spec)
    assert set(revisions) == {"dataset", "model", "method", "loop"}
    monkeypatch.setattr(keys, "revisions", lambda s: revisions | {kind: revisions[kind] + 1})
    assert keys.key(spec) != before


def test_a_new_field_orphans_nothing():
    """What a later version adds with a default leaves the identity of every older run as it was."""

    @dataclass(frozen=True)
    class Later(RunSpec):
        warmup: int = 0
        curriculum: dict = dataclasses.field(default_factory=dict)

        __hash__ = RunSpec.__hash__

    old = RunSpec("tiny", method="dgl", lr=0.1)
    assert Later("tiny", method="dgl", lr=0.1).identity() == old.identity()
    assert Later("tiny", method="dgl", lr=0.1, warmup=1).identity() != old.identity()
    assert Later.from_plain(old.plain()).plain() == old.plain()


def test_key_is_the_same_in_every_process():
    """A fixed point: this literal changes only if every record ever made is to be orphaned."""
    spec = RunSpec("tiny", method="dgl", method_options={"alpha": 2}, lr=0.1)
    assert spec.identity() == '{"dataset":"tiny","lr":0.1,"method":"dgl","method_options":{"alpha":2}}'
    assert (
        keys.canonical(spec).identity() == '{"dataset":"tiny","lr":0.1,"method":"dgl","method_options":{"alpha":2.0}}'
    )


def test_plain_values_go_to_json_and_back():
    spec = RunSpec("tiny", milestones=(3, 5), dataset_options={"samples": 5, "parts": [1, 2]}, seed=2)
    assert RunSpec.from_plain(json.loads(json.dumps(spec.plain()))) == spec


@pytest.mark.parametrize("fields, message", [
    ({"lr": "fast"}, "lr is 'fast'; it must be of type float"),
    ({"lr": float("nan")}, "lr is nan; it must be at least 0"),
    ({"lr": -1}, "lr is -1.0; it must be at least 0"),
    ({"epochs": 0}, "epochs is 0; it must be at least 1"),
    ({"epochs": 2.5}, "epochs is 2.5; it must be of type int"),
    ({"epochs": float("inf")}, "epochs is inf; it must be of type int"),
    ({"seed": True}, "seed is True; it must be of type int"),
    ({"batch_size": 0}, "batch_size is 0"),
    ({"accumulate": 0}, "accumulate is 0"),
    ({"clip": -1}, "clip is -1"),
    ({"encoder_lr_scale": -1}, "encoder_lr_scale is -1"),
    ({"momentum": -0.1}, "momentum is -0.1"),
    ({"weight_decay": -0.1}, "weight_decay is -0.1"),
    ({"decay": -1}, "decay is -1"),
    ({"milestones": 70}, "milestones is 70; it must be of type tuple"),
    ({"milestones": "70"}, "milestones is '70'; it must be of type tuple"),
    ({"milestones": ("a",)}, "milestones is .*'a'.*; it must be of type tuple .default .70"),
    ({"method_options": 3}, "method_options is 3; it must be a dictionary"),
    ({"optimizer": "sdg"}, "Unknown optimizer 'sdg': did you mean 'sgd'"),
    ({"precision": "fp16"}, "Unknown precision 'fp16': did you mean"),
])  # fmt: skip
def test_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        RunSpec("tiny", **fields)


@pytest.mark.parametrize("spec, message", [
    (RunSpec("tinny"), "Unknown data set 'tinny': did you mean 'tiny'"),
    (RunSpec("tiny", method="vanila"), "Unknown method 'vanila': did you mean 'vanilla'"),
    (RunSpec("tiny", model="resnet"), "Unknown model 'resnet': did you mean 'resnet18'"),
    (RunSpec("tiny", method_options={"alpha": 1.0}), "Unknown option of method 'vanilla' 'alpha'"),
    (RunSpec("tiny", method="dgl", method_options={"alhpa": 1.0}), "'alhpa': did you mean 'alpha'"),
    (RunSpec("tiny", method="dgl", method_options={"alpha": "4"}), "option 'alpha' of method 'dgl' is '4'"),
    (RunSpec("tiny", dataset_options={"sample": 4}), "'sample': did you mean 'samples'"),
    (RunSpec("tiny", model_options={"fusoin": "sum"}), "model 'resnet18' 'fusoin': did you mean 'fusion'"),
])  # fmt: skip
def test_unknown_names_get_the_nearest_right_one(spec, message):
    with pytest.raises(ValueError, match=message):
        keys.key(spec)


def test_unknown_field():
    with pytest.raises(ValueError, match="Unknown field of a run specification 'epoch': did you mean 'epochs'"):
        RunSpec.from_plain({"dataset": "tiny", "epoch": 3})


def test_nothing_near():
    assert "choose one of 'a', 'b'." in str(unknown_name("letter", "zzzzzz", "ba"))


def test_options_in_their_declared_type():
    declared = {"rate": 1.0, "count": 3, "flag": False, "name": "x", "levels": (1, 2)}
    given = {"rate": 2, "count": 4.0, "flag": True, "name": "y", "levels": [1, 3]}
    expected = {"count": 4, "flag": True, "levels": (1, 3), "name": "y", "rate": 2.0}
    found = resolve_options("it", given, declared)
    assert found == expected and list(found) == list(expected)
    assert [type(v) for v in found.values()] == [int, bool, tuple, str, float]
    assert resolve_options("it", declared, declared) == {}
    for bad in ({"flag": 1}, {"count": 1.5}, {"count": True}, {"rate": True}, {"name": 3}, {"levels": 3}):
        with pytest.raises(ValueError, match="must be of type"):
            resolve_options("it", bad, declared)


def test_coerce_names_what_is_wrong():
    with pytest.raises(ValueError, match=r"width is 'wide'; it must be of type int \(default 8\)"):
        coerce("width", "wide", 8)


def test_but_changes_only_what_it_says():
    spec = RunSpec("tiny", seed=3)
    assert spec.but(lr=0.5) == RunSpec("tiny", seed=3, lr=0.5) and spec.lr == 2e-3


# -- the record --------------------------------------------------------------------------------------------------------


def test_record_comes_back_from_json():
    assert RunRecord.from_json(record().to_json()) == record()


def test_protocols():
    """Last epoch; best on validation, ties to the earliest; best on test (the paper's)."""
    made = record()
    assert [made.epoch(p) for p in ("last", "best_val", "best_test")] == [2, 1, 0]
    assert [made.score("fused", p) for p in ("last", "best_val", "best_test")] == [0.5, 0.25, 0.75]
    assert [made.score("sound", p) for p in ("last", "best_val", "best_test")] == [0.3, 0.2, 0.1]
    assert made.score("fused", "best_val", part="val", metric="loss") == 2.0
    assert made.score() == 0.5
    assert made.branches() == ["fused", "sound"]


def test_refused_scores():
    for call, message in [
        (lambda: record().score(protocol="best"), "Unknown protocol 'best': did you mean 'best_"),
        (
            lambda: record().score("sond"),
            "Unknown column of this record 'test/sond/accuracy': did you mean 'test/sound",
        ),
        (lambda: record(curves={"lr": [1.0]}).epoch("best_val"), "has no 'val' part"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_damaged_records():
    text = record().to_json()
    body = json.loads(text)
    for damaged, message in [
        ("", "truncated"),
        (text[: len(text) // 2], "truncated"),
        ("[]", "truncated or not a run record"),
        ("3", "truncated or not a run record"),
        ("{}", "truncated or not a run record"),
        (text.replace("0.75", "0.95"), "checksum does not match"),
        (json.dumps(body | {"extra": 1}), "checksum does not match"),
        (json.dumps(body | {"schema": 99}), "its schema is 99"),
    ]:
        with pytest.raises(CorruptRecord, match=message):
            RunRecord.from_json(damaged)


def signed(**changes) -> str:
    """A record that another version of the code wrote: other fields, a right checksum."""
    import hashlib

    body = json.loads(record().to_json()) | changes
    body = {name: value for name, value in body.items() if name != "checksum" and value is not None}
    return json.dumps(body | {"checksum": hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()})


def test_records_of_another_version():
    """A right checksum but other fields: damaged for this version, not a crash."""
    assert RunRecord.from_json(signed()) == record()
    spec = json.loads(record().to_json())["spec"]
    for text in (signed(spec=spec | {"warmup": 3}), signed(extra=1), signed(cost=None), signed(spec=[1])):
        with pytest.raises(CorruptRecord, match="another version"):
            RunRecord.from_json(text)


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 65535, 308]])
def test_pack(labels):
    assert unpack(pack(np.array(labels))).tolist() == labels
    assert unpack(pack(np.array(labels))).dtype == np.int64
