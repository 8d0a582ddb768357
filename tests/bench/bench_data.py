"""Serving one cached training sample against the official per-item path, equal threads (``make bench``).

Official path: load and resample the wav, repeat, STFT and logarithm by librosa; decode the JPEG, random resized crop
and mirror by Pillow, to a tensor, normalise. Ours: a batch of 64 from the prepared arrays, with the same random resized
crop and normalisation. Both run in this process with one thread; times are processor time, the best of several rounds.
"""

from __future__ import annotations

import copy
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import math
import sys
import tempfile
import time
from pathlib import Path

import librosa
import numpy as np
import soundfile
import torch
from PIL import Image

from dgl_core import data
from dgl_core.data.generated.emotions import acting, emotion_files, voice
from dgl_core.data.transforms import IMAGENET_MEAN, IMAGENET_STD

CLIPS, BATCH = 120, 64
FLOOR_SOUND, FLOOR_SAMPLE = 100.0, 3.0
MEAN, STD = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))


def make_folder(root: Path) -> Path:
    """A folder like CREMA-D: wav at 16 kHz, frames of 480 x 360."""
    settings, folder = emotion_files.Settings(clips=CLIPS), root / "cremad"
    lists = {"train": [], "test": []}
    (folder / emotion_files.AUDIO).mkdir(parents=True)
    for clip in emotion_files.clip_list(settings):
        sound = librosa.resample(emotion_files.sound(settings, clip) / 32768, orig_sr=voice.RATE, target_sr=16000)
        soundfile.write(folder / emotion_files.AUDIO / f"{clip.name}.wav", sound, 16000)
        (folder / emotion_files.FRAMES / clip.name).mkdir(parents=True)
        frame = Image.fromarray(emotion_files.picture(settings, clip)).resize((480, 360), Image.Resampling.BICUBIC)
        frame.save(folder / emotion_files.FRAMES / clip.name / "00000.jpg", quality=92)
        part = "test" if clip.number >= CLIPS - 18 else "train"
        lists[part].append(f"{clip.name},{acting.EMOTIONS[clip.label]}\n")
    for part, lines in lists.items():
        (folder / f"{part}.csv").write_text("".join(lines))
    return folder


def official_sound(path: Path) -> torch.Tensor:
    sound, _ = librosa.load(path, sr=22050)
    sound = np.clip(np.tile(sound, 3)[: 22050 * 3], -1.0, 1.0)
    return torch.from_numpy(np.log(np.abs(librosa.stft(sound, n_fft=512, hop_length=353)) + 1e-7))


def official_picture(path: Path, rng: np.random.Generator) -> torch.Tensor:
    image = Image.open(path).convert("RGB")
    width, height = image.size
    wide, tall = width, height
    for _ in range(10):
        area = width * height * rng.uniform(0.08, 1.0)
        ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            wide, tall = w, h
            break
    left, top = rng.integers(width - wide + 1), rng.integers(height - tall + 1)
    image = image.crop((left, top, left + wide, top + tall)).resize((224, 224), Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return (torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255) - MEAN) / STD


def milliseconds(work, rounds: int = 30) -> float:
    """Processor time per sample of a batch, the best of several rounds."""
    best = math.inf
    for _ in range(rounds):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return 1000 * best / BATCH


def main() -> int:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        os.environ["DGL_DATA_CACHE"] = str(Path(place) / "cache")
        folder = make_folder(Path(place))
        dataset = data.load("cremad", place, spectrogram="official", frame_size=224, augment="crop")
        rows = dataset.indices("train")[:BATCH]
        wavs = [folder / emotion_files.AUDIO / f"{dataset.ids[i]}.wav" for i in rows.tolist()]
        frames = [folder / emotion_files.FRAMES / dataset.ids[i] / "00000.jpg" for i in rows.tolist()]
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        parts = {m: copy.copy(dataset) for m in dataset.modalities}
        for modality, part in parts.items():
            part.inputs = {modality: dataset.inputs[modality]}

        def normalise_only() -> None:
            for picture in dataset.inputs["visual"][rows]:
                picture[:224, :224].float().sub_(255 * MEAN.flatten()).div_(255 * STD.flatten())

        times = {
            "official sound": milliseconds(lambda: [official_sound(p) for p in wavs], 8),
            "official picture": milliseconds(lambda: [official_picture(p, rng) for p in frames], 8),
            "our sound": milliseconds(lambda: parts["audio"].batch(rows, generator), 300),
            "our picture": milliseconds(lambda: parts["visual"].batch(rows, generator)),
            "our sample": milliseconds(lambda: dataset.batch(rows, generator)),
            "picture floor": milliseconds(normalise_only),
        }
    for name, value in times.items():
        print(f"{name:<18}{value:8.3f} ms a sample")
    sound = times["official sound"] / times["our sound"]
    sample = (times["official sound"] + times["official picture"]) / times["our sample"]
    picture = times["our picture"] / times["picture floor"]
    print(f"sound   {sound:6.0f} x faster than the official path (at least {FLOOR_SOUND:.0f})")
    print(f"sample  {sample:6.1f} x faster than the official path (at least {FLOOR_SAMPLE:.0f})")
    print(f"picture {picture:6.1f} x the time of only normalising a plain 224 x 224 crop, which every path must do")
    return int(sound < FLOOR_SOUND or sample < FLOOR_SAMPLE)


if __name__ == "__main__":
    sys.exit(main())
