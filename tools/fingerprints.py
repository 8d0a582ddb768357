"""Give committed records the fingerprint of their data as it is computed now.

A record is renewed only where its old fingerprint (ids, labels and split alone) is that of the data that are here, so
that the new one, which also covers the stored values, is known to be of the same data. Nothing else in it changes.

python -m tools.fingerprints [FOLDER] [--check]
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dgl_core import data
from dgl_core.data.dense import DenseDataset
from dgl_core.data.files.atomic import write_atomic
from dgl_core.utils import reference_root


def earlier(dataset: data.Dataset) -> str:
    """Return the fingerprint without the stored values, as it was until these were added."""
    version = dataset.version if dataset.generated else ""
    if isinstance(dataset, DenseDataset):
        digest = hashlib.sha256(version.encode())
        for i, s, image in zip(dataset.ids, dataset.split, dataset.target, strict=True):
            digest.update(f"\n{i}\t{s}\t".encode() + image.contiguous().numpy().tobytes())
        return digest.hexdigest()
    rows = zip(dataset.ids, dataset.target.tolist(), dataset.split, strict=True)
    return hashlib.sha256("\n".join([version, *(f"{i}\t{t}\t{s}" for i, t, s in rows)]).encode()).hexdigest()


def text_of(body: dict) -> str:
    """Return a record as ``RunRecord.to_json`` writes it, with the checksum of its content."""
    body = {name: value for name, value in body.items() if name != "checksum"}
    checksum = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    return json.dumps(body | {"checksum": checksum}, sort_keys=True, indent=0)


def renew(path: Path, known: dict[str, tuple[str, str] | None], check: bool) -> str:
    """Renew one record; returns what became of it."""
    before = path.read_text()
    body = json.loads(before)
    if text_of(body) != before:
        return "damaged"
    name, options = body["spec"]["dataset"], body["spec"].get("dataset_options") or {}
    place = json.dumps([name, options], sort_keys=True)
    if place not in known:
        recipe = data.DATASETS[name]
        dataset = data.load(name, **options) if recipe.available(None) else None
        known[place] = None if dataset is None else (earlier(dataset), dataset.fingerprint)
    if known[place] is None:
        return f"{name}: data not here"
    old, new = known[place]
    if body["data"]["fingerprint"] == new:
        return f"{name}: already current"
    if body["data"]["fingerprint"] != old:
        return f"{name}: made from other data"
    body["data"]["fingerprint"] = new
    if not check:
        write_atomic(path, text_of(body))
    return f"{name}: renewed"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.fingerprints", description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 unless all are current")
    parser.add_argument("folder", type=Path, nargs="?", default=reference_root(), help="default: %(default)s")
    options = parser.parse_args(arguments)
    check = options.check
    known: dict[str, tuple[str, str] | None] = {}
    found = Counter(renew(path, known, check) for path in sorted(options.folder.rglob("*.json")))
    for what, count in sorted(found.items()):
        print(f"{count:5d}  {what}")
    return int(check and any(not what.endswith(("already current", "not here")) for what in found))


if __name__ == "__main__":
    raise SystemExit(main())
