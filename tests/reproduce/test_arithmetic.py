"""The arithmetic in the open: counts that a hand finds too, a roofline, and times of runs that nobody measured."""

from __future__ import annotations

import json

import pytest
import torch

from dgl_core.paper.experiments import late_fusion
from dgl_core.reproduce import arithmetic, plan
from dgl_core.runs import estimates, run
from dgl_core.runs.estimates import operations, signed
from dgl_core.training.records import RunSpec

WIDTH, CLASSES, SHAPES = 16, 4, {"a": (10,), "b": (6,)}
NETWORK = {"fusion": "concat", "width": WIDTH, "layers": 1, "dropout": 0.0}
HEAD = 2 * 2 * WIDTH * CLASSES  # operations of the linear head on one sample, forward


def spec(method, **options):
    return RunSpec("arrays", method, "mlp", model_options=NETWORK, method_options=options)


@pytest.mark.parametrize(
    ("method", "options", "encoders", "head"),
    [
        ("vanilla", {}, 2, 3),  # an encoder: forward and weights (no gradient at the input); head: features too
        ("unimodal", {"modality": "a"}, 2, 1.5),
        ("dgl", {"alpha": 4.0}, 2, 2 + 2 * 2),  # fused: forward, weights; each modality, zero-masked: forward, features
    ],
)
def test_operations_are_those_that_a_hand_counts(method, options, encoders, head):
    step, scored = arithmetic.work_of(spec(method, **options), SHAPES, CLASSES)
    sizes = [10] if method == "unimodal" else [10, 6]
    assert step.operations == sum(encoders * 2 * size * WIDTH for size in sizes) + head * HEAD
    assert step.bytes > 0 and step.fixed_bytes > 4 * sum(size * WIDTH for size in sizes), "weights move in every step"
    assert 0 < scored.operations < step.operations and step.fixed_operations == 0


def test_the_zero_input_of_agm_is_counted_once_a_step():
    """Two passes with their gradients and one more sample in the second: near twice vanilla, and nearer the larger."""
    agm, vanilla = (arithmetic.work_of(spec(method), SHAPES, CLASSES)[0] for method in ("agm", "vanilla"))
    assert agm.fixed_operations > 0
    ratio = {batch: agm.step(batch)[0] / vanilla.step(batch)[0] for batch in (2, 64, 4096)}
    assert ratio[2] > ratio[64] > ratio[4096]
    assert ratio[64] - ratio[4096] < 0.1 * ratio[64]


def test_bytes_of_a_product_are_its_operands_and_its_result():
    a, b = torch.ones(3, 5), torch.ones(5, 7)
    with arithmetic.Traffic() as traffic:
        a @ b
    assert traffic.bytes == 4 * (15 + 35 + 21)
    with arithmetic.Traffic() as traffic:
        a.t().view(15) if a.t().is_contiguous() else a.t()
        torch.empty(100)
    assert traffic.bytes == 0


def test_the_roofline_is_the_larger_of_two_times():
    top = arithmetic.Roofline(operations=1e12, bytes=1e9)
    assert top.seconds(2e12, 1e9) == 2.0 and top.seconds(1e12, 3e9) == 3.0
    measured = arithmetic.roofline(torch.device("cpu"), "fp32")
    assert 1e7 < measured.operations < 1e15 and 1e6 < measured.bytes < 1e14
    rows = {"vanilla": {"operations": 2e12, "bytes": 1e9, "step_ms": 4000.0}, "dgl": {"operations": 1e12, "bytes": 1e9}}
    lines = arithmetic.table(rows, 64, top)
    assert "2000.0 ms" in lines[2] and "4000.0 ms" in lines[2] and "50 %" in lines[2] and "not measured" in lines[3]


@pytest.mark.parametrize(("dataset", "issue"), [("cremad", 1.39e16), ("ks", 8.3e16), ("vggsound", 8.3e17)])
def test_the_committed_counts_give_the_price_of_a_run_of_dgl(dataset, issue):
    """Found independently by walking over the layers: 1.39e16, 8.3e16, 8.3e17 operations."""
    rows = late_fusion.table1("paper", dataset, [0])
    assert operations(rows["DGL"][0]) == pytest.approx(issue, rel=0.02)
    assert operations(rows["DGL"][0]) == pytest.approx(operations(rows["vanilla"][0]), rel=0.02)
    assert 1.8 < operations(rows["AGM"][0]) / operations(rows["vanilla"][0]) < 2.1, "two passes instead of one"
    assert operations(rows["vanilla"][0]) > 1.5 * operations(rows["audio alone"][0])
    assert all(operations(specs[0]) for specs in (rows | late_fusion.variants("paper", dataset, [0])).values())


def test_the_plan_estimates_unmeasured_runs_from_operations(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path / "results" / "runs"))
    rows = late_fusion.table1("paper", "vggsound", [0, 1])
    wanted, agm = rows["DGL"], rows["AGM"][0]
    assert plan.time_of(wanted, run.estimates(wanted)) == "2 runs of 1.7e+18 operations together, not timed here"
    cost = {"step_ms": 100.0, "operations": 2e12, "seconds_per_epoch": 5.0}
    report = {"scale": 0.1, "dataset": "cremad", "model": "resnet18", "precision": "bf16", "methods": {"vanilla": cost}}
    folder = run.rehearsal_root()
    folder.mkdir(parents=True)
    (folder / "r.json").write_text(json.dumps(signed(report)))
    known = run.estimates(wanted)
    assert estimates.speeds([report]) == {"bf16": 2e13}
    assert known.seconds(agm) == pytest.approx(operations(agm) / 2e13) and known.measured(agm) is None
    assert known.seconds(agm.but(precision="fp32")) is None, "another precision has another speed"
    said = plan.time_of(wanted, known)
    assert "of it by arithmetic" in said and "not measured" not in said
