"""A private set, from files to a compared, saved, reloaded and predicting model in 20 lines that a newcomer writes."""

from __future__ import annotations

import numpy as np
import pandas
import pytest
import torch

from dgl_core.paper.claims.command import main as claims
from dgl_core.training.saving.weights import load_model

CLIPS, SPEAKERS, WORDS = 120, 12, 40
TWO = """
import numpy as np, pandas
from torch import nn
from dgl_core import ArrayDataset, ConcatFusion, LateFusion, compare, fit, load_model, random_split

table = pandas.read_csv("clips.csv")
sound, face = (np.stack([np.load(f"{clip}.{kind}.npy") for clip in table["clip"]]) for kind in ("sound", "face"))
parts = random_split(table["emotion"], groups=table["speaker"])
dataset = ArrayDataset({"sound": sound, "face": face}, table["emotion"], parts, groups=table["speaker"])

def model():
    encoders = {"sound": nn.Linear(20, 8), "face": nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU())}
    return LateFusion(encoders, ConcatFusion({"sound": 8, "face": 8}, classes=len(dataset.classes)))

found = compare(model, dataset, ["vanilla", "dgl"], rates=[0.01, 0.1], seeds=2, folder="runs", epochs=4, batch_size=16)
record = fit(model, "dgl", dataset, lr=found.rows["dgl"].rate, epochs=4, batch_size=16, save="weights")
answer = load_model("weights").predict({"sound": sound[:3]}, keep=("sound",))
print(found, record.score(), answer.labels, answer.of("happy"), sep="\\n")
"""
THREE = """
import numpy as np, pandas
from torch import nn
from dgl_core import ArrayDataset, ConcatFusion, LateFusion, compare, fit, load_model, random_split

table = pandas.read_csv("clips.csv")
kinds = ("sound", "face", "text")
inputs = {kind: np.stack([np.load(f"{clip}.{kind}.npy") for clip in table["clip"]]) for kind in kinds}
parts = random_split(table["emotion"], groups=table["speaker"])
dataset = ArrayDataset(inputs, table["emotion"], parts, groups=table["speaker"], tokens=("text",), weights="balanced")

def model():
    face = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU())
    encoders = {"sound": nn.Linear(20, 8), "face": face, "text": nn.EmbeddingBag(40, 8)}
    return LateFusion(encoders, ConcatFusion(dict.fromkeys(kinds, 8), classes=len(dataset.classes)))

found = compare(model, dataset, ["vanilla", "dgl"], rates=[0.01, 0.1], seeds=2, folder="runs", epochs=4, batch_size=16)
record = fit(model, "dgl", dataset, lr=found.rows["dgl"].rate, epochs=4, batch_size=16, save="weights")
answer = load_model("weights").predict({"text": inputs["text"][:3], "face": inputs["face"][:3]}, keep=("text", "face"))
print(found, record.score(), answer.labels, answer.of("happy"), sep="\\n")
"""


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A folder with a table of clips and three files of each: sound [20], face [3, 4, 4], text [6] (word numbers)."""
    rng = np.random.default_rng(0)
    emotion = rng.choice(["happy", "sad", "calm"], CLIPS)
    table = pandas.DataFrame({"clip": [f"clip{n}" for n in range(CLIPS)], "emotion": emotion,
                              "speaker": [f"speaker {n % SPEAKERS}" for n in range(CLIPS)]})  # fmt: skip
    table.to_csv(tmp_path / "clips.csv", index=False)
    for clip, name in zip(table["clip"], emotion, strict=True):
        mark = ["happy", "sad", "calm"].index(name)
        np.save(tmp_path / f"{clip}.sound.npy", rng.normal(size=20) + 2 * np.eye(20)[mark])
        np.save(tmp_path / f"{clip}.face.npy", rng.normal(size=(3, 4, 4)) + mark)
        np.save(tmp_path / f"{clip}.text.npy", rng.integers(0, WORDS, 6))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("program", "modalities"), [(TWO, 2), (THREE, 3)], ids=["two", "three, one of tokens"])
def test_twenty_lines_from_files_to_predictions(program, modalities, files, capsys):
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    scope: dict = {}
    exec(compile(program, "mine.py", "exec"), scope)
    out, err = capsys.readouterr()
    assert not err or "fell to chance" in err
    names = ["sound", "face", "text"][:modalities]
    assert list(scope["found"].rows) == ["vanilla", "dgl", "ensemble", *(f"{m} alone" for m in names)]
    assert all(row in out for row in scope["found"].rows) and set(scope["answer"].labels) <= {"happy", "sad", "calm"}
    dataset, mine = scope["dataset"], load_model(files / "weights" / "last.safetensors")
    assert mine.score(dataset)["accuracy"] == pytest.approx(scope["record"].score(), rel=1e-5)
    speakers = dict(zip(dataset.groups, dataset.split, strict=True))
    assert all(speakers[s] == part for s, part in zip(dataset.groups, dataset.split, strict=True))
    assert len(list((files / "runs").glob("*.json"))) == 3 * 2 * 2
    said = claims(["--mine", "runs"]), *capsys.readouterr()
    assert said[0] == 0 and "arrays (custom)" in said[1] + said[2]


def test_the_same_lines_on_the_same_files_give_the_same_numbers(files, capsys):
    scopes: list[dict] = [{}, {}]
    for scope in scopes:
        exec(compile(TWO, "mine.py", "exec"), scope)  # the second time its runs are found
    one, other = (scope["answer"].scores for scope in scopes)
    assert torch.equal(one, other) and str(scopes[0]["found"]) == str(scopes[1]["found"])
