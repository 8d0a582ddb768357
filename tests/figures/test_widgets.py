"""The sliders of notebook 02: a moved control changes the plotted data, here and in a live kernel."""

from __future__ import annotations

import os
import re

import pytest
import torch
from jupyter_client.manager import start_new_kernel

from dgl_core.figures.theory import inequality, toy, widgets
from dgl_core.paper.theory.cases import TRIANGLE, Case
from dgl_core.utils import ROOT

MINUTE = 60


def heights(explorer):
    """Bars of the fused model, in class order."""
    bars = explorer.picture.figure.axes[0].containers[1]
    return [bar.get_height() for bar in bars]


def test_margins_move_the_fused_belief():
    explorer = widgets.suppression_explorer()
    before, shown = heights(explorer), explorer.view.value
    explorer.controls["second"].value = -2.0  # the other modalities now prefer class 2
    after = heights(explorer)
    assert after[0] < before[0] and after[1] > before[1]
    assert explorer.view.value != shown and "data:image/png;base64," in explorer.view.value
    assert f'alt="{explorer.picture.alt}"' in explorer.view.value


def test_every_control_changes_the_picture():
    moves = {"confidence": 0.8, "confusion": 0.1, "second": -1.0, "third": -1.0, "head": list(widgets.HEADS)[1]}
    explorer = widgets.suppression_explorer()
    assert set(moves) == set(explorer.controls)
    for name, value in moves.items():
        before = explorer.picture.alt
        explorer.controls[name].value = value
        assert explorer.picture.alt != before, name


def test_the_slider_draws_what_the_static_panel_draws():
    explorer = widgets.suppression_explorer()
    values = {name: control.value for name, control in explorer.controls.items()}
    p, q = values["confidence"], values["confusion"]
    alone = torch.tensor([p, (1 - p) * q, (1 - p) * (1 - q)], dtype=torch.float64)
    margins = torch.tensor([0.0, values["second"], values["third"]], dtype=torch.float64)
    case = Case(torch.tensor(TRIANGLE, dtype=torch.float64), alone.log(), -margins)
    assert explorer.picture.alt == inequality.belief_and_push({"this sample": case}).alt


def test_gates_train_anew():
    explorer = widgets.gate_explorer(steps=20)
    expected = toy.gates({"alpha 1, gates 0 and 0": (1.0, 0.0, 0.0)}, steps=20)
    assert explorer.picture.alt == expected.alt
    curves = [line.get_ydata().tolist() for line in explorer.picture.figure.axes[0].lines]
    for name, value in (("alpha", 4.0), ("encoder_gate", 1.0), ("fusion_gate", 1.0)):
        explorer.controls[name].value = value
        moved = [line.get_ydata().tolist() for line in explorer.picture.figure.axes[0].lines]
        assert moved != curves, name
        curves = moved


@pytest.fixture(scope="module")
def kernel():
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_PREFER_ENV_PATH": "1"}
    manager, client = start_new_kernel(startup_timeout=MINUTE, cwd=str(ROOT), env=environment)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def messages(client, kind, enough):
    """Contents of the kernel's messages of one kind, until ``enough(content)``."""
    seen = []
    while not seen or not enough(seen[-1]):
        message = client.get_iopub_msg(timeout=MINUTE)
        if message["msg_type"] == "error":
            raise AssertionError(message["content"]["evalue"])
        if message["msg_type"] == kind:
            seen.append(message["content"])
    return seen


@pytest.mark.parametrize(
    "call, label, value",
    [
        ("suppression_explorer()", "how far the others prefer the truth to class 2", -2.0),
        ("gate_explorer(steps=20)", "multimodal gradient that encoders get (0 to 1)", 1.0),
    ],
)
def test_a_slider_in_a_live_kernel(kernel, call, label, value):
    """What a browser does: it sends the new value over the slider's comm, and the picture's comm answers."""

    def is_picture(content):
        return "<img" in str(content["data"].get("state", {}).get("value", ""))

    kernel.execute(f"from dgl_core.figures.theory import widgets; explorer = widgets.{call}")
    opened = messages(kernel, "comm_open", lambda c: c["data"]["state"].get("_model_name") == "VBoxModel")
    states = {content["comm_id"]: content["data"]["state"] for content in opened}
    slider = next(comm for comm, state in states.items() if state.get("description") == label)
    picture = next(comm for comm, state in states.items() if state.get("_model_name") == "HTMLModel")
    data = {"method": "update", "state": {"value": value}, "buffer_paths": []}
    kernel.shell_channel.send(kernel.session.msg("comm_msg", {"comm_id": slider, "data": data}))
    answer = messages(kernel, "comm_msg", lambda c: c["comm_id"] == picture and is_picture(c))[-1]
    shown = answer["data"]["state"]["value"]
    alternative = re.search(r'alt="([^"]+)"', shown)
    assert alternative and shown.count("base64") == 1
    kernel.execute("print(explorer.picture.alt)")
    printed = messages(kernel, "stream", lambda c: True)[-1]["text"].strip()
    assert alternative.group(1) == printed
