"""README shows what the records and the code say, and its snippets run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tools import readme

TEXT = (Path(__file__).resolve().parents[2] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


def test_generated_blocks_are_current():
    assert readme.renewed(TEXT) == TEXT, "run python -m tools.readme"
    assert readme.LEDGER.read_text() == readme.ledger(), "run python -m tools.readme"


def test_a_stale_block_is_noticed():
    begin, end = readme.BLOCKS["answers"]
    head, rest = TEXT.split(begin, 1)
    stale = head + begin + "\n| an old claim |\n" + end + rest.split(end, 1)[1]
    assert readme.renewed(stale) == TEXT


def test_a_missing_marker_is_an_error():
    with pytest.raises(ValueError, match="answers:begin"):
        readme.renewed("no markers here")


def test_there_are_snippets():
    assert len(SNIPPETS) >= 2


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_snippet_runs(snippet, capsys):
    exec(compile(snippet, "README.md", "exec"), {})


def test_the_first_snippet_routes_gradients_as_it_says():
    import torch
    import torch.nn.functional as F

    scope: dict = {}
    keep = "gradients = {n: p.grad.clone() for n, p in model.named_parameters()}"
    body = SNIPPETS[0].replace("optimizer.step()", keep)
    exec(compile(body, "README.md", "exec"), scope)
    model, inputs, target = scope["model"], scope["inputs"], scope["target"]
    for m, encoder in model.encoders.items():
        alone = F.cross_entropy(model(inputs, keep=(m,)), target)
        wanted = torch.autograd.grad(alone, encoder.weight)[0]
        torch.testing.assert_close(scope["gradients"][f"encoders.{m}.weight"], 4 * wanted)


def test_links_lead_somewhere():
    root = Path(__file__).resolve().parents[2]
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", TEXT)
    assert targets and not [target for target in targets if not (root / target).exists()]
