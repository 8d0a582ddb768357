"""Start JupyterLab with portable numerics, so that notebooks run by hand give the committed numbers (``make lab``).

Its files are those of the whole project, because notebooks link to code and records. The variables count only before
torch is imported, so they have to be there when a kernel starts.
"""

from __future__ import annotations

import os
import subprocess
import sys

from dgl_core.reproduce.execute import NOTEBOOKS, kernel_environment, notebook_names


def main(arguments: list[str]) -> int:
    """Run ``jupyter lab`` on the project, at its first notebook; returns its exit status."""
    first = f"/lab/tree/{NOTEBOOKS.name}/{notebook_names()[0]}.ipynb"
    options = [f"--ServerApp.root_dir={NOTEBOOKS.parent}", f"--LabApp.default_url={first}"]
    command = [sys.executable, "-m", "jupyter", "lab", *options, *arguments]
    try:
        return subprocess.run(command, env=os.environ | kernel_environment(portable=True)).returncode
    except KeyboardInterrupt:  # JupyterLab has asked whether it should end
        return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
