"""Ask the two trained networks about a few test clips, whole and with a modality weakened or taken away."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image, ImageFilter
from scipy import signal
from scipy.io import wavfile
from torch import Tensor

from dgl_core.data.generated.emotions import emotion_files
from dgl_core.data.generated.emotions.acting import EMOTIONS
from dgl_core.data.generated.emotions.emotion_files import Clip, Settings
from dgl_core.data.generated.emotions.voice import RATE
from dgl_core.data.media.pictures import scaled
from dgl_core.data.media.spectrogram import FORMS, spectrogram
from dgl_core.data.recipe import random_split
from dgl_core.gradients import FUSED
from dgl_core.models.multimodal import untouched
from dgl_core.reproduce.play import trained
from dgl_core.training.saving.weights import Predictor

EACH = 2  # clips of every emotion
MUFFLED = 800.0  # Hz; from there on tones fade by a half per octave
BLURRED = 2.0  # pixels of 96, the radius of the blur
STATES = ("whole", "weakened", "absent")  # of a modality: as it is; muffled or blurred; zero features
WORDS = {"NEU": "neutral", "HAP": "happy", "SAD": "sad", "FEA": "afraid", "DIS": "disgusted", "ANG": "angry"}


def data() -> dict:
    """Collect the clips with what is heard and seen of them, and what both networks answer in every state."""
    settings = Settings()
    clips = chosen(settings)
    inputs = [stored(settings, clip) for clip in clips]
    accuracy = {row: noted["accuracy"] for row, noted in trained.history().items() if row in trained.ROWS}
    return {
        "emotions": [WORDS[name] for name in EMOTIONS],
        "clips": [shown(settings, clip, values) for clip, values in zip(clips, inputs, strict=True)],
        "answers": {row: answers(trained.predictor(row), inputs) for row in trained.ROWS},
        "accuracy": accuracy,
        "weights": sum(p.numel() for p in trained.network(len(EMOTIONS)).parameters()),
    }


def chosen(settings: Settings) -> list[Clip]:
    """Choose the first test clips of every emotion, in the order in which the set is made; nobody looked at them."""
    clips = emotion_files.clip_list(settings)
    parts = random_split([clip.label for clip in clips], seed=settings.seed)
    tested = [clip for clip, part in zip(clips, parts, strict=True) if part == "test"]
    return [clip for k in range(len(EMOTIONS)) for clip in [c for c in tested if c.label == k][:EACH]]


def stored(settings: Settings, clip: Clip) -> dict[str, list[Tensor]]:
    """Make what a network is given of a clip: modality -> [whole, weakened], as the data set stores them."""
    sounds = [sound(settings, clip, muffled) for muffled in (False, True)]
    faces = [face(settings, clip, blurred) for blurred in (False, True)]
    form = FORMS["compact"]
    return {
        "audio": [torch.from_numpy(spectrogram(x, form).astype(np.float16)) for x in sounds],  # [64, 47]
        "visual": [torch.from_numpy(np.array(scaled(x, trained.SHAPES["visual"][1]))) for x in faces],  # [48, 48, 3]
    }


def sound(settings: Settings, clip: Clip, muffled: bool) -> np.ndarray:
    """Make the voice of a clip, float32 ``[n]`` at 22 050 Hz; ``muffled`` by a low-pass filter of first order."""
    voice = emotion_files.sound(settings, clip).astype(np.float32) / 32768
    if not muffled:
        return voice
    return signal.sosfilt(signal.butter(1, MUFFLED, fs=RATE, output="sos"), voice).astype(np.float32)


def face(settings: Settings, clip: Clip, blurred: bool) -> Image.Image:
    """Make the frame of a clip as a reader of its file sees it, 96 pixels wide; ``blurred`` by a Gaussian."""
    picture = Image.open(io.BytesIO(_jpeg(Image.fromarray(emotion_files.picture(settings, clip))))).convert("RGB")
    return picture.filter(ImageFilter.GaussianBlur(BLURRED)) if blurred else picture


@torch.no_grad()
def answers(network: Predictor, inputs: list[Mapping[str, list[Tensor]]]) -> list[dict]:
    """Compute the logits for every clip: ``fused`` by state of sound and face [3][3][6], branches [2][6].

    A modality that is absent counts as zero features (Eq. 12), so the fused answer is the other branch's.
    """
    found = []
    with untouched(network.model):
        for clip in inputs:
            ready = network.preparation({m: torch.stack(values) for m, values in clip.items()})
            features = network.model.encode(ready)  # m -> [2, D]
            fused = [[_fused(network, features, audio, visual) for visual in STATES] for audio in STATES]
            branches = {m: _numbers(network.model.fuse(features, (m,))) for m in features}
            found.append({FUSED: fused} | branches)
    return found


def _fused(network: Predictor, features: Mapping[str, Tensor], *states: str) -> list[float]:
    """Compute the fused logits of one clip in one state of each modality, in the order of ``features``."""
    placed = {m: z[STATES.index(s) % 2][None] for (m, z), s in zip(features.items(), states, strict=True)}
    keep = tuple(m for m, s in zip(features, states, strict=True) if s != "absent")
    return _numbers(network.model.fuse(placed, keep))[0]


def _numbers(logits: Tensor) -> list[list[float]]:
    """Write float32 logits with the digits that they have."""
    return [[float(f"{value:.9g}") for value in row] for row in logits.tolist()]


def shown(settings: Settings, clip: Clip, values: Mapping[str, list[Tensor]]) -> dict:
    """Make what the page plays and shows of a clip; sounds are played at half of their rate."""
    halves = [signal.resample_poly(sound(settings, clip, muffled), 1, 2) for muffled in (False, True)]
    return {
        "name": clip.name,
        "actor": clip.actor,
        "label": clip.label,
        "sounds": [_uri("audio/wav", _wav(half, RATE // 2)) for half in halves],
        "faces": [_uri("image/jpeg", _jpeg(face(settings, clip, blurred))) for blurred in (False, True)],
        "heard": [_uri("image/png", _spectrogram(x, values["audio"][0])) for x in values["audio"]],
    }


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _wav(samples: np.ndarray, rate: int) -> bytes:
    buffer = io.BytesIO()
    wavfile.write(buffer, rate, np.rint(np.clip(samples, -1, 1) * 32767).astype(np.int16))
    return buffer.getvalue()


def _jpeg(picture: Image.Image) -> bytes:
    """Write a frame as the files of the set are written."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def _spectrogram(heard: Tensor, whole: Tensor) -> bytes:
    """Draw a spectrogram [F, T] as a small PNG, low tones below, in the colours of the whole clip's."""
    low, high = float(whole.float().quantile(0.02)), float(whole.max())
    shades = ((heard.float() - low) / (high - low)).clamp(0, 1).flip(0).numpy()
    picture = Image.fromarray((colormaps["viridis"](shades)[..., :3] * 255).astype(np.uint8))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
