"""CMU-MOSI features, and the generated set of three or more modalities."""

from __future__ import annotations

import csv
import hashlib
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dgl_core import data
from dgl_core.data.files.cache import MANIFEST
from dgl_core.data.generated import triplet
from dgl_core.data.sets import mosi
from dgl_core.data.transforms import LIMIT, StandardiseFeatures, group_folds

VIDEOS = {"train": 8, "test": 10}
WORDS = "FILM GOOD BAD STORY ACTOR LOVE HATE BORING GREAT END".split()


def videos(dataset: data.Dataset) -> list[str]:
    """Name the video of every sample, from its id."""
    return [name.rpartition("_")[0] for name in dataset.ids]


# -- utterance features -----------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A small data root with the layout of the real set, files and manifest."""
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    write_mosi(tmp_path / "cmu_mosi")
    return tmp_path


def write_mosi(folder: Path, widths=mosi.WIDTHS, change=lambda part, arrays: None) -> None:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    rows = []
    for part, count in VIDEOS.items():
        begin = len(rows)
        for video in range(count):
            for segment in range(3 + video % 4):
                held = "val" if part == "train" and video < 2 else part
                text = " ".join(rng.choice(WORDS, 6))
                row = [part, len(rows) - begin, f"{part}_{video}", segment, int(rng.integers(2)), held, text]
                rows.append(row)
        labels = np.array([row[4] for row in rows[begin:]])
        arrays = {m: rng.normal(size=(len(labels), w)).astype(np.float32) for m, w in widths.items()}
        arrays["label"] = labels
        change(part, arrays)
        np.savez(folder / mosi.FILES[part], **arrays)
    with open(folder / mosi.TABLE, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "row", "video_id", "segment", "label", "suggested_split", "transcript"])
        writer.writerows(rows)
    seal(folder)


def seal(folder: Path) -> None:
    names = (*mosi.FILES.values(), mosi.TABLE)
    lines = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / MANIFEST).write_text("".join(lines))


def test_nested_protocol_keeps_videos_together_inside_the_official_test_part(root):
    tested = []
    for fold in range(mosi.FOLDS):
        dataset = data.load("mosi", root, fold=fold)
        parts = {p: {videos(dataset)[i] for i in dataset.indices(p)} for p in data.PARTS}
        assert (
            not parts["train"] & parts["val"]
            and not parts["train"] & parts["test"]
            and not parts["val"] & parts["test"]
        )
        assert all(v.startswith("test_") for part in parts.values() for v in part)
        assert max(dataset.counts.values()) > 2 * min(dataset.counts.values())  # three fifths, one, one
        tested += [dataset.ids[i] for i in dataset.indices("test")]
    assert sorted(tested) == sorted(dataset.ids)  # every utterance tests once


def test_official_protocol(root):
    dataset = data.load("mosi", root, protocol="official")
    for video, part in zip(videos(dataset), dataset.split, strict=True):
        assert part == ("val" if video in ("train_0", "train_1") else video.partition("_")[0])
    assert dataset.classes == ("negative", "positive") and dataset.modalities == ("audio", "visual", "text")
    assert dataset.shapes == {"audio": (73,), "visual": (100,), "text": (100,)}
    with pytest.raises(ValueError, match="fold is 1; give 0 with protocol='official'"):
        data.load("mosi", root, protocol="official", fold=1)


def test_samples_are_the_rows_of_the_files(root):
    dataset = data.load("mosi", root, protocol="official")
    with np.load(root / "cmu_mosi" / mosi.FILES["test"]) as file:
        start = dataset.indices("test")[0]
        assert torch.equal(dataset.inputs["audio"][start + 4], torch.from_numpy(file["audio"][4]))
        assert dataset.target[start:].tolist() == file["label"].tolist()


def test_only_training_rows_decide_the_scale_and_the_vocabulary(root):
    """Change everything about the other rows: what the training rows look like must not move."""
    before = data.load("mosi", root, protocol="official")
    texts = data.load("mosi", root, protocol="official", text="transcripts")
    train = before.indices("train")

    def scale_test(part, arrays):
        if part == "test":
            arrays["audio"] *= 100

    write_mosi(root / "cmu_mosi", change=scale_test)
    table = (root / "cmu_mosi" / mosi.TABLE).read_text()
    renamed = [line.replace("FILM", "MOVIE") if line.startswith("test") else line for line in table.splitlines()]
    (root / "cmu_mosi" / mosi.TABLE).write_text("\n".join(renamed) + "\n")
    seal(root / "cmu_mosi")
    after = data.load("mosi", root, protocol="official")
    assert torch.equal(before.batch(train)[0]["audio"], after.batch(train)[0]["audio"])
    again = data.load("mosi", root, protocol="official", text="transcripts")
    assert torch.equal(texts.batch(train)[0]["text"], again.batch(train)[0]["text"])
    films = ["FILM" in line for line in table.splitlines()[1:]]
    changed = (texts.inputs["text"] != again.inputs["text"]).any(dim=1)
    assert changed.any() and all(not c or f for c, f in zip(changed.tolist(), films, strict=True))


