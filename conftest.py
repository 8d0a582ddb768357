"""Every test, and every kernel that nbval starts, runs on one thread with portable numerics and a store of its own.

This file is at the root because the notebooks are tests too. It must do its work before anything imports torch.
"""

import os
import shutil
import tempfile

from locked import other_versions

from dgl_core.reproduce.execute import kernel_environment

os.environ.update(kernel_environment(portable=True))
os.environ["PYTHONHASHSEED"] = "0"
os.environ.pop("DGL_REPORT", None)
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit the store of the process that started them
    os.environ["DGL_RESULTS"] = tempfile.mkdtemp(prefix="dgl_test_store_")


def pytest_configure(config):
    if other_versions() and config.getoption("nbval"):
        config.option.nbval, config.option.nbval_lax = False, True


def pytest_report_header():
    if others := other_versions():
        return f"outputs of notebooks are not compared: requirements.lock has other versions than {others}"


def pytest_collectstart(collector):
    """Strict comparison of notebook outputs, stderr aside: warnings there carry process numbers."""
    if hasattr(collector, "skip_compare"):  # an nbval notebook file
        collector.skip_compare += ("stderr",)


def pytest_unconfigure(config):
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["DGL_RESULTS"], ignore_errors=True)
