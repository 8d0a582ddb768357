"""Table 2: who is in it, how MOSI's configuration is chosen, what stands beside the accuracies, and more modalities."""

from __future__ import annotations

import pytest
import torch
from tiny import NAMES, arrays, late

from dgl_core.data import DATASETS
from dgl_core.data.tasks.classes import classification
from dgl_core.figures import modalities as figures
from dgl_core.paper import experiments
from dgl_core.paper.experiments import late_fusion, table2
from dgl_core.paper.tables import balance
from dgl_core.runs import run as runs
from dgl_core.training.records import unpack
from dgl_core.training.train import fit
from dgl_core.verdicts import statistics

# -- rows -------------------------------------------------------------------------------------------------------------


def test_every_method_of_table_1_has_a_row_or_a_reason():
    rows = {
        "MMTM": table2.table2_dense("cpu", "emotions"),
        "MLP fusion": table2.table2_features("cpu", "mosi"),
    }
    for network, there in rows.items():
        labels = {"DGL" if label in table2.SPLITS else label for label in there}
        missing = set(table2.JOINT) - labels
        assert missing == set(table2.exclusions()[network])
    assert set(table2.exclusions()["MMTM"]) == {"MLA", "ReconBoost", "MMCosine"}
    assert "mixes modalities before" in table2.exclusions()["MMTM"]["MLA"]
    table = balance.exclusion_table()
    assert len(table) == sum(map(len, table2.exclusions().values()))


@pytest.mark.parametrize("profile", ["smoke", "cpu"])
@pytest.mark.parametrize("half", ["left", "right", "generated"])
def test_rows_differ_in_method_encoder_rate_and_split_only(profile, half):
    if half == "left":
        rows = table2.table2_dense(profile, "emotions")
    else:
        rows = table2.table2_features(profile, "mosi" if half == "right" else "triplet")
    common = {"method": "vanilla", "method_options": {}, "encoder_lr_scale": 1.0}
    for specs in zip(*rows.values(), strict=True):
        plain = {s.but(**common, model_options=s.model_options | {"split": "-"}) for s in specs}
        assert len(plain) == 1
        assert len({s.model_options.get("split") for s in specs}) == (2 if half == "left" else 1)
    for label, specs in rows.items():
        for spec in specs:
            assert (spec.encoder_lr_scale > 1) == label.startswith(late_fusion.RATE_CONTROL)


def test_controls_have_the_rate_and_the_split_of_their_reading():
    rows = table2.table2_dense("cpu", "emotions")
    for row, split in table2.SPLITS.items():
        control = rows[f"{late_fusion.RATE_CONTROL} ({row[-1]})"][0]
        assert rows[row][0].model_options["split"] == control.model_options["split"] == split
        assert rows[row][0].method_options["alpha"] == control.encoder_lr_scale
    right = table2.table2_features("cpu", "triplet")
    assert right["DGL"][0].method_options["alpha"] == right[late_fusion.RATE_CONTROL][0].encoder_lr_scale


def test_grid_is_seen_on_one_frame():
    assert all(s.dataset_options["frames"] == 1 for s in table2.table2_dense("cpu", "grid_letters")["DGL-S"])


def test_smoke_asks_for_generated_sets_only():
    specs = list(experiments.specs_of(table2.table2("smoke")))
    assert specs and all(DATASETS[s.dataset].generated for s in specs)


def test_every_run_on_mosi_has_its_fold_and_all_four_configurations():
    grid = table2.table2_grid("cpu", range(2))
    assert tuple(grid) == table2.RATES
    for rate, rows in grid.items():
        for specs in rows.values():
            assert [s.seed for s in specs] == list(range(2 * table2.FOLDS))
            assert all(statistics.fold_of(s) == s.seed % table2.FOLDS and s.lr == rate for s in specs)
    assert tuple(table2.table2_grid("cpu")) == (table2.RATE,)
    assert tuple(table2.table2_grid("paper")) == table2.RATES
    official = table2.table2_official("cpu", range(2))["DGL"]
    assert [s.seed for s in official] == [0, 1] and all("fold" not in s.dataset_options for s in official)


