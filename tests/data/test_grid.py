"""GRID: folds, checksums, and the values of the real set where it is present."""

from __future__ import annotations

import os
import shutil
from collections import Counter

import numpy as np
import pytest

from dgl_core import data
from dgl_core.data import command
from dgl_core.data.files import cache
from dgl_core.data.sets import grid
from dgl_core.utils import data_roots

PRESENT = any((root / grid.WORDS.facts.folder).is_dir() for root in data_roots())
needs_grid = pytest.mark.skipif(
    not PRESENT, reason="GRID is not here (set DGL_DATA to the folder that holds grid_s1_av)"
)
WORDS = [f"w{i % 25}" for i in range(1000)]


@pytest.fixture
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("DGL_DATA_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_every_utterance_tests_exactly_once_and_is_in_one_part():
    parts = np.array([grid.fold_parts(WORDS, fold) for fold in range(grid.FOLDS)])
    assert ((parts == "test").sum(0) == 1).all()
    assert set(np.unique(parts)) == set(data.PARTS)


@pytest.mark.parametrize("fold", range(grid.FOLDS))
def test_folds_are_stratified(fold):
    counts = Counter(zip(WORDS, grid.fold_parts(WORDS, fold), strict=True))
    assert {counts[w, part] for w in set(WORDS) for part in ("test",)} == {8}
    assert {counts[w, "val"] for w in set(WORDS)} == {4}


@needs_grid
@pytest.mark.parametrize(("name", "classes"), [("grid_letters", 25), ("grid_digits", 10)])
def test_folds_of_the_real_set_partition_its_utterances(name, classes):
    sets = [data.load(name, fold=fold) for fold in range(grid.FOLDS)]
    tested = Counter()
    for dataset in sets:
        parts = {part: {dataset.ids[i] for i in dataset.indices(part).tolist()} for part in data.PARTS}
        assert (
            len(dataset.classes) == classes
            and sum(map(len, parts.values())) == len(set().union(*parts.values())) == 1000
        )
        assert [len(parts[part]) for part in data.PARTS] == [700, 100, 200]
        tested.update(parts["test"])
    assert set(tested.values()) == {1} and len(tested) == 1000
    assert len({dataset.fingerprint for dataset in sets}) == grid.FOLDS


@needs_grid
def test_one_and_four_frames_have_two_fingerprints():
    prints = {data.load("grid_letters", frames=frames).fingerprint for frames in (1, 4)}
    assert len(prints) == 2 and data.load("grid_letters", frames=4).fingerprint in prints


def test_verify_reads_instead_of_remembering(home, tmp_path, capsys):
    folder = make_folder(tmp_path)
    grid.WORDS.find(tmp_path)
    path = folder / "lips.zip"
    times, content = path.stat(), path.read_bytes()
    path.write_bytes(content[:-1] + b"!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert command.main(["--root", str(tmp_path), "verify", "grid_words"]) == 1
    assert "lips.zip: wrong checksum" in capsys.readouterr().err


@needs_grid
def test_words_follow_the_given_split_and_no_utterance_is_in_two_parts():
    dataset = data.load("grid_words")
    assert dataset.counts == {"train": 4200, "val": 600, "test": 1200} and len(dataset.classes) == 51
    utterances = {part: {dataset.ids[i][:6] for i in dataset.indices(part).tolist()} for part in data.PARTS}
    assert sum(map(len, utterances.values())) == 1000
    rows = grid._samples(grid.WORDS.find(None))
    given = {f"{row['utterance']}/{row['slot']}" for row in rows if row["split"] == "test"}
    assert given == {dataset.ids[i] for i in dataset.indices("test").tolist()}
    assert all(dataset.classes[t] == row["word"] for t, row in zip(dataset.target.tolist(), rows, strict=True))


@needs_grid
def test_values_are_standardised_over_the_training_part():
    dataset = data.load("grid_digits", fold=2)
    assert dataset.shapes == {"audio": (1, 64, 40), "visual": (1, 8, 32, 48)}
    assert data.load("grid_digits", fold=2, frames=2).shapes["visual"] == (1, 2, 32, 48)
    inputs, _ = dataset.batch(dataset.indices("train"))
    for x in inputs.values():
        assert abs(float(x.double().mean())) < 1e-4 and abs(float(x.double().std()) - 1) < 1e-3


@needs_grid
def test_lip_frames_are_cut_where_the_sheets_have_them(home):
    import io
    import zipfile

    from PIL import Image

    folder = grid.WORDS.find(None)
    row = grid._samples(folder)[3 + 6 * 500]
    with zipfile.ZipFile(folder / "lips.zip") as archive:
        sheet = np.asarray(Image.open(io.BytesIO(archive.read(f"{row['utterance']}.jpg"))))
    frame = sheet[3 * 32 : 4 * 32, 5 * 48 : 6 * 48]  # slot 3, frame 5
    assert np.array_equal(grid._lips(folder)[int(row["row"]), 5], frame)


def test_missing_set_names_the_places_and_the_alternative(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}.*DGL_DATA.*'emotions'"):
        data.load("grid_words", tmp_path)
    assert not data.DATASETS["grid_words"].available(tmp_path)


def test_wrong_fold_is_refused(tmp_path):
    with pytest.raises(ValueError, match="fold is 5"):
        data.load("grid_letters", tmp_path, fold=5)


def make_folder(tmp_path):
    """Files with the right names and a manifest that fits them: enough for the checks before anything is read."""
    folder = tmp_path / grid.WORDS.facts.folder
    folder.mkdir()
    for name in grid.WORDS.facts.manifest:
        (folder / name).write_bytes(name.encode() * 10)
    cache.write_manifest(folder, [(folder / name).relative_to(folder) for name in grid.WORDS.facts.manifest])
    return folder


def test_missing_and_changed_files_are_named(home, tmp_path):
    folder = make_folder(tmp_path)
    assert grid.WORDS.find(tmp_path) == folder
    (folder / "lips.zip").write_bytes(b"other")
    with pytest.raises(ValueError, match="lips.zip: wrong checksum.*'emotions'"):
        data.load("grid_letters", tmp_path)
    (folder / "lips.zip").unlink()
    with pytest.raises(FileNotFoundError, match="lips.zip is missing"):
        data.load("grid_letters", tmp_path)


def test_a_file_that_the_manifest_leaves_out_is_refused(home, tmp_path):
    folder = make_folder(tmp_path)
    lines = (folder / cache.MANIFEST).read_text().splitlines()
    (folder / cache.MANIFEST).write_text("\n".join(line for line in lines if "lips" not in line))
    with pytest.raises(ValueError, match="MANIFEST.sha256 does not list lips.zip"):
        grid.WORDS.find(tmp_path)


def test_checksums_are_computed_once_per_file_version(home, tmp_path, monkeypatch):
    folder = make_folder(tmp_path)
    grid.WORDS.find(tmp_path)
    read = []
    monkeypatch.setattr(cache, "sha256", lambda path: read.append(path.name) or "")
    grid.WORDS.find(tmp_path)
    assert read == []
    shutil.copyfile(folder / "lips.zip", folder / "copy")
    (folder / "copy").replace(folder / "lips.zip")  # same content, new time
    with pytest.raises(ValueError, match="lips.zip"):
        grid.WORDS.find(tmp_path)
    assert read == ["lips.zip"]
