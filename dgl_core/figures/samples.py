"""Draw data: faces, voices, spectrograms. Values come in as arrays; nothing is read or generated here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from dgl_core.figures import style
from dgl_core.figures.style import Photograph, Picture


def samples(faces: Mapping[str, np.ndarray], spectrograms: Mapping[str, np.ndarray], seconds: float) -> Photograph:
    """Draw, per class, a face (uint8 ``[H, W, 3]``) and below it a spectrogram (``[F, T]``, T spans ``seconds``)."""
    figure, axes = style.new(2, len(faces), width=1.35, height=1.5, squeeze=False)
    shared = _loudness(spectrograms.values())
    for column, name in enumerate(faces):
        face, sound = axes[:, column]
        face.set_title(name)
        _picture(face, faces[name])
        sound.imshow(spectrograms[name], origin="lower", aspect="auto", extent=(0, seconds, 0, 11.025), **shared)
        sound.grid(False)
        sound.set(xlabel="time (s)", yticks=[0, 4, 8] if column == 0 else [])
    axes[1, 0].set_ylabel("frequency (kHz)")
    level = {name: float(np.log(np.exp(2 * x).mean())) for name, x in spectrograms.items()}  # of the mean power
    loud, soft = max(level, key=level.get), min(level, key=level.get)
    text = f"One drawn face and one voice for each of {', '.join(faces)}."
    return Photograph(figure, f"{text} Loudest voice: {loud}; softest: {soft}.")


def forms(sound: np.ndarray, rate: int, official: np.ndarray, paper: np.ndarray) -> Picture:
    """Draw one clip three times: waveform ``[n]`` at ``rate`` Hz, the official code's and the paper's ``[F, T]``."""
    figure, axes = style.new(1, 3, width=3.2, height=2.4)
    time = np.arange(len(sound)) / rate
    axes[0].plot(time, sound, color=style.BLUE, linewidth=0.4)
    axes[0].set(title="waveform", xlabel="time (s)", ylabel="amplitude")
    shared = _loudness([official, paper])
    for axis, picture, title in ((axes[1], official, "official code"), (axes[2], paper, "paper")):
        image = axis.imshow(picture, origin="lower", aspect="auto", **shared)
        axis.grid(False)
        axis.set(title=f"{title}: {picture.shape[0]} x {picture.shape[1]}", xlabel="window", ylabel="frequency bin")
    figure.colorbar(image, ax=axes[2], label="ln(|S| + 1e-7)")
    text = f"A voice of {len(sound) / rate:.1f} s; its spectrogram has {official.shape[1]} windows as the official code"
    both = f"{paper.shape[1]} as the paper describes it, {official.shape[0]} frequencies both."
    return Picture(figure, f"{text} makes it and {both}")


def difficulty(faces: Mapping[float, Mapping[str, np.ndarray]]) -> Photograph:
    """Draw the same clips, difficulty -> class -> uint8 ``[H, W, 3]``: one row a difficulty, one column a class."""
    columns = list(next(iter(faces.values())))
    figure, axes = style.new(len(faces), len(columns), width=0.85, height=0.9)
    plain, steps = faces[min(faces)], []
    for row, (level, pictures) in zip(axes, faces.items(), strict=True):
        for axis, name in zip(row, columns, strict=True):
            _picture(axis, pictures[name])
        row[0].set_ylabel(f"{level:g}")
        change = np.mean([np.abs(pictures[n].astype(float) - plain[n]).mean() for n in columns])
        steps.append(f"{level:g}: {change:.0f}")
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name)
    text = f"The same {len(columns)} faces at {len(faces)} difficulties; mean change of a pixel: "
    return Photograph(figure, f"{text}{', '.join(steps)} of 255.")


def augmented(picture: np.ndarray, crops: Sequence[np.ndarray]) -> Photograph:
    """Draw a stored picture, uint8 ``[H, W, 3]``, and what training makes of it, several uint8 ``[h, w, 3]``."""
    figure, axes = style.new(1, len(crops) + 1, width=1.0, height=1.15)
    for axis, image in zip(axes, (picture, *crops), strict=True):
        _picture(axis, image)
        axis.set_title("stored" if image is picture else "cropped")
    text = f"One face of {picture.shape[0]} pixels and {len(crops)} random resized crops of {crops[0].shape[0]}."
    return Photograph(figure, text)


def words(lips: Mapping[str, np.ndarray], sounds: Mapping[str, np.ndarray]) -> Picture:
    """Draw spoken words: every second of 8 lip frames, uint8 ``[8, H, W]``, and the log-mel, ``[time, mel]``."""
    figure, axes = style.new(len(lips), 5, width=1.5, height=1.1)
    for (*small, last), (word, frames) in zip(axes, lips.items(), strict=True):
        for axis, frame in zip(small, frames[::2], strict=True):
            _picture(axis, frame, cmap="gray", vmin=0, vmax=255)
        small[0].set_ylabel(word)
        _picture(last, sounds[word].T, origin="lower", aspect="auto")
    axes[0, 4].set_title("log mel")
    return Picture(figure, f"Lips and sound of the words {', '.join(lips)}.")


def _loudness(pictures) -> dict[str, float]:
    """Share colour limits, so that louder looks brighter; what is 10 (a factor 22,000) below the loudest is dark."""
    loudest = max(float(x.max()) for x in pictures)
    return {"vmin": loudest - 10.0, "vmax": loudest}


def _picture(axis, image: np.ndarray, **options) -> None:
    axis.imshow(image, **options)
    style.bare(axis)