def test_transcripts_replace_the_text_features(root):
    dataset = data.load("mosi", root, text="transcripts")
    x, _ = dataset.batch(dataset.indices("train"))
    assert x["text"].min() == 0  # nothing but words that are there
    rows = x["text"].square().mean(dim=1)
    assert torch.allclose(rows, torch.ones_like(rows))
    plain = data.load("mosi", root)
    assert torch.equal(plain.batch(plain.indices("train"))[0]["audio"], x["audio"])
    assert plain.fingerprint != dataset.fingerprint and plain.source != dataset.source


def unlisted(folder):
    (folder / MANIFEST).write_text("")


def relabelled(part, arrays):
    arrays["label"] = 1 - arrays["label"]


def infinite(part, arrays):
    arrays["visual"][3, 7] = np.inf if part == "train" else np.nan


def shorter(part, arrays):
    arrays["text"] = arrays["text"][:-1]


def no_audio(part, arrays):
    del arrays["audio"]


@pytest.mark.parametrize(
    "change, message",
    [
        (infinite, "modality 'visual' of sample '(train|test)_0_3|_1_0'.*not finite"),
        (shorter, r"text has shape \(\d+, 100\), not \(\d+, 100\)"),
        (relabelled, r"mosi_test.npz: label \d in row 0 is \d in utterances.csv"),
        (no_audio, "has no array 'audio'"),
    ],
)
def test_bad_contents(root, change, message):
    write_mosi(root / "cmu_mosi", change=change)
    with pytest.raises(ValueError, match=message):
        data.load("mosi", root)


def test_wrong_widths(root):
    write_mosi(root / "cmu_mosi", widths=mosi.WIDTHS | {"audio": 74})
    with pytest.raises(ValueError, match=r"audio has shape \(\d+, 74\), not \(\d+, 73\)"):
        data.load("mosi", root)


def test_labels_outside_the_classes(root):
    folder = root / "cmu_mosi"
    table = (folder / mosi.TABLE).read_text().replace("test_0,0,1", "test_0,0,2").replace("test_0,0,0", "test_0,0,2")
    (folder / mosi.TABLE).write_text(table)
    arrays = dict(np.load(folder / mosi.FILES["test"]))
    arrays["label"][0] = 2
    np.savez(folder / mosi.FILES["test"], **arrays)
    seal(folder)
    with pytest.raises(ValueError, match="label 2 of sample 'test_0_0' is outside the 2 classes"):
        data.load("mosi", root)


def test_changed_or_missing_files(root):
    folder = root / "cmu_mosi"
    (folder / mosi.FILES["train"]).write_bytes(b"changed")
    with pytest.raises(ValueError, match="mosi_train.npz: wrong checksum"):
        data.load("mosi", root)
    (folder / mosi.FILES["train"]).unlink()
    with pytest.raises(FileNotFoundError, match="mosi_train.npz is missing.*'triplet'"):
        data.load("mosi", root)
    write_mosi(folder)
    unlisted(folder)
    with pytest.raises(ValueError, match="does not list mosi_train.npz"):
        data.load("mosi", root)
    assert data.DATASETS["mosi"].available(root)  # damaged is not absent: loading says what is wrong
    assert not data.DATASETS["mosi"].available(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match="CMU-MOSI is not here.*DGL_DATA"):
        data.load("mosi", root / "elsewhere")


def test_broken_table(root):
    folder = root / "cmu_mosi"
    (folder / mosi.TABLE).write_text((folder / mosi.TABLE).read_text() + "train,5,video\n")
    seal(folder)
    with pytest.raises(ValueError, match=r"utterances.csv, line \d+"):
        data.load("mosi", root)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"fold": 5}, "fold is 5; data set 'mosi' takes 0 to 4"),
        ({"protocol": "nestd"}, "did you mean 'nested'"),
    ],
)
def test_bad_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        data.load("mosi", root, **options)


real = pytest.mark.skipif(
    not (Path(os.environ.get("DGL_DATA", "")) / mosi.RECIPE.facts.folder / MANIFEST).is_file(),
    reason="CMU-MOSI is not on this machine",
)


@real
def test_the_real_set():
    official = data.load("mosi", protocol="official")
    assert official.counts == {"train": 1209, "val": 238, "test": 752}
    learnt = [i for i, part in enumerate(official.split) if part != "test"]
    for rows, part in ((official.indices("test"), "test"), (torch.tensor(learnt), "train")):
        assert tuple(torch.bincount(official.target[rows]).tolist()) == mosi.COUNTS[part]
    assert len(set(videos(official))) == 93
    sizes = [data.load("mosi", fold=fold).counts["test"] for fold in range(mosi.FOLDS)]
    assert sum(sizes) == 752 and max(sizes) - min(sizes) < 15


# -- scaling and folds ------------------------------------------------------------------------------------------------