# -- beside the accuracies --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("counts", [[285, 467], [3, 1, 1], [2, 2, 2, 2]])
def test_what_a_constant_prediction_scores(counts):
    target = torch.tensor([k for k, n in enumerate(counts) for _ in range(n)])
    for named in range(len(counts)):
        logits = torch.zeros(len(target), len(counts))
        logits[:, named] = 1.0
        scores = classification(logits, target)
        expected = 100 * scores["accuracy"], 100 * scores["macro_f1"]
        assert balance.constant_scores(counts, named) == pytest.approx(expected)
    assert balance.constant_scores(counts) == balance.constant_scores(counts, counts.index(max(counts)))


def test_class_counts_are_those_of_the_test_part():
    counts = balance.class_counts("triplet", samples=100)
    assert len(counts) == 4 and sum(counts) < 100 and max(counts) - min(counts) <= 2
    assert sum(balance.class_counts("mosi")) == 752
    table = balance.balance_table({"a": [3, 1], "b": list(range(1, 9))})
    assert list(table["majority rate"]) == ["75.0", "22.2"] and table.loc["b", "test samples of each"] == "1 to 8"


@pytest.mark.parametrize("modalities", [2, 3])
def test_missing_modalities_are_scored_with_all_others(modalities):
    dataset, model = arrays(modalities), late(modalities)
    record = fit(model, "dgl", dataset, epochs=2, batch_size=8, alpha=1.0, device="cpu", precision="fp64")
    rows = dataset.indices("test")
    inputs, target = dataset.batch(rows)
    for m in dataset.modalities:
        others = [j for j in NAMES[:modalities] if j != m]
        predicted = model.eval()({j: x.double() for j, x in inputs.items()}, keep=others).argmax(1)
        assert balance.without(record, m) == pytest.approx((predicted == target).double().mean().item(), abs=1e-6)
        if modalities == 3:
            kept = torch.from_numpy(unpack(record.predictions["last"][f"without_{m}"]))
            assert torch.equal(kept, predicted)
        else:
            assert f"without_{m}" not in record.branches()
    assert not any("without" in column for column in record.curves if not column.startswith("test/"))


# -- verdicts and pictures --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """DGL with four and five modalities, and vanilla training with four, as the experiment of the smoke profile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGL_RESULTS", str(tmp_path_factory.mktemp("runs")))
        rows = table2.more_modalities("smoke")
        return runs.load_or_run(
            {label: rows[label] for label in rows if "DGL" in label or label == "vanilla, 4 modalities"}
        )


@pytest.mark.parametrize("modalities", [4, 5])
def test_dgl_on_four_and_five_generated_modalities(generated, modalities):
    record = generated[f"DGL, {modalities} modalities"][0]
    names = record.data["modalities"]
    assert len(names) == modalities and record.data["generated"]
    assert set(record.branches()) == {"fused", *names, *(f"without_{m}" for m in names)}
    assert record.score() > 0.5  # of four classes
    assert all(record.curves[f"gradient/{m}"][-1] > 0 for m in names)
    assert set(record.curves) >= {f"loss/{m}" for m in names}


def test_pictures_say_what_they_show(generated):
    four = {label: records for label, records in generated.items() if "4" in label}
    missing = figures.missing_modality({"generated": four})
    dots = figures.branch_dots({"generated": four}, {"generated": 25.0})
    for label, records in four.items():
        assert f"all {100 * records[0].score():.1f}" in missing.alt and label in dots.alt
        assert f"without strong {100 * balance.without(records[0], 'strong'):.1f}" in missing.alt
        assert f"weak_3 {100 * records[0].score('weak_3'):.1f}" in dots.alt
    text = figures.accuracy_and_f1(four, {"none": (25.0, 10.0)}, {"strong": [40.0]}).alt
    scores = [100 * r[0].score("strong", metric="macro_f1") for r in four.values()]
    assert f"macro-F1 {min(scores):.1f} to {max(scores):.1f}" in text
    assert list(balance.means_without(four).columns) == ["all", *(f"without {m}" for m in figures.modalities_of(four))]
    table = balance.f1_table(four | {"empty": []}, ["strong", "touch"])
    first = next(iter(four.values()))[0]
    named = unpack(first.predictions["last"]["strong"]).tolist()
    most = 100 * max(named.count(k) for k in range(4)) / len(named)
    assert table["strong"].iloc[0].startswith(f"{100 * first.score('strong'):.1f} / ")
    assert table["strong"].iloc[0].endswith(f" / {most:.1f}") and table["touch"].iloc[0] == "–"
    assert table.loc["empty", "strong"].startswith("not run")
