"""Try the package as a stranger does: from a wheel, in an empty folder, in fresh environments.

One has torch and numpy alone, each other one extra. What belongs to an environment runs in it; the rest says in one
sentence which extra to install. An environment takes about half a minute once its packages have been downloaded.

python -m tools.empty_folder                                   # core, every extra, all: needs a package index
python -m tools.empty_folder --only core media --torch torch==2.13.0 --folder there      # kept; "there" is new
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Collection, Iterator
from pathlib import Path

from tools.pages import ROOT, snippets

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "dgl_core")
CORE = "core"
NOT_TRIED = ("test", "hosted")  # for the tests of a checkout, and beside somebody else's Jupyter
SENTENCE = re.compile(r"need .*, which is not installed: pip install 'dgl-core\[(\w+)\]'$")

# The part of each extra.
PARTS = {
    "data": """
from dgl_core import RunSpec, load_or_run
from dgl_core.verdicts import comparison
print(load_or_run([RunSpec("triplet", "dgl", "mlp", epochs=1, milestones=())])[0].score())
""",
    "media": """
import numpy as np
from pathlib import Path
from dgl_core.data.media.video import Frames, pyav, read_video
av = pyav()
with av.open("clip.mp4", "w") as file:
    stream = file.add_stream("mpeg4", rate=10)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    for grey in range(0, 200, 20):
        picture = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
        file.mux(stream.encode(picture))
    file.mux(stream.encode())
print(read_video(Path("clip.mp4"), Frames(rule="even", count=3, size=32), sound=False))
""",
    "notebooks": """
from dgl_core.figures.theory.widgets import gate_explorer
print(gate_explorer(steps=20))
""",
    "cluster": """
import importlib.util
from dgl_core import RunSpec
from dgl_core.runs.run import run_all
from dgl_core.runs.workers import dask_workers
address, cluster = "tcp://127.0.0.1:1", None
if importlib.util.find_spec("distributed"):
    from distributed import LocalCluster
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None)
    address = cluster.scheduler_address
with dask_workers(address) as client:
    print(run_all([RunSpec("triplet", "vanilla", "mlp", epochs=1, milestones=())], client=client)[0].score())
cluster.close()
""",
    "nyuv2": """
import importlib.util
import numpy as np
from pathlib import Path
from dgl_core.data.sets.convert.nyuv2 import official_pictures
if importlib.util.find_spec("h5py"):
    import h5py
    with h5py.File("labeled.mat", "w") as file:
        file["images"] = np.zeros((1, 3, 8, 6), np.uint8)
        file["depths"], file["labels"] = np.ones((1, 8, 6), np.float32), np.zeros((1, 8, 6), np.int64)
print(next(official_pictures(Path("labeled.mat"), np.arange(41), full=True)))
""",
    "export": """
import numpy as np
import torch
from torch import nn
from dgl_core import ArrayDataset, ConcatFusion, LateFusion, fit, load_model, random_split
x, y = np.random.default_rng(0).normal(size=(60, 6)).astype("float32"), np.arange(60) % 3
dataset = ArrayDataset({"a": x, "b": x[:, :4]}, y, random_split(y))
model = LateFusion({"a": nn.Linear(6, 8), "b": nn.Linear(4, 8)}, ConcatFusion({"a": 8, "b": 8}, classes=3))
fit(model, "dgl", dataset, epochs=1, batch_size=20, save="weights")
predictor = load_model("weights")
path = predictor.export("model.onnx")
import onnxruntime
found = onnxruntime.InferenceSession(path).run(None, {"a": x, "b": x[:, :4]})[0]
expected = predictor.outputs({"a": torch.from_numpy(x), "b": torch.from_numpy(x[:, :4])})
assert np.abs(found - expected.numpy()).max() < 1e-5
""",
}
COMMANDS = {  # words -> the extra that they need
    ("--help",): CORE,
    ("claims", "dgl-vanilla"): "data",
    ("train", "dataset=triplet", "model=mlp", "method=dgl", "epochs=1", "milestones=[]"): "data",
}
# Runs pieces of code one after the other in one interpreter: {name: code} comes in, lines "\0[name, said]" go out.
TRY = """
import json, sys
for name, code in json.load(sys.stdin).items():
    said = "works"
    try:
        exec(compile(code, name, "exec"), {"__name__": "reader"})
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    print("\\0" + json.dumps([name, said]), flush=True)
"""


def wheel(folder: Path, *options: str) -> Path:
    """Build the wheel from a copy, because setuptools leaves a build folder beside the sources; ``options`` of pip."""
    source = folder / "source"
    source.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    words = ["wheel", "--quiet", "--no-deps", *options, "--wheel-dir", str(folder), str(source)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (built,) = folder.glob("dgl_core-*.whl")
    return built


def closures() -> dict[str, set[str]]:
    """Which extras each environment has: {"core": {"core"}, "media": {"core", "data", "media"}, "all": ...}."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]

    def brought(extra: str) -> set[str]:
        named = [re.match(r"dgl-core\[(.*)\]", text) for text in extras[extra]]
        others = {name for match in named if match for name in match[1].split(",")}
        return {extra}.union(*map(brought, others))

    return {CORE: {CORE}} | {extra: {CORE} | brought(extra) for extra in extras if extra not in NOT_TRIED}


