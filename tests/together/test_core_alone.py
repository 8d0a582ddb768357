"""The core needs torch and numpy alone; every other package is asked for by name, with the extra that brings it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from few_packages import ALONE, importable_with

from dgl_core.utils import EXTRA_OF, ROOT, MissingPackage, importable, needs
from tools.pages import snippets

HOUSE = ROOT / "dgl_core"
CORE = {"torch", "numpy"}
DOORS = {"reproduce/engine.py": "reproduce/execute.py"}  # a file that is only imported by the one that asks
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "jinja2": "Jinja2", "pygments": "Pygments",
                 "myst_parser": "myst-parser"}  # fmt: skip
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
SNIPPETS = snippets()


def alone(code: str) -> subprocess.CompletedProcess:
    """Run code in an interpreter that finds no package but torch, numpy and what they need."""
    words = [sys.executable, "-c", ALONE % sorted({*importable_with(*CORE), "dgl_core"}) + code]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=300)


def third_party(path: Path) -> set[str]:
    """Packages that a file imports when it runs: not of Python, not of the house, not for type checkers alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        found |= {name.partition(".")[0] for name in names}
    return found - set(sys.stdlib_module_names) - {"dgl_core"} - CORE


def asked_for(path: Path) -> set[str]:
    """Packages for which a file, or a folder that it lies in, calls ``needs`` or ``importable``."""
    found = set()
    for file in [path, *(folder / "__init__.py" for folder in path.parents if folder.is_relative_to(HOUSE))]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in {"needs", "importable"}
            ):
                words = node.args[node.func.id == "needs" :]
                found |= {word.value for word in words if isinstance(word, ast.Constant)}
    door = DOORS.get(path.relative_to(HOUSE).as_posix())
    return found | (asked_for(HOUSE / door) if door else set())


@pytest.mark.parametrize("path", sorted(HOUSE.rglob("*.py")), ids=lambda p: p.relative_to(HOUSE).as_posix())
def test_a_package_outside_the_core_is_asked_for_before_it_is_imported(path):
    missing = third_party(path) - asked_for(path)
    assert not missing, f"{path.name} imports {sorted(missing)}: call utils.needs before, or leave them out"


@pytest.mark.parametrize(("package", "extra"), sorted(EXTRA_OF.items()))
def test_the_extra_that_a_sentence_names_brings_the_package(package, extra):
    brought = {re.split(r"[<>=\[]", text)[0] for text in EXTRAS[extra]}
    assert DISTRIBUTIONS.get(package, package) in brought


def test_all_brings_every_extra_that_a_part_of_this_project_runs_on():
    """Writing ONNX is for other programs; what a hosted Jupyter takes is a choice from the others."""
    (everything,) = EXTRAS["all"]
    others = {"all", "test", "export", "hosted"}
    assert set(re.findall(r"\w+", everything)) - {"dgl", "core"} == EXTRAS.keys() - others
    names = {extra: {re.split("[<>=]", text)[0] for text in texts} for extra, texts in EXTRAS.items()}
    assert names["hosted"] <= set().union(*(names[extra] for extra in EXTRAS.keys() - others))


def test_the_own_model_blocks_of_readme_run_on_torch_and_numpy_alone():
    alone_too = [snippet for snippet in SNIPPETS if "compare" not in snippet]  # verdicts need scipy
    assert len(alone_too) >= 4
    code = "\n".join(f"exec({snippet!r}, {{}})" for snippet in alone_too)
    run = alone(code)
    assert run.returncode == 0, run.stderr
    assert "Fused accuracy" in run.stdout


def test_every_method_but_the_one_that_clusters_trains_arrays_on_torch_and_numpy_alone():
    """Each of them for an epoch; a method that needs more says so before it trains."""
    code = """
import numpy as np
from torch import nn
from dgl_core import METHODS, ArrayDataset, ConcatFusion, LateFusion, fit, random_split
from dgl_core.utils import MissingPackage
x, y = np.random.default_rng(0).normal(size=(60, 6)), np.arange(60) % 3
dataset = ArrayDataset({"a": x, "b": x[:, :4]}, y, random_split(y))
for method in METHODS:
    widths = {"a": 8, "b": 8} if method != "unimodal" else {"a": 8}
    encoders = {m: nn.Linear(dataset.shapes[m][0], 8) for m in widths}
    options = {"modality": "a"} if method == "unimodal" else {}
    try:
        fit(LateFusion(encoders, ConcatFusion(widths, classes=3)), method, dataset, epochs=1, batch_size=20, **options)
        print(method, "trained")
    except MissingPackage as error:
        print(method, error)
    except ValueError as error:
        print(method, "is for other models:", error)
"""
    run = alone(code)
    assert run.returncode == 0, run.stderr
    said = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    assert said.pop("relearn") == (
        "The clusters of relearn need sklearn, which is not installed: pip install 'dgl-core[data]'"
    )
    other = {method for method, text in said.items() if text != "trained"}
    assert other <= {"dgl_dense"} and len(said) - len(other) >= 15, said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["claims"], "The tables and claims of the paper need pandas"),
        (["reproduce", "--profile", "smoke"], "need"),
        (["train", "dataset=triplet"], "Data sets by name need scipy"),
    ],
    ids=["claims", "reproduce", "train"],
)
def test_a_command_that_lacks_an_extra_is_one_sentence_with_the_line_to_type(words, sentence):
    run = alone(f"from dgl_core.__main__ import main; sys.exit(main({words!r}))")
    assert run.returncode == 2 and run.stdout == ""
    assert re.fullmatch(rf"error: .*{sentence}.*, which is not installed: pip install 'dgl-core\[\w+\]'\n", run.stderr)


def test_a_model_is_diagnosed_from_the_command_line_on_torch_and_numpy_alone(tmp_path):
    """Without pandas the words are there and the table is left out."""
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\nfrom dgl_core import ConcatFusion, LateFusion\n"
        "def make():\n"
        "    model = LateFusion({m: nn.Linear(4, 3) for m in 'ab'}, ConcatFusion({'a': 3, 'b': 3}, classes=2))\n"
        "    return model, [({m: torch.randn(16, 4) for m in 'ab'}, torch.arange(16) % 2)]\n"
    )
    run = alone(
        f"from dgl_core.__main__ import main; sys.exit(main(['diagnose', {str(tmp_path / 'mine.py')!r} + ':make']))"
    )
    assert run.returncode == 0 and run.stdout.startswith("Fused accuracy "), run.stderr


def test_the_sentence_names_the_package_and_is_an_import_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert not importable("h5py") and importable("numpy")
    with pytest.raises(MissingPackage, match=r"^Files need h5py, which .*: pip install 'dgl-core\[nyuv2\]'$") as caught:
        needs("Files", "h5py")
    assert isinstance(caught.value, ImportError) and caught.value.name == "h5py"
    needs("Files", "PIL")


def test_the_public_face_is_typed():
    assert (HOUSE / "py.typed").is_file()
    face = ast.parse((HOUSE / "__init__.py").read_text(encoding="utf-8"))
    told = {a.name for node in ast.walk(face) if isinstance(node, ast.ImportFrom) for a in node.names}
    import dgl_core

    assert set(dgl_core.__all__) <= told, "a name that type checkers do not see does not exist for them"


@pytest.mark.skipif(not importable("mypy"), reason="mypy is not here: pip install mypy")
def test_the_type_checker_finds_nothing(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path], cwd=ROOT, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout
