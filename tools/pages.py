"""Find README, the pages behind it, and the blocks of code that a reader copies from them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
COPIED = [README, ROOT / "docs" / "own_model.md"]  # pages with code that a reader copies


def snippets() -> list[str]:
    """List the Python blocks of pages that are copied from, README's first; each runs by itself."""
    return [
        block for page in COPIED for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    ]
