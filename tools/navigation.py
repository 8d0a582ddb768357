"""Write what stands around every notebook: the way to its neighbours, launch buttons, the cell that finds the package.

    python -m tools.navigation          # writes
    python -m tools.navigation --check  # exit status 1 if something is stale

Neighbours come from the folder's listing, so that a new notebook has its place. The address of the repository stands in
one place, ``Repository`` under ``[project.urls]`` of pyproject.toml; without it there are no launch buttons.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib

from dgl_core.data.files.atomic import write_atomic
from dgl_core.reproduce.execute import NOTEBOOKS, notebook_names
from dgl_core.utils import ROOT
from tools.readme import README, replace_block

OWN = ("navigation", "bootstrap")  # tags of the cells that this tool writes
BLOCK = ("<!-- launch:begin -->", "<!-- launch:end -->")  # in README
CELL = re.compile(r"^# %%.*$", re.MULTILINE)
TELLS = """
        f"This kernel has no {missing.name}. Open the notebook by `make lab`, or install the project into the "
        "kernel by %pip install -e '..[notebooks]' and restart it."
"""
FOUND = f"""\
# %% jupyter={{"source_hidden": true}} tags=["bootstrap"]
try:
    import dgl_core.reproduce.notebook
except ImportError as missing:
    raise ModuleNotFoundError({TELLS}    ) from None

"""
FETCHED = f"""\
# %% jupyter={{"source_hidden": true}} tags=["bootstrap"]
try:
    import dgl_core.reproduce.notebook
except ImportError as missing:
    import os
    import subprocess
    import sys

    if "COLAB_RELEASE_TAG" not in os.environ:
        raise ModuleNotFoundError({TELLS.replace("        ", "            ")}        ) from None
    subprocess.run(["git", "clone", "--depth=1", "REPOSITORY", "dgl"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "dgl[hosted]"], check=True)
    sys.path.insert(0, os.path.abspath("dgl"))

"""


def repository(pyproject: str) -> str:
    """Read the public address of the repository, "https://github.com/OWNER/NAME"; empty where there is none yet.

    Raises:
        ValueError: the address is none of a repository on GitHub, where all three launch buttons look.
    """
    address = tomllib.loads(pyproject)["project"].get("urls", {}).get("Repository", "").removesuffix("/")
    if address and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise ValueError(f"Repository = {address!r}: launch buttons need an address https://github.com/OWNER/NAME")
    return address


def launch(name: str, address: str) -> str:
    """Write the launch buttons of a notebook as one line of links; empty without an address."""
    if not address:
        return ""
    place = address.removeprefix("https://github.com/")
    path = f"notebooks/{name}.ipynb"
    links = {
        "Colab": f"https://colab.research.google.com/github/{place}/blob/main/{path}",
        "Binder": f"https://mybinder.org/v2/gh/{place}/main?urlpath=lab/tree/{path}",
        "Codespaces": f"https://codespaces.new/{place}?quickstart=1",
    }
    return "Run it in " + " · ".join(f"[{where}]({link})" for where, link in links.items()) + " (not tested there)"


def navigation(name: str, names: list[str], address: str) -> str:
    """Write the line below a notebook's title: the one before, the contents, the one after, launch buttons."""
    place, contents = names.index(name), names[0]
    before, after = names[max(0, place - 1) : place], names[place + 1 : place + 2]
    links = [f"[← {spoken(other)}]({other}.ipynb)" for other in before if other != contents]
    links += [f"[contents]({contents}.ipynb)"] if name != contents else []
    links += [f"[{spoken(other)} →]({other}.ipynb)" for other in after]
    return "  \n# ".join(filter(None, [" · ".join(links), launch(name, address)]))


def spoken(name: str) -> str:
    return name.replace("_", " ")


def framed(source: str, name: str, names: list[str], address: str) -> str:
    """Put the two cells below the title of a notebook's source, in the place of those that stood there."""
    starts = [match.start() for match in CELL.finditer(source)]
    head, cells = source[: starts[0]], [source[a:b] for a, b in zip(starts, [*starts[1:], None], strict=True)]
    title, *others = [cell for cell in cells if not re.match(rf'# %%.*tags=\["(?:{"|".join(OWN)})"\]', cell)]
    way = f'# %% [markdown] tags=["navigation"]\n# {navigation(name, names, address)}\n\n'
    package = FETCHED.replace("REPOSITORY", address) if address else FOUND
    return "".join([head, title, way, package, *others])


def renewed(pyproject: str) -> dict[str, str]:
    """Make anew every notebook's source and README: path below the project -> text."""
    address, names = repository(pyproject), notebook_names()
    texts = {
        f"notebooks/{name}.py": framed((NOTEBOOKS / f"{name}.py").read_text(encoding="utf-8"), name, names, address)
        for name in names
    }
    readme = replace_block(README.read_text(encoding="utf-8"), *BLOCK, launch(names[0], address))
    return texts | {README.name: readme}


def main(words: list[str]) -> int:
    """Write what is stale, or with ``--check`` only name it; 1 if something was."""
    parser = argparse.ArgumentParser(prog="python -m tools.navigation", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    check = parser.parse_args(words).check
    stale = 0
    for path, text in renewed((ROOT / "pyproject.toml").read_text(encoding="utf-8")).items():
        if (ROOT / path).read_text(encoding="utf-8") != text:
            stale += 1
            print(path, "is stale" if check else "written")
            if not check:
                write_atomic(ROOT / path, text)
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