def test_standardised_features():
    generator = torch.Generator().manual_seed(0)
    train = 40 * torch.randn(50, 4, generator=generator) + torch.tensor([300.0, 0, -5, 0])
    train[:, 3] = 7.0
    transform = StandardiseFeatures(train)
    x = transform(train)
    torch.testing.assert_close(x.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x[:, :3].std(dim=0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert torch.equal(transform(torch.full((1, 4), 1e9)), torch.full((1, 4), LIMIT))


def test_folds_by_group():
    groups = [g for g, size in zip("abcdefg", (9, 1, 4, 4, 3, 3, 6), strict=True) for _ in range(size)]
    folds = group_folds(groups, 3)
    assert all(len({f for f, other in zip(folds, groups, strict=True) if other == g}) == 1 for g in groups)
    assert Counter(folds) == {0: 10, 1: 9, 2: 11}  # 9 + 1, 6 + 3, 4 + 4 + 3
    with pytest.raises(ValueError, match="7 groups cannot be spread over 8 folds"):
        group_folds(groups, 8)


# -- the generated set ------------------------------------------------------------------------------------------------


def centroid_accuracy(x: torch.Tensor, y: torch.Tensor, seen: torch.Tensor) -> float:
    """Nearest class mean, the mean of the other half: what a linear map can tell."""
    half = torch.arange(len(x)) % 2 == 0
    centres = torch.stack([x[half & (y == k)].mean(dim=0) for k in range(4)])
    chosen = torch.cdist(x[~half], centres).argmin(dim=1)
    return (chosen == y[~half])[seen[~half]].double().mean().item()


@pytest.fixture(scope="module")
def generated():
    return data.load("triplet", samples=4000)


def products(x: torch.Tensor) -> torch.Tensor:
    """All products of two entries: the least that shows a bit which is the product of two signs."""
    i, j = torch.triu_indices(x.shape[1], x.shape[1], offset=1)
    return x[:, i] * x[:, j]


def test_one_strong_and_two_weak_modalities(generated):
    """Strong: linear and mostly right. Weak: nothing for a linear map, something for products, less than the strong."""
    everything = torch.ones(len(generated), dtype=torch.bool)
    y, x = generated.target, generated.inputs
    strong = centroid_accuracy(x["strong"], y, everything)
    assert strong > 0.65
    for weak in ("weak_1", "weak_2"):
        assert centroid_accuracy(x[weak], y, everything) < 0.3  # chance is 0.25
        assert 0.35 < centroid_accuracy(products(x[weak]), y, everything) < strong - 0.1


def test_weak_modalities_see_where_the_strong_one_is_blind(generated):
    y, x = generated.target, generated.inputs
    label, blind = triplet.plan(4000, seed=0)
    dark = torch.from_numpy(blind)
    assert y.tolist() == label.tolist() and 0.25 < blind.mean() < 0.35
    strong = {name: centroid_accuracy(x["strong"], y, mask) for name, mask in (("dark", dark), ("light", ~dark))}
    weak = {name: centroid_accuracy(products(x["weak_1"]), y, m) for name, m in (("dark", dark), ("light", ~dark))}
    assert strong["light"] > 0.85 and strong["dark"] < 0.3
    assert weak["dark"] > weak["light"] + 0.15 and weak["dark"] > strong["dark"] + 0.15


@pytest.mark.parametrize("modalities", [2, 3, 4, 5])
def test_any_number_of_modalities(modalities):
    dataset = data.load("triplet", samples=80, modalities=modalities)
    assert dataset.modalities == ("strong", "weak_1", "weak_2", "weak_3", "weak_4")[:modalities]
    assert dataset.shapes == dict.fromkeys(dataset.modalities, (triplet.SIZE,))
    assert dataset.generated and Counter(dataset.target.tolist()) == dict.fromkeys(range(4), 20)
    fewer = data.load("triplet", samples=80, modalities=2)
    for m in fewer.modalities:
        assert torch.equal(dataset.inputs[m], fewer.inputs[m])  # a modality more changes none of the others


def test_generated_sets_differ_by_their_options():
    base = data.load("triplet", samples=80)
    assert torch.equal(base.inputs["weak_2"], data.load("triplet", samples=80).inputs["weak_2"])
    others = [data.load("triplet", **{"samples": 80} | o) for o in ({"seed": 1}, {"samples": 84}, {"modalities": 4})]
    assert len({d.fingerprint for d in (base, *others)}) == 4
    assert not torch.equal(base.inputs["strong"], others[0].inputs["strong"])


@pytest.mark.parametrize("options", [{"samples": 10}, {"modalities": 1}, {"modalities": 6}, {"seed": -1}])
def test_generated_options_out_of_range(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        data.load("triplet", **options)


def test_the_same_options_give_these_bytes():
    """SHA-256 of three vectors a sample. If it changes, raise triplet.VERSION and write the new value here."""
    digest = hashlib.sha256()
    for x in data.load("triplet", samples=60, seed=3).inputs.values():
        digest.update(x.numpy().astype("<f4").tobytes())
    assert digest.hexdigest() == "aa08b4ec2c2ac65b792125d0aa5ec3dbacb7fe56800943e7ce7a3b0fe3f6b471"
