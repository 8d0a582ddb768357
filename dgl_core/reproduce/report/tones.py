"""Give every verdict its colour and, for who does not see colours, its sign."""

from __future__ import annotations

import re

from dgl_core.reproduce.report.markup import escape

VERDICTS = {  # word -> sign and tone
    **dict.fromkeys(("yes", "reproduced", "better", "proved"), ("+", "good")),
    **dict.fromkeys(("no", "contradicted", "worse", "false"), ("−", "bad")),
    "practically equal": ("=", "open"),
    "conditional": ("~", "open"),
    **dict.fromkeys(("undecided", "open"), ("?", "open")),
    "not tested here": ("/", "open"),
}
VERDICT = re.compile(rf"({'|'.join(VERDICTS)})\b(?=[:,])")  # a cell of a table begins with one


def tag(word: str) -> str:
    """Write the badge of a verdict: sign, word, colour."""
    sign, tone = VERDICTS[word]
    return f'<span class="tag {tone}"><span aria-hidden="true">{sign}</span> {escape(word)}</span>'
