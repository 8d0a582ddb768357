"""Train one run from the command line, on one device or on several processes.

    python -m dgl_core train dataset=cremad method=dgl method_options.alpha=4 precision=bf16 [--compile]
    python -m dgl_core train spec.json seed=1
    torchrun --nproc-per-node 4 -m dgl_core train dataset=vggsound method=dgl method_options.alpha=2

A specification is a JSON file, ``field=value`` pairs, or a file and pairs that change it; the fields are those of
``RunSpec``, whose defaults are the paper's. The record goes where notebooks and ``make reproduce`` look for it. An
interrupted run goes on from its last checkpoint when the same command is given again. ``--weights FOLDER`` also keeps
the last and the best-on-validation weights there (``dgl_core.training.load_model``). A record is a specification too:
``dgl train RECORD.json --weights FOLDER`` makes the weights of a committed record.

``--recipe tenth`` trains with a tenth of the operations (``dgl_core.runs.recipes``), in a record of its own; whether
its answer is that of the whole recipe is not proven.

Under ``torchrun`` every process trains on its part of each batch (``batch_size`` is that of the whole batch), and the
first one writes the record, which says how many they were.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from dgl_core.runs.keys import resolve
from dgl_core.runs.recipes import RECIPES, cheaper
from dgl_core.runs.run import find_or_make
from dgl_core.runs.store import Store
from dgl_core.training import distributed, train
from dgl_core.training.machine import Machine, check_precision
from dgl_core.training.records import PROTOCOLS, RunRecord, RunSpec
from dgl_core.training.saving.weights import ENDING, LAST
from dgl_core.utils import duration, results_root

Say = Callable[[str], None]


def read_spec(words: Sequence[str]) -> RunSpec:
    """Read the specification that a JSON file and ``field=value`` pairs describe; the later word counts.

    Values are JSON (``4``, ``[70]``, ``true``) or else text; ``method_options.alpha=4`` reaches into a dictionary.
    Raises ValueError for a word of another form, a file that is no JSON object, or a field that does not exist.
    """
    values: dict = {}
    for number, word in enumerate(words):
        name, equals, text = word.partition("=")
        field, _, option = name.partition(".")
        if equals and option:
            held = values.get(field, {})
            if not isinstance(held, dict):
                raise ValueError(f"{word!r} sets an option, but {field} is {held!r}; write for example "
                                 "method_options.alpha=4.")  # fmt: skip
            values[field] = held | {option: _value(text)}
        elif equals:
            values[field] = _value(text)
        elif number == 0:
            values = _object(word)
        else:
            raise ValueError(f"{word!r} is neither field=value nor the first word; write for example seed=1.")
    if "dataset" not in values:
        raise ValueError("the specification names no data set: add for example dataset=emotions.")
    return RunSpec.from_plain(values)


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        return text


def _object(path: str) -> dict:
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ValueError(f"there is no file {path!r}; give a JSON file or field=value pairs.") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no JSON object with the fields of a run.")
    return found.get("spec", found)  # a run record is a specification too


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="dgl train", description=__doc__, formatter_class=raw)
    parser.add_argument("spec", nargs="+", metavar="SPEC", help="a JSON file and/or field=value pairs")
    parser.add_argument("--recompute", action="store_true", help="train again even if the run is recorded")
    parser.add_argument("--weights", metavar="FOLDER", help="keep the last and the best-on-validation weights there")
    parser.add_argument("--device", default="", help="cuda, cuda:1 or cpu; a GPU if there is one")
    parser.add_argument("--compile", nargs="?", const="inductor", metavar="BACKEND", help="compile the objective")
    about = f"change the specification so that it takes fewer operations: {', '.join(RECIPES)}"
    parser.add_argument("--recipe", default="", metavar="NAME", help=about)
    parser.add_argument("--deterministic", action="store_true", help="the same bits again on the same GPU")
    parser.add_argument("--data-on", metavar="PLACE", help="auto, device (GPU memory) or host (streamed)")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, say: Say = print) -> RunRecord | None:
    """Find or make the record; the first process returns it, the others None."""
    asked = read_spec(options.spec)
    wanted = resolve(cheaper(asked, options.recipe) if options.recipe else asked)
    spec = wanted.spec
    chosen = {"compile": options.compile, "deterministic": options.deterministic, "data": options.data_on}
    machine = Machine(**vars(Machine.from_environment()) | {name: value for name, value in chosen.items() if value})
    device = distributed.own_device(train.device_named(options.device))
    check_precision(spec, device)
    folder = train.weights_folder(options.weights)
    keep = folder and (folder, Store(folder).path(spec, wanted.key).stem)
    again = options.recompute or bool(keep) and not (folder / f"{keep[1]}.{LAST}{ENDING}").exists()
    with distributed.team(device) as team:

        def made(checkpoint: Path) -> RunRecord:
            if team.rank == 0:
                who = f"{team.size} processes on {device.type}" if team.size > 1 else str(device)
                say(f"{spec.method} on {spec.dataset}, {spec.epochs} epochs, seed {spec.seed}, {spec.precision}, {who}")
            return train.train(
                spec, device=device, checkpoint=checkpoint, key=wanted.key, revisions=wanted.revisions,
                machine=machine, team=team, log=timed(say, spec.epochs), keep=keep,
            )  # fmt: skip

        state, found = find_or_make(wanted, made, recompute=again, device=device, team=team)
    if state == "held":
        raise ValueError("another worker is at this run now: wait for it, or stop it first.")
    if found is not None:
        path = Store(results_root(), found.making).path(spec, wanted.key)
        say(f"{'Recorded already' if state == 'recorded' else 'Recorded'} in {path}")
        for name in found.weights.values() if keep else ():
            say(f"Weights in {folder / name}")
        say(scores(found))
    return found


def timed(say: Say, epochs: int) -> Say:
    """Make a log that adds to the line of an epoch how long one epoch takes and how long the rest will."""
    started, first = time.monotonic(), None

    def log(line: str) -> None:
        nonlocal first
        done = int(line.split()[1].split("/")[0])
        first = done - 1 if first is None else first  # a resumed run does not start at 0
        each = (time.monotonic() - started) / (done - first)
        say(f"{line}; {each:.1f} s an epoch, {duration(each * (epochs - done))} left")

    return log


def scores(record: RunRecord) -> str:
    """Write the test scores in a line, by the protocol that selects the epoch."""
    parts = []
    for protocol in PROTOCOLS:
        each = ", ".join(f"{b} {100 * record.score(b, protocol):.1f}" for b in ("fused", *record.data["modalities"]))
        parts.append(f"{protocol} ({record.epoch(protocol) + 1}): {each}")
    return f"Test {record.selecting} %, by epoch: " + "; ".join(parts)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; ``dgl_core.__main__`` says in a line what went wrong."""
    run(parse(arguments))
    return 0
