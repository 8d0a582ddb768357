"""README and its pages show what the records and the code say, and their snippets run."""

from __future__ import annotations

import re

import pytest

from tools import readme
from tools.pages import PAGES, README, snippets

TEXT, SNIPPETS = README.read_text("utf-8"), snippets()


def test_generated_blocks_are_current():
    stale = [path.name for path, text in readme.pages().items() if path.read_text("utf-8") != text]
    assert not stale, f"{stale}: run python -m tools.readme"


@pytest.mark.parametrize("page", readme.BLOCKS, ids=lambda page: page.name)
def test_a_stale_block_is_noticed(page):
    text, (name, _) = page.read_text("utf-8"), readme.BLOCKS[page]
    stale = re.sub(f"(<!-- {name}:begin -->).*(<!-- {name}:end -->)", r"\1\n| an old line |\n\2", text, flags=re.DOTALL)
    assert stale != text and readme.renewed(page, stale) == text


def test_a_missing_marker_is_an_error():
    with pytest.raises(ValueError, match="answers:begin"):
        readme.renewed(README, "no markers here")


def test_readme_is_a_page_that_is_read():
    assert len(TEXT.splitlines()) <= 150


def test_there_are_snippets():
    assert len(SNIPPETS) >= 5


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


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "api.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8"))
    assert not [target for target in targets if not (page.parent / target).exists()]


def test_readme_leads_to_every_page():
    assert not [page.name for page in PAGES[1:] if f"](docs/{page.name})" not in TEXT]
