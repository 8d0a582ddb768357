"""Renew what README shows from records and code: the answers, the claims, the data and the overview picture.

python -m tools.readme          # writes
python -m tools.readme --check  # exit status 1 if something is stale
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgl_core import utils
from dgl_core.data.catalogue import licences
from dgl_core.data.files.atomic import write_atomic
from dgl_core.figures import curves, style
from dgl_core.paper import costs
from dgl_core.paper.claims import judging, records
from dgl_core.paper.tables import equal_budget
from dgl_core.paper.tables.results import markdown_table

README = Path(__file__).resolve().parent.parent / "README.md"
BLOCKS = {
    name: (f"<!-- {name}:begin -->", f"<!-- {name}:end -->") for name in ("answers", "claims", "data", "operations")
}


def texts() -> dict[str, str]:
    """What belongs between the markers of each block."""
    tables = {"answers": equal_budget.answers_table(), "claims": judging.ledger_table(), "data": licences()}
    tables["operations"] = costs.operations_table()
    return {name: markdown_table(table) for name, table in tables.items()}


def replace_block(text: str, begin: str, end: str, content: str) -> str:
    """Replace what stands between two marker lines of ``text``.

    Raises:
        ValueError: a marker is missing.
    """
    if begin not in text or end not in text:
        raise ValueError(f"no block to renew: put the lines {begin!r} and {end!r} where it belongs.")
    head, rest = text.split(begin, 1)
    return f"{head}{begin}\n{content.strip()}\n{end}{rest.split(end, 1)[1]}"


def renewed(readme: str) -> str:
    """README with every block made anew."""
    for name, text in texts().items():
        readme = replace_block(readme, *BLOCKS[name], text)
    return readme


def overview() -> bytes:
    """The picture at the top: every row of notebook 03 on the reference sets, as PNG."""
    style.apply()
    return curves.row_overview(records.reference_groups()).png()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.readme", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if something is stale")
    check = parser.parse_args(arguments).check
    before = README.read_text()
    after = renewed(before)
    if check:
        if after != before:
            print("README.md is stale: run python -m tools.readme", file=sys.stderr)
        return int(after != before)
    write_atomic(README, after)
    write_atomic(utils.reference_root() / "overview.png", overview())
    print(f"README.md: {'renewed' if after != before else 'already current'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
