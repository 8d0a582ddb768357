"""CMU-MOSI features and sequences, other people's pickles, and the generated set of three or more modalities."""

from __future__ import annotations

import csv
import hashlib
import os
import pickle
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dgl_core import data
from dgl_core.data import mosi_convert, safe_pickle, sequences
from dgl_core.data.files.cache import MANIFEST
from dgl_core.data.generated import triplet
from dgl_core.data.sets import mosi
from dgl_core.data.transforms import LIMIT, StandardiseFeatures, group_folds

VIDEOS = {"train": 8, "test": 10}
WORDS = "FILM GOOD BAD STORY ACTOR LOVE HATE BORING GREAT END".split()

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
        parts = {p: {mosi.videos(dataset)[i] for i in dataset.indices(p)} for p in data.PARTS}
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
    for video, part in zip(mosi.videos(dataset), dataset.split, strict=True):
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
    assert plain.fingerprint == dataset.fingerprint and plain.source != dataset.source


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
    assert not data.DATASETS["mosi"].available(root)
    with pytest.raises(FileNotFoundError, match="CMU-MOSI is not here.*DGL_DATA"):
        data.load("mosi", root / "elsewhere")


def test_broken_table(root):
    folder = root / "cmu_mosi"
    (folder / mosi.TABLE).write_text((folder / mosi.TABLE).read_text() + "train,5,video\n")
    seal(folder)
    with pytest.raises(ValueError, match=r"utterances.csv, line \d+"):
        data.load("mosi", root)


@pytest.mark.parametrize(
    "options, message", [({"fold": 5}, "fold is 5; give 0 to 4"), ({"protocol": "nestd"}, "did you mean 'nested'")]
)
def test_bad_options(root, options, message):
    with pytest.raises(ValueError, match=message):
        data.load("mosi", root, **options)


real = pytest.mark.skipif(
    not (Path(os.environ.get("DGL_DATA", "")) / mosi.FOLDER / MANIFEST).is_file(),
    reason="CMU-MOSI is not on this machine",
)


@real
def test_the_real_set():
    official = data.load("mosi", protocol="official")
    assert official.counts == {"train": 1209, "val": 238, "test": 752}
    learnt = [i for i, part in enumerate(official.split) if part != "test"]
    for rows, part in ((official.indices("test"), "test"), (torch.tensor(learnt), "train")):
        assert tuple(torch.bincount(official.target[rows]).tolist()) == mosi.COUNTS[part]
    assert len(set(mosi.videos(official))) == 93
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


def test_padding_does_not_count_and_stays_zero():
    x = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0)) + 10
    padded = torch.cat([x, torch.zeros(6, 7, 3)], dim=1)
    scaled = StandardiseFeatures(padded, padding=True)(padded)
    torch.testing.assert_close(scaled[:, :5], StandardiseFeatures(x)(x))
    assert scaled[:, 5:].count_nonzero() == 0


def test_folds_by_group():
    groups = [g for g, size in zip("abcdefg", (9, 1, 4, 4, 3, 3, 6), strict=True) for _ in range(size)]
    folds = group_folds(groups, 3)
    assert all(len({f for f, other in zip(folds, groups, strict=True) if other == g}) == 1 for g in groups)
    assert Counter(folds) == {0: 10, 1: 9, 2: 11}  # 9 + 1, 6 + 3, 4 + 4 + 3
    with pytest.raises(ValueError, match="7 groups cannot be spread over 8 folds"):
        group_folds(groups, 8)


# -- pickles ----------------------------------------------------------------------------------------------------------


def community(seed: int = 0) -> dict:
    """A dictionary as the community's pickles hold it."""
    rng = np.random.default_rng(seed)
    content = {}
    for split, count in (("train", 8), ("valid", 4), ("test", 4)):
        content[split] = {
            "vision": rng.normal(size=(count, 6, 3)),
            "audio": rng.normal(size=(count, 6, 2)).astype(np.float32),
            "text": np.asfortranarray(rng.normal(size=(count, 6, 5))),
            "labels": rng.uniform(-3, 3, (count, 1, 1)),
            "id": np.array([[f"{split}", f"{i}", "1.5"] for i in range(count)], dtype=object),
        }
    return content


