"""Draw notebook 09: what the dials hold, who wins where, fronts over alpha, the forecast, the explorer."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from dgl_core.figures import style
from dgl_core.figures.style import Picture
from dgl_core.gradients import FUSED
from dgl_core.paper.map import forecasting, verdicts
from dgl_core.paper.map import gates as opened
from dgl_core.paper.map.design import TITLES, maps
from dgl_core.paper.map.forecasting import Case
from dgl_core.paper.map.records import Record, synergies
from dgl_core.verdicts.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS = {
    "vanilla": (style.BLACK, "-"),
    "vanilla, rate x alpha": (style.GREY, "-"),
    "G-Blending": (style.BLUE, "--"),
    "DGL": (style.RED, "-"),
    "UT alone": (style.ORANGE, "-."),
    "unimodal ensemble": (style.GREEN, ":"),
    "frozen encoders, new head": (style.PURPLE, ":"),
}
MOST_BESIDE = 2  # panels that stand beside each other; more go on below
MOST = 10.0  # points at which the colours of a map end
KNOWN = {"joint": ("k", "-"), "additive": ("k", "--"), "unimodal": ("k", ":")}  # best predictors of a point


def information(known: Mapping[str, np.ndarray], imbalances: Sequence[float]) -> Picture:
    """Draw what the dials hold: accuracy of the best joint, additive and unimodal predictor ``[S, I]`` over synergy."""
    places = (0, len(imbalances) // 2, len(imbalances) - 1)
    figure, axes = style.row([f"imbalance {imbalances[i]:g}" for i in places], "synergy", "accuracy (%)", sharey=True)
    said = []
    for ax, i in zip(axes, places, strict=True):
        for name, (colour, line) in KNOWN.items():
            ax.plot(synergies(), known[name][:, i], line, color=colour, label=f"best {name}")
        ax.axvline(0.5, color=style.GREY, linewidth=0.8)
        apart = known["joint"][:, i] - known["additive"][:, i]
        said.append(f"imbalance {imbalances[i]:g}: joint minus additive {apart[5]:.1f} at 0.5, {apart[-1]:.1f} at 1")
    axes[0].legend(fontsize=7)
    return Picture(figure, "Best predictors: " + "; ".join(said) + ".")


def differences(records: Sequence[Record], row: str, than: str, branch: str = FUSED) -> Picture:
    """Map the difference of two rows over synergy (across) and imbalance (up), one panel a head.

    Colours end at ``MOST`` points. The thick line is where the difference crosses zero; between the dashed ones, and
    where a number is grey, it is smaller than what anyone would care about.
    """
    titles = [TITLES[of.name] for of in records]
    figure, axes = style.row(titles, "synergy", "imbalance", MOST_BESIDE, width=4.0, height=2.4)
    values = [verdicts.cells(of, row, than, branch).T for of in records]  # [I, S]
    largest = min(MOST, max(float(np.nanmax(np.abs(v))) for v in values))
    said = []
    for ax, of, grid in zip(axes, records, values, strict=True):
        imbalances, x = maps()[of.name].imbalances, np.arange(len(synergies()))
        image = ax.imshow(grid, origin="lower", aspect="auto", cmap="PuOr", vmin=-largest, vmax=largest)
        ax.grid(False)
        ax.set_xticks(x, [f"{s:g}" for s in synergies()])
        ax.set_yticks(range(len(imbalances)), [f"{i:g}" for i in imbalances])
        ax.set_facecolor("0.85")  # of columns that were not run yet
        for (i, s), value in np.ndenumerate(grid):
            if not np.isfinite(value):
                continue
            colour = "w" if abs(value) > 0.6 * largest else "k" if abs(value) >= verdicts.delta(branch) else "0.55"
            ax.text(s, i, f"{round(value, 1) + 0.0:.1f}", ha="center", va="center", fontsize=7, color=colour)
        if len(imbalances) > 1 and len(of.columns) == len(x):
            _lines(ax, grid, verdicts.delta(branch))
        said.append(f"{TITLES[of.name]}: from {np.nanmin(grid):+.1f} to {np.nanmax(grid):+.1f}")
    figure.colorbar(image, ax=list(axes), label="points", shrink=0.8, extend="both")
    what = "fused" if branch == FUSED else "a modality absent"
    figure.suptitle(f"{row} - {than}, {what}", fontsize=9)
    return Picture(figure, f"{row} minus {than}, {what}, in points by synergy and imbalance; " + "; ".join(said) + ".")


def _lines(ax: Axes, grid: np.ndarray, delta: float) -> None:
    """Draw where a difference ``[I, S]`` crosses zero, and the band around it that is smaller than delta."""
    for level, width, dashes in ((0.0, 1.5, "solid"), (delta, 0.7, "dashed"), (-delta, 0.7, "dashed")):
        if grid.min() < level < grid.max():
            x, y = range(grid.shape[1]), range(grid.shape[0])
            ax.contour(x, y, grid, levels=[level], colors="k", linewidths=width, linestyles=dashes)


def curves(
    records: Sequence[Record], rows: Sequence[str], known: Mapping[str, np.ndarray] | None = None, branch: str = FUSED
) -> Picture:
    """Draw accuracy along the diagonal, where imbalance goes with synergy; thin lines are the best predictors."""
    figure, axes = style.row([TITLES[r.name] for r in records], "synergy = imbalance", "accuracy (%)", MOST_BESIDE,
                             width=3.6, height=2.8, sharey=True)  # fmt: skip
    said = []
    for ax, of in zip(axes, records, strict=True):
        imbalances = np.array(maps()[of.name].imbalances)
        along = [int(np.abs(imbalances - s).argmin()) for s in synergies()]
        take = lambda grid, along=along: np.array([grid[s, i] for s, i in enumerate(along)])  # noqa: E731
        if known is not None and len(imbalances) == known["joint"].shape[1]:
            for name, (colour, line) in KNOWN.items():
                ax.plot(synergies(), take(known[name]), line, color=colour, linewidth=0.6, alpha=0.6)
        for row in rows:
            colour, line = LOOKS[row]
            mean, places = take(of.accuracy(row)[branch].mean(axis=2))[of.columns], synergies()[of.columns]
            ax.plot(places, mean, line, color=colour, label=row)
            points = ", ".join(f"{m:.1f} at {s:g}" for m, s in zip(mean, places, strict=True))
            said.append(f"{TITLES[of.name]}, {row}: {points}")
    style.legend(figure, {row: LOOKS[row] for row in rows}, most=2 * len(records))
    return Picture(figure, "Accuracy along the diagonal (%): " + "; ".join(said) + ".")


def gates(arrays: Mapping[str, np.ndarray], total: int) -> Picture:
    """Draw what opening the gate adds to DGL over synergy: one line a gate, mean and 95 % interval over draws."""
    figure, axes = style.row([TITLES[head] for head in opened.HEADS], "synergy", "minus DGL (points)", sharey=True)
    said, looks = [], {}
    for ax, head in zip(axes, opened.HEADS, strict=True):
        found = opened.gains(arrays, head, total)  # [S, G, D]
        ax.axhline(0, color=style.GREY, linewidth=0.8)
        for g, gate in enumerate(opened.GATES[1:], 1):
            looks[f"gate {gate:g}"] = colour, line = style.CYCLE[g - 1], "-" if gate == 1 else "--"
            each = [mean_interval(values) for values in found[:, g]]
            ax.plot(synergies(), [i.mean for i in each], line, color=colour)
            ax.fill_between(synergies(), [i.low for i in each], [i.high for i in each], color=colour, alpha=0.15)
            points = ", ".join(f"{i.mean:+.1f} at {s:g}" for i, s in zip(each, synergies(), strict=True))
            said.append(f"{TITLES[head]}, gate {gate:g}: {points}")
    style.legend(figure, looks)
    return Picture(figure, "Fused accuracy minus that of DGL (points), by synergy: " + "; ".join(said) + ".")


def fronts(points: Mapping[int, str], names: Sequence[str]) -> Picture:
    """Draw fronts over alpha, weakest branch against fused, one panel a point (its place -> its title)."""
    figure, axes = style.row(points.values(), "weakest branch (%)", "fused (%)", width=3.0, height=2.8)
    shapes, said = "os^Dv*PXhd", []
    for ax, (place, title) in zip(axes, points.items(), strict=True):
        for number, name in enumerate(names):
            steps = verdicts.front(name, place)
            fused, weakest = zip(*steps.values(), strict=True)
            colour = style.CYCLE[number % len(style.CYCLE)]
            ax.plot(weakest, fused, "-", marker=shapes[number], color=colour, markersize=4, linewidth=1)
            best = max(steps.values(), key=sum)
            said.append(f"{title}, {name}: at best {best[0]:.1f} fused with {best[1]:.1f} in the weakest branch")
    style.legend(figure, {n: (style.CYCLE[i % len(style.CYCLE)], shapes[i]) for i, n in enumerate(names)}, most=4)
    return Picture(figure, "Fronts over alpha: " + "; ".join(said) + ".")


def forecasts(cases: Sequence[Case], fitted: Mapping, target: str = "fused", delta: float = 1.0) -> Picture:
    """Draw foretold against measured gains, one line a case: from models of one modality, and from one look."""
    names = ("models of one modality", "one look")
    told, said = forecasting.predictors(cases, fitted, target, delta), []
    order = np.argsort([case.gain(target) for case in cases])
    figure, axes = style.row(names, "gain of DGL (points)", width=3.6, height=0.28 * len(cases) + 0.9, sharey=True)
    for ax, name in zip(axes, names, strict=True):
        error = (fitted["alone"] if name == names[0] else fitted)[target]["error"]
        for place, number in enumerate(order):
            case, mean = cases[number], told[name][number]
            ax.plot(case.gain(target), place, "D", color=style.BLACK, markersize=5)
            if np.isfinite(mean):
                ax.plot([mean - error, mean + error], [place] * 2, color=style.BLUE, linewidth=1.2, alpha=0.5)
                ax.plot(mean, place, "o", color=style.BLUE)
                said.append(f"{name}, {case.name}: foretold {mean:+.1f}, measured {case.gain(target):+.1f}")
        ax.axvline(0, color=style.GREY, linewidth=0.8)
    axes[0].set_yticks(range(len(cases)), [cases[number].name.replace("_", " ") for number in order])
    style.legend(figure, {"foretold, with its interval": (style.BLUE, "o"), "measured": (style.BLACK, "D")})
    return Picture(figure, "Foretold and measured gains: " + "; ".join(said) + ".")


@dataclass(frozen=True)
class Explorer:
    """Two sliders that say who wins at a point of the map; plain HTML and script, so it works without a kernel."""

    page: str

    def __repr__(self) -> str:
        return "An explorer of the map: choose a head, synergy and imbalance, and read who wins."

    def _repr_html_(self) -> str:
        return self.page


def digest(records: Sequence[Record], rows: Sequence[str]) -> dict[str, dict]:
    """Reduce maps to mean accuracies: title -> imbalances, and row -> branch -> [S][I], rounded to a tenth."""
    found = {}
    for of in records:
        means = {}
        for row in rows:
            accuracy = of.accuracy(row)
            means[row] = {b: np.round(accuracy[b].mean(axis=2)[of.columns], 1).tolist() for b in (FUSED, "absent")}
        places = [float(s) for s in synergies()[of.columns]]
        found[TITLES[of.name]] = {"synergies": places, "imbalances": list(maps()[of.name].imbalances), "rows": means}
    return found


PAGE = Template("""<div class="dgl-map" data-map="$data">
<p><label>head <select></select></label>
<label>synergy <input type="range" min="0" max="$last" value="$last"> <output></output></label>
<label>imbalance <input type="range" min="0" max="0" value="0"> <output></output></label></p>
<p class="said"></p><div class="bars"></div></div>
<script>
for (const box of document.querySelectorAll(".dgl-map:not(.ready)")) {
  box.classList.add("ready");
  const maps = JSON.parse(box.dataset.map);
  const select = box.querySelector("select"), [synergy, imbalance] = box.querySelectorAll("input");
  const [shownS, shownI] = box.querySelectorAll("output");
  for (const title of Object.keys(maps)) select.add(new Option(title));
  const draw = () => {
    const map = maps[select.value];
    synergy.max = map.synergies.length - 1;
    const s = Math.min(+synergy.value, map.synergies.length - 1);
    imbalance.max = map.imbalances.length - 1;
    const i = Math.min(+imbalance.value, map.imbalances.length - 1);
    shownS.value = map.synergies[s]; shownI.value = map.imbalances[i];
    const rows = Object.entries(map.rows).map(([name, b]) => [name, b.fused[s][i], b.absent[s][i]]);
    const best = (k) => rows.reduce((a, b) => (b[k] > a[k] ? b : a))[0];
    box.querySelector(".said").textContent = "Fused, the best row is " + best(1) +
      "; with a modality absent it is " + best(2) + ".";
    box.querySelector(".bars").innerHTML = rows.map(([name, fused, absent]) =>
      `<div style="display:flex;align-items:center;gap:.5em;font-size:90%"><span style="width:14em">$${name}</span>` +
      `<span style="background:#0072B2;height:.8em;width:$${2 * fused}px"></span>$${fused.toFixed(1)} fused, ` +
      `$${absent.toFixed(1)} absent</div>`).join("");
  };
  for (const control of [select, synergy, imbalance]) control.oninput = draw;
  draw();
}
</script>""")


def explorer(records: Sequence[Record], rows: Sequence[str]) -> Explorer:
    """Make the explorer of some maps."""
    data = html.escape(json.dumps(digest(records, rows)), quote=True)
    return Explorer(PAGE.substitute(data=data, last=len(synergies()) - 1))


def standing(of: Record, rows: Sequence[str], synergy: float, imbalance: float) -> Picture:
    """Draw all rows at one point: fused (dots) and with a modality absent (crosses), mean and draws."""
    s = int(of.columns[np.abs(synergies()[of.columns] - synergy).argmin()])
    i = int(np.abs(np.array(maps()[of.name].imbalances) - imbalance).argmin())
    figure, ax = style.new(width=5.6, height=2.6)
    said = []
    for place, row in enumerate(rows):
        accuracy, colour = of.accuracy(row), LOOKS[row][0]
        means = [style.dots(ax, place, list(accuracy[branch][s, i]), colour, marker)
                 for branch, marker in ((FUSED, "o"), ("absent", "X"))]  # fmt: skip
        said.append(f"{row}: {means[0]:.1f} fused, {means[1]:.1f} absent")
    ax.set_yticks(range(len(rows)), rows, fontsize=7)
    ax.set(xlabel="test accuracy (%): o fused, x a modality absent", ylim=(len(rows) - 0.5, -0.5))
    where = f"{TITLES[of.name]}, synergy {synergies()[s]:g}, imbalance {maps()[of.name].imbalances[i]:g}"
    ax.set_title(where, fontsize=9)
    return Picture(figure, f"{where}: " + "; ".join(said) + ".")
