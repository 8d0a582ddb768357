"""Give every verdict its colour and, for who does not see colours, its sign."""

from __future__ import annotations

import re

from dgl_core.reproduce.report.markup import escape

SIGNS = {"good": "✓", "bad": "✗", "open": "○"}
TONES = {
    **dict.fromkeys(("reproduced", "better", "yes", "proved"), "good"),
    **dict.fromkeys(("contradicted", "worse", "no", "false"), "bad"),
    **dict.fromkeys(("undecided", "practically equal", "not tested here", "conditional", "open"), "open"),
}
VERDICT = re.compile(rf"({'|'.join(TONES)})\b(?=[:,])")  # a cell of a table begins with one


def tag(word: str) -> str:
    """Write the badge of a verdict: sign, word, colour."""
    tone = TONES[word]
    return f'<span class="tag {tone}"><span aria-hidden="true">{SIGNS[tone]}</span> {escape(word)}</span>'
