"""Draw dense prediction: scenes, predicted label maps, learning curves, classes that gain and lose (Table 5)."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from dgl_core.data.tasks.label_maps import VOID, class_iou
from dgl_core.figures import style
from dgl_core.figures.curves import COMPARED, LINES, Panels, Rows, band, series
from dgl_core.figures.style import Photograph, Picture
from dgl_core.paper.scenes import Scene
from dgl_core.training.records import RunRecord, unpack_array
from dgl_core.verdicts.statistics import percent

NO_LABEL = (0.1, 0.1, 0.1)  # colour of void


def palette(classes: int) -> np.ndarray:
    """Choose one colour per class and, at ``VOID``, near-black; float [256, 3], up to 40 of them different."""
    maps = [np.array(matplotlib.colormaps[name].colors) for name in ("tab20", "tab20b")]
    strong_first = np.concatenate([maps[0][::2], maps[0][1::2], maps[1]])
    colours = np.tile(NO_LABEL, (VOID + 1, 1))
    colours[:classes] = strong_first[np.arange(classes) % len(strong_first)]
    return colours


def _legend(figure, classes: Sequence[str], shown: np.ndarray) -> None:
    """Explain the colours of the classes that occur in ``shown``, to the right of everything."""
    colours = palette(len(classes))
    present = np.unique(shown)
    patches = [Patch(color=colours[k], label="void" if k == VOID else classes[k]) for k in present]
    figure.legend(handles=patches, loc="outside right center", fontsize=7, handlelength=1.0)


def _grid(rows: int, titles: Sequence[str], shape: tuple[int, int], width: float):
    figure, axes = style.new(rows, len(titles), width=width, height=width * shape[0] / shape[1] + 0.12, squeeze=False)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=8)
    for axis in axes.flat:
        style.bare(axis)
    return figure, axes


def look(scenes: Sequence[Scene], classes: Sequence[str]) -> Photograph:
    """Draw pictures as they come: colour, depth (m, dark is near), labels with a legend."""
    figure, axes = _grid(len(scenes), ("RGB", "depth", "labels"), scenes[0].label.shape, 1.9)
    colours, deepest = palette(len(classes)), max(float(s.depth.max()) for s in scenes)
    for row, scene in zip(axes, scenes, strict=True):
        row[0].imshow(scene.rgb)
        image = row[1].imshow(scene.depth, vmin=0, vmax=deepest)
        row[2].imshow(colours[scene.label])
    figure.colorbar(image, ax=axes, location="bottom", shrink=0.4, aspect=30, pad=0.02, label="depth (m)")
    labels = np.stack([scene.label for scene in scenes])
    _legend(figure, classes, labels)
    share = np.bincount(labels.ravel(), minlength=VOID + 1)[: len(classes)] / labels.size
    most = ", ".join(f"{classes[k]} {100 * share[k]:.0f} %" for k in np.argsort(-share)[:3])
    return Photograph(figure, f"{len(scenes)} pictures, depth up to {deepest:.1f} m. Most pixels: {most}.")


def kept_maps(record: RunRecord, branch: str, shape: tuple[int, int]) -> np.ndarray:
    """Unpack the predicted label maps of the first test pictures, uint8 [n, H, W], without the network's padding."""
    return unpack_array(record.arrays["last"][branch]["maps"])[:, : shape[0], : shape[1]]


