"""Write the page of the public names, docs/api.md, from their docstrings.

python -m tools.api          # writes
python -m tools.api --check  # exit status 1 if the page is stale
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dgl_core
from dgl_core.data.files.atomic import write_atomic
from dgl_core.data.recipe import Recipe
from dgl_core.methods.base import Method
from dgl_core.utils import ROOT

PAGE = ROOT / "docs" / "api.md"
ROOMS = {  # module -> what its section is called
    "gradients": "The method",
    "suppression": "What it cures",
    "diagnosis": "Measured on your model",
    "models": "Models",
    "methods": "Methods",
    "data": "Data",
    "training": "One run",
    "runs": "Many runs, kept",
    "verdicts.statistics": "How runs are compared",
    "verdicts.comparison": "Compared on your own data",
    "reproduce.notebook": "Inside a notebook",
}
HEAD = """# The public names

Generated from the docstrings by `python -m tools.api`; a test fails when it is stale. Every name comes from the module
of its section; one with a star also from `dgl_core` itself (`from dgl_core import fit`). `[B, D]` is a shape: B
samples, D numbers each; K is the number of classes, `m` the name of a modality. Errors are named with the condition
that raises them. What follows a paper names its equation and the official file (**Source**), and what is done otherwise
(**Difference**).
"""
SECTION = re.compile(r"(Args|Returns|Yields|Raises|Attributes):(?: (.*))?$")


def names_of(module: Any) -> list[str]:
    """List the public names of a module: what ``__all__`` says, else documented classes and functions of its own."""
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not name.startswith("_")]
    own = [(n, x) for n, x in vars(module).items() if not n.startswith("_") and inspect.getmodule(x) is module]
    return [name for name, x in own if (inspect.isclass(x) or inspect.isroutine(x)) and inspect.getdoc(x)]


def face() -> Iterator[tuple[str, Any, list[str]]]:
    """Yield heading, module and public names of every section, each name once: where it is defined, or shown first."""
    seen: set[int] = set()
    for room, heading in ROOMS.items():
        module = importlib.import_module(f"dgl_core.{room}")
        fresh = [name for name in names_of(module) if id(getattr(module, name)) not in seen]
        seen |= {id(getattr(module, name)) for name in fresh}
        yield heading, module, fresh


def parameter(found: inspect.Parameter) -> str:
    """Write one parameter: name, type, default; a default that is a function by its name."""
    kind = getattr(found.annotation, "__forward_arg__", found.annotation)
    stars = {found.VAR_POSITIONAL: "*", found.VAR_KEYWORD: "**"}.get(found.kind, "")
    told = f"{stars}{found.name}" + ("" if kind is found.empty else f": {kind}")
    if found.default is found.empty:
        return told
    default = getattr(found.default, "__name__", None) or repr(found.default).replace("Ellipsis", "...")
    return f"{told} = {default}" if kind is not found.empty else f"{told}={default}"


def signature(name: str, thing: Callable) -> str:
    """Write a signature in one line or, where that is long, a parameter a line."""
    try:
        found = inspect.signature(thing)
    except (TypeError, ValueError):
        return name
    shown = [parameter(p) for p in found.parameters.values() if p.name not in ("self", "cls")]
    kinds = [p.kind for p in found.parameters.values() if p.name not in ("self", "cls")]
    if inspect.Parameter.KEYWORD_ONLY in kinds and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown.insert(kinds.index(inspect.Parameter.KEYWORD_ONLY), "*")
    returned = "" if found.return_annotation is inspect.Signature.empty else f" -> {found.return_annotation}"
    returned = "" if inspect.isclass(thing) else returned
    text = f"{name}({', '.join(shown)}){returned}"
    if len(text) > 100:
        text = f"{name}(\n" + "".join(f"    {each},\n" for each in shown) + f"){returned}"
    return text


def prose(doc: str) -> str:
    """Turn a docstring (Google form, double backticks, ``::`` before code) into Markdown."""
    lines, section, code = [], "", False
    for line in [*inspect.cleandoc(doc).splitlines(), "end"]:
        depth = len(line) - len(line.lstrip())
        if code and line and not depth:
            lines, code = ["\n".join(lines).rstrip(), "```", ""], False
        if code:
            lines.append(line[4:])
            continue
        line = line.replace("``", "`")
        section = "" if line and not depth else section
        if found := SECTION.match(line):
            section = found[1]
            lines += ["", f"**{section}.** {found[2] or ''}".rstrip(), ""]
        elif section and depth > 4 and lines[-1]:
            lines[-1] += line[depth - 1 :]
        elif section and line:
            lines.append(f"- {line.strip()}" if re.match(r"\s+[\w*, ]+:", line) else line.strip())
        elif line.endswith("::"):
            lines, code = [*lines, line[:-1], "", "```text"], True
        else:
            lines.append(line)
    text = re.sub(r"^- \*\*", r"- \\*\\*", "\n".join(lines[:-1]), flags=re.MULTILINE)  # of **options
    return re.sub(r"\n{3,}", "\n\n", text).replace("```text\n\n", "```text\n").strip()


def entry(name: str, thing: Any, star: str) -> str:
    """Write the entry of one name."""
    parts = [f"### {name}{star}"]
    if isinstance(thing, Mapping):
        return "\n\n".join([*parts, registry(thing)])
    if not (inspect.isclass(thing) or inspect.isroutine(thing)):
        return "\n\n".join([*parts, f"`{thing!r}`"])
    forms = typing.get_overloads(thing) if inspect.isroutine(thing) else []
    shown = "\n".join(signature(name, form) for form in forms or [thing])
    parts += [f"```python\n{shown}\n```", prose(inspect.getdoc(thing) or "")]
    for member, function in vars(thing).items() if inspect.isclass(thing) else ():
        plain = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        if inspect.isfunction(plain) and not member.startswith("_") and plain.__doc__:
            parts.append(
                f"#### {name}.{member}\n\n```python\n{signature(member, plain)}\n```\n\n{prose(plain.__doc__)}"
            )
    return "\n\n".join(parts)


def registry(things: Mapping[str, Any]) -> str:
    """List registered things by name: what each is, and the options of a method with their defaults."""
    rows = []
    for name in things:
        thing = things[name]
        made = inspect.isclass(thing) or inspect.isroutine(thing)
        doc = inspect.getdoc(thing) if made else thing.facts.title if isinstance(thing, Recipe) else f"`{thing!r}`"
        about = " ".join((doc or "").split("\n\n")[0].split())
        method = inspect.isclass(thing) and issubclass(thing, Method)
        options = thing.options() if method else getattr(thing, "options", {})
        told = ", ".join(f"`{key}={value!r}`" for key, value in options.items()) if isinstance(options, Mapping) else ""
        rows.append(f"| `{name}` | {about.replace('``', '`').replace('|', chr(92) + '|')} | {told} |")
    return "\n".join(["| name | what it is | options |", "| --- | --- | --- |", *rows])


def anchor(heading: str, module: Any) -> str:
    """Name the place of a section as GitHub does."""
    return re.sub(r"[^\w -]", "", f"{heading} {module.__name__}".lower()).replace(" ", "-")


def page() -> str:
    """Write the whole page."""
    parts = [
        HEAD.strip(),
        "\n".join(f"- [{h}](#{anchor(h, m)}): {', '.join(f'`{n}`' for n in ns)}" for h, m, ns in face()),
    ]
    for heading, module, names in face():
        about = prose((module.__doc__ or "").split("\n\n")[0])
        parts.append(f"## {heading}: `{module.__name__}`\n\n{about}")
        parts += [entry(n, getattr(module, n), " \\*" if n in dgl_core.__all__ else "") for n in names]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.api", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if the page is stale")
    check = parser.parse_args(arguments).check
    before, after = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", page()
    if check:
        if after != before:
            print(f"{Path(*PAGE.parts[-2:])} is stale: run python -m tools.api", file=sys.stderr)
        return int(after != before)
    PAGE.parent.mkdir(exist_ok=True)
    write_atomic(PAGE, after)
    print(f"docs/api.md: {'renewed' if after != before else 'already current'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
