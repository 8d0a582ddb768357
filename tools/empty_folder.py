"""Try the package as a stranger does: from a wheel, in an empty folder, in a fresh environment of torch and numpy.

python -m tools.empty_folder [FOLDER]      # needs pip and a package index; FOLDER, by default a temporary one, is kept
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from tools.pages import ROOT, snippets

SOURCES = ("pyproject.toml", "README.md", "LICENSE", "dgl_core")
COMMANDS = (
    ["--help"],
    ["claims", "dgl-vanilla"],
    ["train", "dataset=triplet"],
    ["audit", "1"],
)  # the last three refuse


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


def main(arguments: list[str]) -> int:
    folder = Path(arguments[0] if arguments else tempfile.mkdtemp(prefix="dgl_wheel_")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    built, empty = wheel(folder), folder / "empty"
    empty.mkdir()
    venv.create(folder / "venv", with_pip=True)
    (bin_,) = [path for name in ("bin", "Scripts") if (path := folder / "venv" / name).is_dir()]
    subprocess.run([bin_ / "python", "-m", "pip", "install", "--quiet", built], check=True)
    failed = 0
    for number, snippet in enumerate(snippets(), start=1):
        code = subprocess.run([bin_ / "python", "-c", snippet], cwd=empty).returncode
        print(f"block {number}: {'works' if code == 0 else f'FAILED with status {code}'}", flush=True)
        failed += code != 0
    for words in COMMANDS:
        run = subprocess.run([bin_ / "dgl", *words], cwd=empty, capture_output=True, text=True)
        said = (run.stderr or run.stdout).splitlines()
        told = run.returncode == 0 or len(said) == 1 and "pip install 'dgl-core[" in said[0]
        print(f"dgl {' '.join(words)}: {'as it should' if told else 'FAILED'}: {said[0]}", flush=True)
        failed += not told
    return min(failed, 1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
