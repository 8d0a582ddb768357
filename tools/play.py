"""Train the two small networks that the playing pages of the report ask, and keep their weights in the package.

python -m tools.play          # about a minute on two cores, most of it to generate the clips
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from dgl_core.reproduce.play import trained


def main() -> int:
    trained.KEPT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        trained.train(Path(place))
        for made in Path(place).iterdir():
            (trained.KEPT / made.name).write_bytes(made.read_bytes())
            print(f"{made.name}: {made.stat().st_size // 1024} KB")
    for row in trained.ROWS:
        scores = trained.history()[row]["accuracy"]
        print(f"{row}: " + ", ".join(f"{branch} {100 * score:.1f} %" for branch, score in scores.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
