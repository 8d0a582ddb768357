"""Renew what README and its pages show from records and code, the ledger, and the digest that a wheel carries.

python -m tools.readme          # writes
python -m tools.readme --check  # exit status 1 if something is stale
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dgl_core.data.catalogue import licences
from dgl_core.data.files.atomic import write_atomic
from dgl_core.figures import answers, style
from dgl_core.paper import costs
from dgl_core.paper.answers import sensitivity
from dgl_core.paper.claims import digest, judging
from dgl_core.paper.tables.results import markdown_table
from dgl_core.utils import ROOT
from dgl_core.verdicts.registration import CARRIED, PATH
from tools.pages import README

LEDGER, PICTURE = ROOT / "results" / "ledger.md", ROOT / "results" / "answers.png"
BLOCKS = {  # page -> what stands in it between two markers
    README: ("answers", judging.ten_lines),
    ROOT / "docs" / "data.md": ("data", licences),
    ROOT / "docs" / "paper_size.md": ("operations", costs.operations_table),
}


def replace_block(text: str, begin: str, end: str, content: str) -> str:
    """Replace what stands between two marker lines of ``text``.

    Raises:
        ValueError: a marker is missing.
    """
    if begin not in text or end not in text:
        raise ValueError(f"no block to renew: put the lines {begin!r} and {end!r} where it belongs.")
    head, rest = text.split(begin, 1)
    return f"{head}{begin}\n{content.strip()}\n{end}{rest.split(end, 1)[1]}"


def renewed(page: Path, text: str) -> str:
    """Make the block of a page's text anew."""
    name, table = BLOCKS[page]
    return replace_block(text, f"<!-- {name}:begin -->", f"<!-- {name}:end -->", markdown_table(table()))


def ledger() -> str:
    """Write the page of the ledger: every claim on every set, by family, with what follows for a user."""
    known, cells = judging.decided()
    schedules = sensitivity.long_enough(sensitivity.longer())
    parts = [HEAD.format(decided=known, cells=cells, schedules=schedules)]
    for family, table in judging.ledger_page().items():
        parts.append(f"## {TITLES.get(family, family.capitalize())}\n\n{markdown_table(table)}")
    return "\n\n".join(parts) + "\n"


HEAD = """# The ledger: every claim, and how it fares

Each line is one claim on one data set. The questions, rows, sets, branches, deltas and looks were fixed in
[registration.toml](registration.toml) before the first confirming run, and git proves it. A word comes from one place:
*reproduced* and *contradicted* judge what the paper says, *better*, *worse* and *practically equal* what we ask beside
it. *Better* and *worse*: the interval, corrected for the family, excludes 0. *Practically equal*: two one-sided tests
put the difference within delta. *Undecided*: neither; the line says how many replicates would decide. *Not tested
here*: the line says what the set lacks. P(A > B) is the share of replicates in which the claim's side wins. What the
registered looks left open was in part asked again by a [follow-up study](confirming/followup.toml), fixed before its
own runs: fresh replicates, a family of its own, 5 % of its own. {decided} of the {cells} testable cells are decided.

The sets: generated emotions and GRID letters have sound and picture; three hard vectors are generated features whose
two weak modalities an encoder has to learn, in three plain ones they show the class from the start; CMU-MOSI has sound,
picture and text; rooms and NYUv2 have colour and depth. Of generated sets a replicate draws its own data. Of real ones
test items and seeds are resampled, items of one video or one place as one; a picture of NYUv2 counts with what it adds
to mean intersection over union.

Each word is about the length of training that was registered. {schedules}
Notebook 08 shows the headline with twice the epochs.

`python -m dgl_core claims ID` lists what a line rests on, `--rerun` earns it again on fresh replicates, `--mine DIR`
judges your own records by the same rule. Whatever else notebooks show describes: it comes from exploratory runs, which
were made before the registration."""
TITLES = {
    "mathematics": "What the equations prove",
    "headline": "DGL against what a user could do instead",
    "branches": "What each encoder learns",
    "mechanism": "Gradients and suppression",
    "truncations": "The two truncations",
    "conditions": "Fusion heads, alpha, fusion inside the encoders",
    "dense": "Dense prediction",
}


def picture() -> bytes:
    """Draw the picture at the top of README: the ten questions on every set, as PNG."""
    style.apply()
    return answers.verdicts(judging.ten()).png()


def pages() -> dict[Path, str]:
    """Make the text of every page and file that follows from records and code."""
    texts = {page: renewed(page, page.read_text("utf-8")) for page in BLOCKS}
    return texts | {LEDGER: ledger(), digest.PATH: digest.made(), CARRIED: PATH.read_text("utf-8")}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.readme", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if something is stale")
    check = parser.parse_args(arguments).check
    made = pages()
    stale = [path for path, text in made.items() if not path.exists() or path.read_text("utf-8") != text]
    names = ", ".join(path.name for path in stale)
    if check:
        if stale:
            print(f"stale: {names}; run python -m tools.readme", file=sys.stderr)
        return int(bool(stale))
    for path in stale:
        write_atomic(path, made[path])
    write_atomic(PICTURE, picture())
    print(f"renewed: {names}" if stale else "all pages are current")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