def predictions(scenes: Sequence[Scene], rows: Rows) -> Photograph:
    """Draw RGB | depth | truth | vanilla | DGL | DGL from RGB alone | from depth alone (statistics re-estimated)."""
    shown = {"vanilla": ("vanilla", "fused"), "DGL": ("DGL", "fused")}
    shown |= {f"DGL, {m} only": ("DGL", f"{m}_reestimated") for m in ("rgb", "depth")}
    scenes = scenes[:4]
    shape, classes = scenes[0].label.shape, rows["DGL"][0].data["classes"]
    figure, axes = _grid(len(scenes), ("RGB", "depth", "truth", *shown), shape, 1.25)
    colours, hits = palette(len(classes)), dict.fromkeys(shown, 0)
    truths = np.stack([scene.label for scene in scenes])
    for axis, (rgb, depth, label) in zip(axes, scenes, strict=True):
        for place, image in zip(axis, (rgb, depth, colours[label]), strict=False):
            place.imshow(image)
    for column, (title, (row, branch)) in enumerate(shown.items(), start=3):
        maps = kept_maps(rows[row][0], branch, shape)[: len(scenes)]
        for axis, image in zip(axes[:, column], colours[maps], strict=True):
            axis.imshow(image)
        hits[title] = (maps == truths)[truths != VOID].mean()
    _legend(figure, classes, truths)
    said = ", ".join(f"{title} {100 * share:.0f} %" for title, share in hits.items())
    return Photograph(figure, f"Predicted labels of {len(scenes)} test pictures. Pixels that are right: {said}.")


def agreement(scenes: Sequence[Scene], rows: Rows) -> Photograph:
    """Map where DGL helps (blue: only DGL is right) and hurts (red: only vanilla); white: both, grey: neither."""
    figure, axes = _grid(2, [""] * len(scenes), scenes[0].label.shape, 1.9)
    names = {"only DGL right": style.BLUE, "only vanilla right": style.RED, "both": "#FFFFFF", "neither": "#AAAAAA"}
    colours = np.array([*map(to_rgb, names.values()), NO_LABEL])
    shape, counts = scenes[0].label.shape, np.zeros(5, dtype=int)
    maps = {row: kept_maps(rows[row][0], "fused", shape) for row in ("vanilla", "DGL")}
    for number, scene in enumerate(scenes):
        dgl, vanilla = (maps[row][number] == scene.label for row in ("DGL", "vanilla"))
        case = np.select([scene.label == VOID, dgl & ~vanilla, vanilla & ~dgl, dgl], [4, 0, 1, 2], 3)
        counts += np.bincount(case.ravel(), minlength=5)
        axes[0, number].imshow(scene.rgb)
        axes[1, number].imshow(colours[case])
    patches = [Patch(facecolor=c, edgecolor="grey", label=name) for name, c in names.items()]
    figure.legend(handles=patches, loc="outside lower center", ncols=4, fontsize=8)
    share = 100 * counts[:4] / counts[:4].sum()
    said = ", ".join(f"{name} {value:.0f} %" for name, value in zip(names, share, strict=True))
    return Photograph(figure, f"Labelled pixels of {len(scenes)} test pictures: {said}.")


def learning_curves(panels: Panels) -> Picture:
    """Draw validation mIoU at the epochs that measured it, mean and range over seeds, and test at the last epoch."""
    headings = [style.heading(title, len(rows["vanilla"])) for title, rows in panels.items()]
    figure, axes = style.row(headings, "epoch", "mIoU (%)", width=3.9, height=2.6)
    said = []
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        ends = []
        for row in COMPARED:
            values = 100 * series(rows[row], "val/fused/miou")  # [seeds, epochs], NaN where not measured
            epochs = np.flatnonzero(~np.isnan(values[0]))
            values, test = values[:, epochs], 100 * series(rows[row], "test/fused/miou")[:, -1]
            band(axis, values, *LINES[row], row, epochs=epochs + 1, marker="o", markersize=3)
            axis.plot(epochs[-1] + 1.15, test.mean(), "*", color=LINES[row][0], markersize=9)
            ends.append(f"{row} validation {values[:, -1].mean():.1f}, test {test.mean():.1f}")
        axis.set_ylim(bottom=0)
        style.beside(axis)
        said.append(f"{title}: {'; '.join(ends)}")
    style.legend(figure, {"validation": (style.BLACK, "o", {"markersize": 3}), "test": (style.BLACK, "*")})
    return Picture(figure, "mIoU (%) at the last epoch. " + ". ".join(said) + ".")