def environment(place: Path, *requirements: str) -> Path:
    """Make a fresh environment, by uv where it is installed (it links what it has downloaded once), else by pip."""
    uv = shutil.which("uv")
    venv.create(place, with_pip=not uv)
    (programs,) = [path for name in ("bin", "Scripts") if (path := place / name).is_dir()]
    python = str(programs / "python")
    installer = [uv, "pip", "install", "--python", python] if uv else [python, "-m", "pip", "install"]
    subprocess.run([*installer, "--quiet", *requirements], check=True)
    return programs


def judged(said: str, part: str, here: Collection[str]) -> str:
    """Judge what a piece of code said: it works where its extra is, else names a missing extra in a sentence."""
    sentence = SENTENCE.search(said)
    if part in here:
        return "works" if said == "works" else f"FAILED: {said}"
    return f"asks for [{sentence[1]}]" if sentence and sentence[1] not in here else f"FAILED: no sentence, but {said}"


def tried(programs: Path, empty: Path, here: Collection[str]) -> Iterator[tuple[str, str]]:
    """Run every block, part and command in an environment that has the extras ``here``; yields (what, judgement)."""
    blocks = {f"block {n}": code for n, code in enumerate(snippets(), start=1)}
    codes = blocks | {f"part of [{extra}]": code for extra, code in PARTS.items()}
    belongs = {what: "data" if "compare(" in code else CORE for what, code in blocks.items()}
    belongs |= {f"part of [{extra}]": extra for extra in PARTS}
    words = [programs / "python", "-c", TRY]
    run = subprocess.run(words, cwd=empty, input=json.dumps(codes), capture_output=True, text=True)
    said = dict(json.loads(line[1:]) for line in run.stdout.splitlines() if line.startswith("\0"))
    for what, part in belongs.items():
        yield what, judged(said.get(what, f"the interpreter ended: {run.stderr[-300:]}"), part, here)
    for words, part in COMMANDS.items():
        run = subprocess.run([programs / "dgl", *words], cwd=empty, capture_output=True, text=True)
        one = run.returncode == 2 and len(run.stderr.splitlines()) == 1
        yield f"dgl {words[0]}", judged(run.stderr.strip() if one or run.returncode else "works", part, here)


def main(arguments: list[str]) -> int:
    known = closures()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=known, default=list(known), help="these environments")
    parser.add_argument("--torch", default="torch", metavar="REQUIREMENT", help="which torch (torch==2.13.0)")
    parser.add_argument("--folder", metavar="DIR", help="a new folder, which is kept; a temporary one by default")
    options = parser.parse_args(arguments)
    folder = Path(options.folder or tempfile.mkdtemp(prefix="dgl_wheel_")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    built, failed = wheel(folder), 0
    for name in options.only:
        empty = folder / f"empty_{name}"
        empty.mkdir()
        extra = "" if name == CORE else f"[{name}]"
        programs = environment(folder / f"venv_{name}", options.torch, f"{built}{extra}")
        for what, found in tried(programs, empty, known[name]):
            print(f"{name}: {what}: {found}", flush=True)
            failed += found.startswith("FAILED")
    print(f"{len(options.only)} environments, {failed} failures")
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
