"""Rehearsals: the real training on random data, labelled, apart from all records; and the command for a GPU."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from dgl_core.paper import experiments
from dgl_core.paper.experiments import late_fusion
from dgl_core.reproduce import command, rehearse
from dgl_core.reproduce.plan import Plan
from dgl_core.reproduce.rehearse import LABEL, SIZES
from dgl_core.runs import estimates, run
from dgl_core.runs.estimates import signed
from dgl_core.training.memory import streaming

BENCH = Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.setenv("DGL_RESULTS", str(tmp_path / "results" / "runs"))
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DGL_DATA", str(tmp_path / "none"))
    return tmp_path


def test_sizes_are_those_of_the_papers_data():
    """METHODS 1.3: 6,698 + 744 clips, 257 x 188, one frame; 168,618 + 13,954 clips, three frames."""
    assert sum(SIZES["cremad"].counts) == 6698 + 744 and SIZES["cremad"].audio == (257, 188)
    assert sum(SIZES["vggsound"].counts) == 168618 + 13954 and SIZES["vggsound"].frames == 3
    assert SIZES["cremad"].bytes == 7442 * (257 * 188 * 2 + 256 * 256 * 3)
    assert all(size.classes > 5 for size in SIZES.values())


def test_a_share_has_fewer_clips_of_the_same_shape(workplace):
    data = rehearse.random_dataset("cremad", "0.01")
    assert data.counts == {"train": 64, "val": 64, "test": 64}
    assert data.shapes == {"audio": (1, 257, 188), "visual": (3, 224, 224)}
    assert streaming.stored_bytes(data) == 192 * (257 * 188 * 2 + 256 * 256 * 3 + 8)
    assert data.inputs["visual"].dtype == torch.uint8 and data.inputs["audio"].dtype == torch.float16
    assert data.generated and LABEL in data.source and data.name == "rehearsal_cremad"
    again = rehearse.random_dataset("cremad", "0.01")
    assert torch.equal(again.inputs["audio"], data.inputs["audio"]), "written once"


@pytest.mark.parametrize("name", ["ks", "vggsound"])
def test_long_clips_are_cropped_in_time_and_have_three_frames(name):
    assert rehearse.random_dataset(name, "small").shapes == {"audio": (1, 32, 12), "visual": (3, 3, 28, 28)}


@pytest.mark.parametrize("size", ["0", "1.5", "tiny", "-1"])
def test_sizes_that_make_no_sense_are_refused(size):
    with pytest.raises(ValueError, match="give 1 .all clips., a share such as 0.05, or 'small'"):
        rehearse.random_dataset("cremad", size)


def disk_of(monkeypatch, gigabytes):
    usage = type("Usage", (), {"free": int(gigabytes * 1e9)})
    monkeypatch.setattr(rehearse.shutil, "disk_usage", lambda folder: usage)


def test_where_the_disk_is_too_small_a_share_is_rehearsed(monkeypatch, capsys):
    disk_of(monkeypatch, 100.0)
    assert rehearse.fitting("vggsound", "1") == "0.5" and "a share of 0.5 is rehearsed" in capsys.readouterr().out
    assert rehearse.fitting("vggsound", "0.1") == "0.1"
    assert rehearse.fitting("cremad", "1") == "1" and not capsys.readouterr().out
    for name in ("cremad", "vggsound"):
        room = rehearse.SIZES[name].scaled(rehearse.fitting(name, "1")).bytes
        assert room <= 0.9 * 100e9, "what is chosen fits"


def test_a_disk_without_any_room_is_one_sentence(monkeypatch):
    disk_of(monkeypatch, 0.1)
    with pytest.raises(ValueError, match="rehearsing vggsound takes 1.7e.02 GB .* 0.1 GB are free.*DGL_DATA_CACHE"):
        rehearse.fitting("vggsound", "1")


def test_the_paper_profile_is_rehearsed_and_no_record_is_written(workplace, capsys, monkeypatch):
    """As PROFILE=paper REHEARSE=small does it: every method of the ablations on CREMA-D, absent here."""
    monkeypatch.setattr(rehearse, "SIZES", {"cremad": SIZES["cremad"]})
    chosen = ("vanilla", "dgl", "agm", "relearn")
    wanted = [s for s in experiments.absent("paper", ["04_benchmark"])["cremad"] if s.method in chosen]
    plan = Plan({}, [], [], run.estimates([]), {"cremad": wanted})
    monkeypatch.setattr(rehearse, "plan_of", lambda profile, names: plan)
    assert command.main(["--profile", "paper", "--rehearse", "small", "--out", str(workplace / "out")]) == 0
    said = capsys.readouterr().out
    assert LABEL in said and "no time is projected" in said and "projected time" not in said
    assert all(method in said for method in ("vanilla", "dgl", "agm")) and "relearn          stepped once" in said
    assert "4 methods took their steps, 0 failed; peak memory" in said
    (path,) = (workplace / "results" / "rehearsal").iterdir()
    report = json.loads(path.read_text())
    assert report["label"] == LABEL and report["scale"] == 0 and report["clips"] == 64 and not report["failed"]
    costs = report["methods"]
    assert set(costs) == {"vanilla", "dgl", "agm", "relearn"} and costs["relearn"]["derived"] == 1.05
    assert all(cost["seconds_per_epoch"] > 5954 // 8 * cost["step_ms"] / 1000 for cost in costs.values())
    assert not (workplace / "results" / "runs").exists()
    assert run.estimates(wanted).seconds(wanted[0]) is None, "a small rehearsal estimates nothing"
    path.write_text(json.dumps(signed(report | {"scale": 1})))
    dgl = next(spec for spec in wanted if spec.method == "dgl")
    assert run.estimates(wanted).seconds(dgl) == pytest.approx(100 * costs["dgl"]["seconds_per_epoch"])
    assert run.estimates(wanted).measured(dgl.but(precision="fp32")) is None
    path.write_text("{")
    assert run.estimates(wanted).seconds(dgl) is None, "half a report is none"


def report_of(name, model="resnet18", scale=1.0, failed=None, **methods):
    costs = {m: {"seconds_per_epoch": seconds, "step_ms": 100.0, "operations": 1e12} for m, seconds in methods.items()}
    return {
        "dataset": name, "model": model, "scale": scale, "precision": "fp32", "methods": costs, "failed": failed or {},
        "peak_memory_mb": 700.0, "environment": {"device": "cuda (a card)"},
    }  # fmt: skip


def test_the_total_counts_runs_cards_and_trainings_that_share_one():
    base = late_fusion.base_specs("paper", "cremad", [0, 1, 2])
    wanted = base + [spec.but(method="dgl") for spec in base]
    known = run.estimates(wanted)
    found = [report_of("cremad", vanilla=6.0, dgl=12.0)]
    said = "\n".join(rehearse.total(known, wanted, found, "1", 1, 1))
    assert "all together                     6 runs  1 h 30 min" in said and "2 methods took their steps" in said
    said = "\n".join(rehearse.total(known, wanted, found, "1", 2, 1))
    assert "45 min if trainings share a card perfectly, 1 h 30 min at most" in said and "2 on a card: 1400 MiB" in said
    said = "\n".join(rehearse.total(known, wanted, [report_of("cremad", scale=0.1, vanilla=6.0)], "1", 1, 2))
    assert "3 of them not measured" in said and "on a share of the clips: 0.1" in said
    (line,) = rehearse.total(known, wanted, found, "small", 1, 1)
    assert "no time is projected" in line


def test_a_rehearsal_puts_the_arithmetic_beside_the_time(workplace, monkeypatch, capsys):
    """Operations and bytes of the committed counts, the roofline that was measured, expected and measured time."""
    base = late_fusion.base_specs("paper", "cremad", [0])[0]
    counted = rehearse._counted(base.but(method="agm"), 64, "0.01")
    assert counted == dict(zip(("operations", "bytes"), estimates.step_work(base.but(method="agm")), strict=True))
    assert rehearse._counted(base, 64, "small") == {}, "a small step is another step"
    report = report_of("cremad", vanilla=6.0) | {
        "batch_size": 64, "roofline": {"operations": 1e13, "bytes": 1e12}, "evaluation_seconds": 1.0, "data_on": "cpu",
    }  # fmt: skip
    report["methods"]["vanilla"] |= counted
    monkeypatch.setattr(rehearse, "measure", lambda specs, size, steps: report)
    assert rehearse.rehearse([base], "0.01") == [report]
    said = capsys.readouterr().out
    assert "roofline, measured: 10 Tera-operations/s, 1e+03 GB/s; a step has 64 clips" in said
    expected = 1000 * counted["operations"] / 1e13  # ms: more than its bytes take
    assert f"{expected:9.1f} ms" in said and "100.0 ms" in said and f"{expected:13.0f} %" in said
    assert len(list((workplace / "results" / "rehearsal").iterdir())) == 1


def test_what_fails_is_a_sentence_and_the_rest_goes_on(monkeypatch, capsys):
    """A method that cannot train, a set without room: the rehearsal still ends in a total."""
    specs = [late_fusion.base_specs("paper", "cremad", [0])[0].but(method=m) for m in ("vanilla", "dgl")]
    specs.append(late_fusion.base_specs("paper", "ks", [0])[0])
    plan = Plan({}, [], [], run.estimates([]), {"cremad": specs})
    monkeypatch.setattr(rehearse, "plan_of", lambda profile, names: plan)
    build = rehearse.methods.build

    def broken(name, options):
        if name == "dgl":
            raise ValueError("no such luck")
        return build(name, options)

    monkeypatch.setattr(rehearse.methods, "build", broken)
    fits = rehearse.fitting
    monkeypatch.setattr(rehearse, "fitting", lambda name, size: fits(name, size) if name == "cremad" else 1 / 0)
    assert rehearse.profile(["04_benchmark"], "small") == 0
    said = capsys.readouterr().out
    assert "failed: ValueError: no such luck" in said and "not rehearsed: division by zero" in said
    assert "1 methods took their steps, 1 failed" in said


def test_only_the_paper_profile_is_rehearsed(workplace, capsys):
    assert command.main(["--profile", "cpu", "--rehearse", "--out", str(workplace / "out")]) == 2
    assert "--rehearse is of the paper profile" in capsys.readouterr().err


def test_the_command_for_a_gpu_runs_small_on_a_cpu(workplace, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCH))
    sys.modules.pop("bench_gpu", None)
    import bench_gpu

    assert bench_gpu.main(["--small", "--steps", "1", "--out", str(workplace / "evidence")]) == 0
    said = capsys.readouterr().out
    assert "NOT a measurement" in said and "Official step / DGL in the loop" in said
    found = json.loads((workplace / "evidence" / "gpu_evidence_small.json").read_text())
    single = {"one backward pass", "no logging", "channels_last", "compiled", "data on the device", "bf16"}
    assert set(found["ways"]) == {"official step", "all changes, fp32", "all changes, bf16"} | single
    official = {key: value for key, value in found["ways"]["official step"].items() if key != "seconds"}
    for title, way in found["ways"].items():
        changed = [key for key, value in official.items() if way[key] != value]
        assert len(changed) == (1 if title in single else 0 if title == "official step" else len(changed)), title
    assert found["operations"] > 0 and found["loop"]["fp32"]["ratio"] > 0 and len(found["profile"]) > 5


def test_without_a_gpu_nothing_is_measured(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(BENCH))
    import bench_gpu

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_gpu.main([]) == 0 and "nothing is measured" in capsys.readouterr().out


def test_the_official_step_of_the_bench_is_the_gradient_of_ours(monkeypatch):
    """Two passes with clearing and one pass of the objective leave the same weights after a step."""
    monkeypatch.syspath_prepend(str(BENCH))
    import io

    import bench_gpu
    from official import Way

    bench = bench_gpu.Bench(True, 1, torch.device("cpu"), Path())
    built, make = [], bench.model
    bench.model = lambda: built.append(make()) or built[-1]
    for way in (Way(), Way(passes=1, logging=False, channels_last=True, resident=True)):
        bench.step(way, io.StringIO())()
    official, ours = (model.state_dict() for model in built)
    assert all(torch.allclose(x, ours[name], atol=1e-5) for name, x in official.items())