def iou_differences(rows: Rows) -> dict[str, list[float]]:
    """Subtract vanilla's IoU from DGL's: class -> points per seed, classes without test pixels left out."""
    partner = {record.spec.seed: record for record in rows["vanilla"]}
    pairs = [(record, partner[record.spec.seed]) for record in rows["DGL"] if record.spec.seed in partner]

    def iou(record: RunRecord) -> np.ndarray:
        return class_iou(unpack_array(record.arrays["last"]["fused"]["confusion"]))

    values = 100 * np.array([iou(a) - iou(b) for a, b in pairs])  # [seeds, K]
    names = pairs[0][0].data["classes"]
    return {name: points.tolist() for name, points in zip(names, values.T, strict=True) if np.isfinite(points).all()}


def class_differences(panels: Panels) -> Picture:
    """Draw the IoU of DGL minus that of vanilla per class, in points and sorted; bars are means, dots are seeds."""
    differences = {title: iou_differences(rows) for title, rows in panels.items()}
    headings = [style.heading(title, len(next(iter(found.values())))) for title, found in differences.items()]
    height = 0.9 + 0.15 * max(map(len, differences.values()))
    figure, axes = style.row(headings, "DGL - vanilla, IoU (points)", width=3.4, height=height)
    said = []
    for axis, (title, found) in zip(axes, differences.items(), strict=True):
        names = sorted(found, key=lambda name: np.mean(found[name]))
        means = [float(np.mean(found[name])) for name in names]
        axis.barh(names, means, color=[style.BLUE if mean > 0 else style.RED for mean in means], alpha=0.6)
        for place, name in enumerate(names):
            axis.plot(found[name], [place] * len(found[name]), "o", color="black", markersize=2)
        axis.axvline(0, color="black", linewidth=0.8)
        axis.tick_params(axis="y", labelsize=7)
        ends = f"most {names[-1]} {means[-1]:+.1f}, least {names[0]} {means[0]:+.1f}"
        said.append(f"{title}: {sum(mean > 0 for mean in means)} of {len(names)} classes gain, {ends}")
    return Picture(figure, "IoU of DGL minus vanilla in points. " + "; ".join(said) + ".")


def masked(panels: Panels) -> Picture:
    """Draw each modality's own test mIoU: statistics as trained (hollow), re-estimated under the mask (filled)."""
    headings = [style.heading(title, len(rows["vanilla"])) for title, rows in panels.items()]
    figure, axes = style.row(headings, ylabel="test mIoU (%)", height=2.4, sharey=True)
    said = []
    for axis, (title, rows) in zip(axes, panels.items(), strict=True):
        names, ends = [], []
        for m in rows["vanilla"][0].data["modalities"]:
            colour = style.MODALITY[m][0]
            for row in COMPARED:
                means = []
                for branch, fill in ((m, "none"), (f"{m}_reestimated", colour)):
                    values = percent(rows[row], branch)
                    means.append(float(np.mean(values)))
                    axis.plot([len(names)] * len(values), values, "o", color=colour, markerfacecolor=fill, markersize=6)
                axis.plot([len(names)] * 2, means, "-", color="grey", linewidth=0.8, zorder=0)
                ends.append(f"{m} in {row} {means[0]:.1f} to {means[1]:.1f}")
                names.append(f"{m}\n{row}")
        axis.set_xticks(range(len(names)), names, fontsize=8)
        axis.set_ylim(bottom=0)
        said.append(f"{title}: {', '.join(ends)}")
    hollow = {"statistics as trained": (style.BLACK, "o", {"markerfacecolor": "none"})}
    style.legend(figure, hollow | {"statistics re-estimated under the mask": (style.BLACK, "o")})
    text = "Test mIoU (%) of one modality, from statistics as trained to re-estimated ones"
    return Picture(figure, f"{text}. {'; '.join(said)}.")