def write_pickle(path: Path, content, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_read_exactly(tmp_path, protocol):
    content = community() | {
        "more": [1, 2.5, "text", None, True, b"bytes", (np.float64(3.5), np.int32(4))],
        "kinds": [np.arange(6).reshape(2, 3), np.array(["ab", "c"]), np.array([True, False]), np.array(5, dtype=">i4")],
        "empty": [np.zeros((0, 3)), np.array([], dtype=object), {}, []],
    }
    got = safe_pickle.load_pickle(write_pickle(tmp_path / "x.pkl", content, protocol))

    def same(a, b):
        if isinstance(b, np.ndarray) and b.dtype == object:
            return a == b.tolist()
        if isinstance(b, np.ndarray):
            return a.dtype == b.dtype and np.array_equal(a, b)
        if isinstance(b, dict):
            return a.keys() == b.keys() and all(same(a[k], b[k]) for k in b)
        if isinstance(b, (list, tuple)):
            return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
        return a == b

    assert same(got, content)


def test_pickles_of_python_2_are_read(tmp_path):
    """Written by hand: protocol 2 with the array's bytes as text, as Python 2 did."""
    raw = np.array([1.5, -2.0]).tobytes()
    pickled = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U" + bytes([len(raw)]) + raw + b"tb."
    )
    (tmp_path / "x.pkl").write_bytes(pickled)
    assert safe_pickle.load_pickle(tmp_path / "x.pkl").tolist() == [1.5, -2.0]


