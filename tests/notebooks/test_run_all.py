"""What ``make run-all`` calls a changed output: what the notebook tests compare, and the pictures."""

from __future__ import annotations

import copy

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.notebooks.run_all import changed, equal


def notebook(*tags):
    outputs = [
        new_output("stream", name="stdout", text="accuracy 63.1 at 0x7f001122aabb\n"),
        new_output("stream", name="stderr", text="a warning of process 17\n"),
        new_output("display_data", data={"image/png": "AAAA", "text/plain": "a line"}),
    ]
    cell = new_code_cell("show()\nmore()", outputs=outputs, execution_count=1, metadata={"tags": list(tags)})
    return new_notebook(cells=[cell])


def again(change, *tags):
    """What is wrong with an execution whose outputs ``change`` has changed."""
    committed = notebook(*tags)
    here = copy.deepcopy(committed)
    change(here.cells[0])
    return changed(committed, here)


def addresses_and_messages(cell):
    cell.outputs[0].text = "accuracy 63.1 at 0x7fffeeddccbb\n"
    cell.outputs[1].text = "a warning of process 18\n"
    cell.execution_count = 5


def number(cell):
    cell.outputs[0].text = "accuracy 63.2 at 0x7f001122aabb\n"


def picture(cell):
    cell.outputs[2].data["image/png"] = "BBBB"


def lost(cell):
    cell.outputs.pop()


def failed(cell):
    cell.outputs = [new_output("error", ename="ValueError", evalue="too small", traceback=[])]


def skipped(cell):
    cell.execution_count = None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (number, "show(): another stdout: 'accuracy 63.1 at 0xADDRESS' became 'accuracy 63.2 at 0xADDRESS'"),
        (picture, "show(): another image/png: 'AAAA' became 'BBBB'"),
        (failed, "show(): ValueError: too small"),
        (skipped, "show(): was not executed"),
    ],
)
def test_a_change_is_named_with_its_cell(change, said):
    assert again(change) == [said]


def test_what_differs_between_machines_is_no_change_and_a_lost_output_is():
    assert again(addresses_and_messages) == []
    assert again(lost) == ["show(): another image/png: 1 committed, 0 here",
                           "show(): another text/plain: 1 committed, 0 here"]  # fmt: skip


def test_outputs_that_are_not_compared_may_change_but_not_fail():
    for tag in ("nbval-ignore-output", "nbval-skip"):
        assert again(number, tag) == [] and again(failed, tag) and again(skipped, tag)
    assert again(failed, "raises-exception")[0].startswith("show(): another ename")


def test_a_control_shows_two_decimals_of_its_value():
    assert equal(0.3, 0.30000000000000004) and equal("HAP", "HAP") and not equal(0.3, 0.35) and not equal("HAP", "SAD")
    assert equal("two\xa0words", "two words") and not equal(None, 0.0)


def test_a_notebook_is_equal_to_itself():
    written = nbformat.reads(nbformat.writes(notebook()), 4)
    assert changed(notebook(), written) == []
