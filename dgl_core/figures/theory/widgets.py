"""Put sliders over the static pictures of notebook 02, which show the same where widgets do not run (GitHub, CI)."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping

import ipywidgets

from dgl_core.figures.style import Picture
from dgl_core.figures.theory import inequality, toy
from dgl_core.paper.theory.cases import HEADS, explored


class Explorer(ipywidgets.VBox):
    """Show controls (keyword of ``draw`` -> value widget) above the ``picture`` that ``draw`` makes of their values."""

    def __init__(self, draw: Callable[..., Picture], controls: Mapping[str, ipywidgets.ValueWidget]):
        self.draw, self.controls, self.view = draw, dict(controls), ipywidgets.HTML()
        for control in self.controls.values():
            control.style = {"description_width": "24em"}
            control.layout = {"width": "46em"}
            control.observe(self.refresh, "value")
        self.refresh()
        super().__init__([*self.controls.values(), self.view])

    def refresh(self, change: object = None) -> None:
        """Draw again with the present values."""
        self.picture = self.draw(**{name: control.value for name, control in self.controls.items()})
        data = base64.b64encode(self.picture.png()).decode()
        look = f'width="{self.picture.width()}" style="max-width:100%" alt="{html.escape(self.picture.alt)}"'
        self.view.value = f'<img src="data:image/png;base64,{data}" {look}>'


def _slider(text: str, value: float, low: float, high: float, step: float, live: bool = True):
    return ipywidgets.FloatSlider(value, min=low, max=high, step=step, description=text, continuous_update=live)


def suppression_explorer() -> Explorer:
    """Explore one sample, K = 3: how sure the modality is, what it confuses, and the margins that the others add."""

    def draw(**values: float | str) -> Picture:
        return inequality.belief_and_push({"this sample": explored(**values)})

    return Explorer(draw, {
        "confidence": _slider("probability of the true class, this modality alone", 0.5, 0.02, 0.98, 0.02),
        "confusion": _slider("share of the remaining probability that class 2 has", 0.6, 0.02, 0.98, 0.02),
        "second": _slider("how far the others prefer the truth to class 2", 0.7, -3.0, 3.0, 0.1),
        "third": _slider("how far the others prefer the truth to class 3", 1.4, -3.0, 3.0, 0.1),
        "head": ipywidgets.Dropdown(options=list(HEADS), description="how the rows of the classifier lie"),
    })  # fmt: skip


def gate_explorer(steps: int = 300) -> Explorer:
    """Explore the toy training at any point of the square between vanilla, +MT, +UT and DGL; each change trains."""

    def draw(alpha: float, encoder_gate: float, fusion_gate: float) -> Picture:
        title = f"alpha {alpha:g}, gates {encoder_gate:g} and {fusion_gate:g}"
        return toy.gates({title: (alpha, encoder_gate, fusion_gate)}, steps=steps)

    return Explorer(draw, {
        "alpha": _slider("weight of the unimodal losses (alpha)", 1.0, 0.0, 4.0, 0.25, live=False),
        "encoder_gate": _slider("multimodal gradient that encoders get (0 to 1)", 0.0, 0.0, 1.0, 0.1, live=False),
        "fusion_gate": _slider("unimodal gradient that the fusion gets (0 to 1)", 0.0, 0.0, 1.0, 0.1, live=False),
    })  # fmt: skip