class Attack:
    """Pickles as a call of a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def attacks(marker: Path) -> dict[str, bytes]:
    touch = f"open({str(marker)!r}, 'w').close()"
    calls = {
        "system": Attack(os.system, f"touch {marker}"),
        "eval": Attack(eval, f"__import__('pathlib').Path({str(marker)!r}).touch()"),
        "exec": Attack(exec, touch),
        "hidden": {"train": {"audio": [np.zeros(3), Attack(exec, touch)]}},
        "load": Attack(np.load, str(marker)),
        "path": Path(marker),
        "set": {1, 2},
        "type": int,
        "records": np.zeros(2, dtype=[("a", "f4")]),
        "dates": np.zeros(2, dtype="M8[s]"),
    }
    made = {name: pickle.dumps(call, protocol=4) for name, call in calls.items()}
    dotted = b"\x80\x04\x8c\x05numpy\x8c\x19core.multiarray.os.system\x93\x8c\x04true\x85R."
    return made | {
        "dotted": dotted,
        "bare": b"\x80\x04cnumpy\nndarray\n.",  # an allowed name that stands for nothing by itself
        "unfinished": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R.",
        "encoding": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00zip\x86R.",
        "subclass": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\nX\x01\x00\x00\x00aK\x00\x85U\x01b\x87R.",
        "deep": pickle.dumps([[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]),
    }


@pytest.mark.parametrize("name", attacks(Path("x")))
def test_untrusted_pickles_are_refused_and_not_executed(tmp_path, name):
    marker = tmp_path / "executed"
    path = tmp_path / "attack.pkl"
    path.write_bytes(attacks(marker)[name])
    with pytest.raises(safe_pickle.UnsafePickle, match="attack.pkl is refused: .*Nothing of it was executed"):
        safe_pickle.load_pickle(path)
    assert mosi_convert.main([str(path), str(tmp_path / "out.npz")]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["attack.pkl"]  # nothing executed, nothing half-written


def test_the_attack_would_work_on_the_usual_loader(tmp_path):
    """So that the test above can fail."""
    marker = tmp_path / "executed"
    pickle.loads(attacks(marker)["exec"])
    assert marker.exists()


@pytest.mark.parametrize(
    "shape, raw", [((3,), b"\0" * 16), ((2**40,), b"\0" * 16), ((-1,), b"\0" * 16), ((2,), 5), ([2], b"\0" * 16)]
)
def test_broken_arrays_are_refused(tmp_path, shape, raw):
    class Broken:
        def __reduce__(self):
            function, arguments, state = np.zeros(2).__reduce__()
            return function, arguments, (state[0], shape, state[2], False, raw)

    path = write_pickle(tmp_path / "x.pkl", Broken())
    with pytest.raises(ValueError, match="refused: it has (a broken array|an array whose bytes)"):
        safe_pickle.load_pickle(path)


def test_stand_ins_cannot_be_changed():
    for stand_in in safe_pickle._ALLOWED.values():
        with pytest.raises(AttributeError):
            stand_in.anything = 1


def test_a_value_that_occurs_often_is_visited_once(tmp_path):
    """Twenty nested lists of two references each: a million values if each were copied."""
    bomb = []
    for _ in range(19):
        bomb = [bomb] * 50
    assert len(safe_pickle.load_pickle(write_pickle(tmp_path / "x.pkl", bomb))) == 50


def test_damaged_pickles(tmp_path):
    whole = pickle.dumps(community())
    for content in (b"", whole[: len(whole) // 2], b"no pickle at all"):
        (tmp_path / "x.pkl").write_bytes(content)
        with pytest.raises(ValueError, match="no whole pickle|refused"):
            safe_pickle.load_pickle(tmp_path / "x.pkl")


# -- sequences --------------------------------------------------------------------------------------------------------


@pytest.fixture
def converted(tmp_path):
    """A data root with a converted pickle."""
    source = write_pickle(tmp_path / "mosi_data.pkl", community())
    assert mosi_convert.main([str(source), str(tmp_path / sequences.FOLDER / sequences.FILE)]) == 0
    return tmp_path


def test_converted_sequences(converted):
    content, dataset = community(), data.load("mosi_sequences", converted)
    assert dataset.modalities == ("audio", "visual", "text") and dataset.counts == {"train": 8, "val": 4, "test": 4}
    assert dataset.shapes == {"audio": (6, 2), "visual": (6, 3), "text": (6, 5)}
    stored = dataset.inputs["visual"][dataset.indices("val")]
    assert torch.equal(stored, torch.from_numpy(content["valid"]["vision"]).float())
    scores = content["test"]["labels"].ravel()
    assert dataset.target[dataset.indices("test")].tolist() == [int(s >= 0) for s in scores]
    assert dataset.ids[0] == "train_0_1.5"
    x, _ = dataset.batch(dataset.indices("train"))
    torch.testing.assert_close(x["text"].flatten(0, 1).mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)


@pytest.mark.parametrize("steps", [4, 9])
def test_sequences_are_cut_or_padded_on_request(converted, steps):
    dataset, whole = data.load("mosi_sequences", converted, steps=steps), data.load("mosi_sequences", converted)
    common = min(steps, 6)
    assert dataset.shapes["audio"] == (steps, 2)
    assert torch.equal(dataset.inputs["audio"][:, :common], whole.inputs["audio"][:, :common])
    assert dataset.batch(dataset.indices("train"))[0]["audio"][:, 6:].count_nonzero() == 0


def test_scores_of_zero(tmp_path):
    content = community()
    content["train"]["labels"][:3] = [[[0.0]], [[-0.1]], [[0.1]]]
    target = tmp_path / sequences.FOLDER / sequences.FILE
    mosi_convert.convert(write_pickle(tmp_path / "x.pkl", content), target)
    assert data.load("mosi_sequences", tmp_path).target[:3].tolist() == [1, 0, 1]
    dropped = data.load("mosi_sequences", tmp_path, zero="drop")
    assert dropped.counts["train"] == 7 and dropped.target[:2].tolist() == [0, 1]


def test_integer_labels_are_classes(tmp_path):
    content = community()
    for values in content.values():
        values["labels"] = np.arange(len(values["labels"])) % 2
    target = tmp_path / sequences.FOLDER / sequences.FILE
    mosi_convert.convert(write_pickle(tmp_path / "x.pkl", content), target)
    dataset = data.load("mosi_sequences", tmp_path, zero="drop")  # drops scores, not classes
    assert dataset.target[:4].tolist() == [0, 1, 0, 1]


def without(split, name):
    def change(content):
        del content[split][name]

    return change


def replaced(split, name, value):
    def change(content):
        content[split][name] = value(content[split][name]) if callable(value) else value

    return change


def set_entry(value, name="audio"):
    def change(content):
        content["valid"][name][2, 0, 0] = value

    return change


def renamed_split(content):
    content["extra"] = content.pop("test")


BAD = {
    "not finite": (set_entry(np.nan), "val/audio has values that are not finite in sample 'valid_2_1.5'"),
    "infinite": (set_entry(-np.inf), "val/audio has values that are not finite"),
    "wrong width": (replaced("test", "text", lambda x: x[:, :, :4]), r"test/text has \(6, 4\).*train/text \(6, 5\)"),
    "fewer samples": (replaced("train", "vision", lambda x: x[1:]), "train/visual has 7 samples, train/label has 8"),
    "score out of range": (set_entry(3.5, "labels"), "val/label has 3.5"),
    "class out of range": (replaced("test", "labels", np.array([0, 1, 2, 1])), "test/label has 2"),
    "several labels": (replaced("test", "labels", np.zeros((4, 2))), r"test/label has \[4, 2\]"),
    "no labels": (without("train", "labels"), "split 'train' has no labels"),
    "no text in one split": (without("valid", "text"), "part 'val' and part 'train' differ in 'text'"),
    "flat": (replaced("train", "audio", lambda x: x[:, 0]), r"train/audio is float32 \[8, 2\], not real numbers"),
    "words": (replaced("train", "text", np.array([["a"]])), "train/text is an array of <U1"),
    "unknown split": (renamed_split, "split 'extra' is unknown"),
    "missing split": (lambda content: content.pop("test"), "parts are 'train', 'val', not"),
    "list": (lambda content: content.update(train=[1]), "split 'train' is a list"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sequences_are_not_converted(tmp_path, name, capsys):
    change, message = BAD[name]
    content = community()
    change(content)
    source, target = write_pickle(tmp_path / "bad.pkl", content), tmp_path / "out" / "x.npz"
    with pytest.raises(ValueError, match=message):
        mosi_convert.convert(source, target)
    assert mosi_convert.main([str(source), str(target)]) == 1
    assert str(source) in capsys.readouterr().err and not target.parent.exists()


def test_infinite_values_become_zero_on_request(tmp_path):
    content = community()
    set_entry(-np.inf)(content)
    arrays = mosi_convert.convert(write_pickle(tmp_path / "x.pkl", content), tmp_path / "x.npz", zero_infinite=True)
    assert arrays["val"]["audio"][2, 0, 0] == 0 and np.isfinite(arrays["val"]["audio"]).all()


def test_a_failed_conversion_leaves_the_old_file(converted, tmp_path):
    target = converted / sequences.FOLDER / sequences.FILE
    before = target.read_bytes()
    content = community()
    set_entry(np.nan)(content)
    assert mosi_convert.main([str(write_pickle(tmp_path / "bad.pkl", content)), str(target)]) == 1
    assert target.read_bytes() == before and [p.name for p in target.parent.iterdir()] == [sequences.FILE]


def test_lengths_that_differ_need_a_common_one(tmp_path):
    content = community()
    for values in content.values():
        values["vision"] = np.concatenate([values["vision"]] * 2, axis=1)
    mosi_convert.convert(write_pickle(tmp_path / "x.pkl", content), tmp_path / sequences.FOLDER / sequences.FILE)
    with pytest.raises(ValueError, match="different lengths.*'visual': 12.*option steps"):
        data.load("mosi_sequences", tmp_path)
    assert data.load("mosi_sequences", tmp_path, steps=6).shapes["visual"] == (6, 3)


def test_bad_npz_files(converted):
    path = converted / sequences.FOLDER / sequences.FILE
    arrays = dict(np.load(path))
    np.savez(path, **arrays | {"val/audio": np.full_like(arrays["val/audio"], np.nan)})
    with pytest.raises(ValueError, match="sequences.npz: val/audio has values that are not finite"):
        data.load("mosi_sequences", converted)
    np.savez(path, **arrays | {"val/id": np.array([{}, 1, 2, 3], dtype=object)})  # a pickle inside the npz
    with pytest.raises(ValueError, match="no npz file of plain arrays"):
        data.load("mosi_sequences", converted)
    path.write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="no npz file of plain arrays.*mosi_convert"):
        data.load("mosi_sequences", converted)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="Make it from a pickle"):
        data.load("mosi_sequences", converted)


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
@pytest.mark.parametrize("steps", [0, 8])
def test_any_number_of_modalities(modalities, steps):
    dataset = data.load("triplet", samples=80, modalities=modalities, steps=steps)
    shape = (steps, triplet.SIZE) if steps else (triplet.SIZE,)
    assert dataset.modalities == ("strong", "weak_1", "weak_2", "weak_3", "weak_4")[:modalities]
    assert dataset.shapes == dict.fromkeys(dataset.modalities, shape)
    assert dataset.generated and Counter(dataset.target.tolist()) == dict.fromkeys(range(4), 20)
    fewer = data.load("triplet", samples=80, modalities=2, steps=steps)
    for m in fewer.modalities:
        assert torch.equal(dataset.inputs[m], fewer.inputs[m])  # a modality more changes none of the others


def test_sequences_show_the_class_in_a_window():
    dataset = data.load("triplet", samples=800, steps=12)
    y, everything = dataset.target, torch.ones(800, dtype=torch.bool)
    whole = centroid_accuracy(dataset.inputs["strong"].mean(dim=1), y, everything)
    first = centroid_accuracy(dataset.inputs["strong"][:, 0], y, everything)
    assert whole > 0.6 > 0.4 > first


def test_generated_sets_differ_by_their_options():
    base = data.load("triplet", samples=80)
    assert torch.equal(base.inputs["weak_2"], data.load("triplet", samples=80).inputs["weak_2"])
    others = [data.load("triplet", samples=80, **o) for o in ({"seed": 1}, {"steps": 4}, {"modalities": 4})]
    assert len({d.fingerprint for d in (base, *others)}) == 4
    assert not torch.equal(base.inputs["strong"], others[0].inputs["strong"])


@pytest.mark.parametrize(
    "options", [{"samples": 10}, {"modalities": 1}, {"modalities": 6}, {"steps": -1}, {"seed": -1}]
)
def test_generated_options_out_of_range(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        data.load("triplet", **options)
