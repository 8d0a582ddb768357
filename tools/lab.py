"""Start JupyterLab with portable numerics, so that notebooks run by hand give the committed numbers (``make lab``).

The variables count only before torch is imported, so they have to be there when a kernel starts.
"""

from __future__ import annotations

import os
import subprocess
import sys

from dgl_core.reproduce.execute import NOTEBOOKS, kernel_environment


def main(arguments: list[str]) -> int:
    """Run ``jupyter lab`` on the notebooks; returns its exit status."""
    command = [sys.executable, "-m", "jupyter", "lab", "--notebook-dir", str(NOTEBOOKS), *arguments]
    try:
        return subprocess.run(command, env=os.environ | kernel_environment(portable=True)).returncode
    except KeyboardInterrupt:  # JupyterLab has asked whether it should end
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
