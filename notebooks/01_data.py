# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: jupyter,tags,-all
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext,-jupytext.text_representation.jupytext_version,-jupytext.text_representation.format_version
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1. Listen, look, spectrogram
#
# **Question.** What do the networks of the paper hear and see, and can the numbers be trusted before anything is
# trained?
#
# **Claim checked.** Section 4.1: the data sets with their counts, classes and splits, and the spectrogram of 257 x 299
# that the paper gives for CREMA-D.
#
# **Runtime.** The profile smoke takes 15 s, cpu and paper 30 s (they generate 1,500 clips once). No GPU is needed.
#
# [CREMA-D](https://doi.org/10.1109/TAFFC.2014.2336244) itself may not be shipped here. Where you have it, put it in
# `data/cremad`. Where you have not, a generated set with the same folders and names takes its place, and no table ever
# calls it CREMA-D.

# %% [markdown] tags=["navigation"]
# [contents](00_start_here.ipynb) · [02 gradient theory →](02_gradient_theory.ipynb)

# %% jupyter={"source_hidden": true} tags=["bootstrap"]
try:
    import dgl_core.reproduce.notebook
except ImportError as missing:
    raise ModuleNotFoundError(
        f"This kernel has no {missing.name}. Open the notebook by `make lab`, or install the project into the "
        "kernel by %pip install -e '..[notebooks]' and restart it."
    ) from None

# %% tags=["parameters"]
profile = "smoke"  # smoke | cpu | paper
seed = 0  # of the random crops
data_root = ""  # empty: DGL_DATA, ./data, or generated

# %% jupyter={"source_hidden": true}
import librosa
import numpy as np
import pandas
import torch
from IPython.display import Audio, display
from ipywidgets import interact

import dgl_core
from dgl_core import data, fit, models
from dgl_core.data import catalogue, transforms
from dgl_core.data.files import cache
from dgl_core.data.generated.emotions import emotion_files, voice
from dgl_core.data.media.sound import read_wav
from dgl_core.data.media.spectrogram import FORMS, spectrogram
from dgl_core.figures import samples

settings = dgl_core.start(profile, seed, data_root=data_root)

# %% tags=["nbval-ignore-output"]
dgl_core.provenance()

# %% [markdown]
# ## 1.1 Six emotions, ninety-one actors
# In each clip one actor says one of twelve sentences with one emotion. A clip is a wav file and a frame, named as in
# CREMA-D. The voice is a small synthesiser (glottal pulses and breath through five formants; the emotion moves pitch,
# tempo, loudness and voice quality), the face is drawn (the emotion moves brows, lids, nose and mouth). Actor,
# sentence, pose and light are nuisance.

# %%
clips = 240 if profile == "smoke" else 1500
dataset = data.load("emotions", clips=clips)
plain = emotion_files.Settings(clips=clips, audio_difficulty=0.0, visual_difficulty=0.0)
first = {dataset.classes[clip.label]: clip for clip in emotion_files.clip_list(plain)[:6]}  # one clip of each class
sounds = {name: emotion_files.sound(plain, clip) / 32768 for name, clip in first.items()}
faces = {name: emotion_files.picture(plain, clip) for name, clip in first.items()}
pictures = {name: spectrogram(sound, FORMS["official"]) for name, sound in sounds.items()}
dgl_core.publish("figure_1_1", samples.samples(faces, pictures, seconds=3.0))

# %% [markdown]
# **Figure 1.1.** One clip of each class at difficulty 0: the face, and the spectrogram (time in s, frequency in kHz,
# brighter is louder; a short clip is repeated until it fills 3 s). Anger is loud and bright, sadness soft and dark,
# fear high and breathy.

# %% tags=["nbval-skip"]
for name, sound in sounds.items():
    print(name, first[name].name)
    display(Audio(sound, rate=voice.RATE))

# %% [markdown]
# *(The players appear when the notebook runs; a page on GitHub cannot play sound.)*

# %% [markdown]
# ## 1.2 The paper's sets, and what is here
# The counts of [the paper](https://arxiv.org/abs/2507.10213) (Section 4.1) stand beside what this profile loads.
# `python -m dgl_core data status` says the same in a terminal, with the folders looked in and the licences. The paper's
# sets: [CREMA-D](https://doi.org/10.1109/TAFFC.2014.2336244), [Kinetics-Sounds](https://arxiv.org/abs/1705.08168),
# [VGGSound](https://arxiv.org/abs/2004.14368), [CMU-MOSI](https://arxiv.org/abs/1606.06259) and
# [NYUv2](https://doi.org/10.1007/978-3-642-33715-4_54).

# %%
dgl_core.publish("table_data", catalogue.overview(profile, settings.data_root))

# %% [markdown]
# CREMA-D is cut at random, so the same actors speak in training and in testing. The generated set copies that.

# %% [markdown]
# ## 1.3 Counts, classes, splits, checksums
# A table of results silently relies on these facts, so they are asserted here.

# %%
labels = pandas.Series([dataset.classes[k] for k in dataset.target.tolist()], name="class")
table = pandas.crosstab(labels, pandas.Series(dataset.split, name="part")).loc[list(dataset.classes), list(data.PARTS)]
dgl_core.publish("table_counts", table)

# %%
made = emotion_files.Settings(clips=clips)  # difficulties as in training
folder = emotion_files.ensure(made)
clip = emotion_files.clip_list(made)[0]
again = emotion_files.wav_bytes(emotion_files.sound(made, clip))
manifest = cache.read_manifest(folder)
actors = {part: {dataset.ids[i][:4] for i in dataset.indices(part).tolist()} for part in data.PARTS}
dgl_core.check("1.3a every clip is in exactly one part", table.to_numpy().sum() == len(set(dataset.ids)) == clips)
dgl_core.check("1.3b classes are balanced in every part", (table.max() - table.min() <= 1).all())
dgl_core.check("1.3c actors are in train and test, as in CREMA-D", actors["train"] & actors["test"])
dgl_core.check("1.3d every file has its checksum", not cache.wrong_files(folder, manifest), f"{len(manifest)} files")
dgl_core.check("1.3e made again: the same bytes", again == (folder / "AudioWAV" / f"{clip.name}.wav").read_bytes())

# %% [markdown]
# ## 1.4 Two sizes of one spectrogram
# The paper says: "a spectrogram of size 257 x 299 by librosa using a window with a length of 512 and an overlap of
# 353". The code passes 353 as the *hop*, the step from one window to the next, at 22,050 Hz. With windows that are
# centred on their times that gives $1 + \lfloor 66150 / 353 \rfloor = 188$ columns. An overlap of 353 is a hop of
# $512 - 353 = 159$, and $\lfloor (48000 - 353) / 159 \rfloor = 299$ columns are 3 s at 16,000 Hz. So paper and code
# differ; we follow the code and offer the paper's form as an option.

# %%
name = "ANG"
path = folder / "AudioWAV" / f"{emotion_files.clip_list(made)[dataset.classes.index(name)].name}.wav"
forms = {form: spectrogram(read_wav(path, FORMS[form].rate), FORMS[form]) for form in ("official", "paper", "compact")}
waveform = read_wav(path, voice.RATE)
dgl_core.publish("figure_1_2", samples.forms(waveform, voice.RATE, forms["official"], forms["paper"]))

# %% [markdown]
# **Figure 1.2.** One angry clip as a waveform (amplitude against s) and as the two spectrograms (frequency bins against
# windows, colour = ln(|S| + 1e-7)). The official code repeats a clip until it fills 3 s, and so does the form of the
# paper here. The right picture reaches 8 kHz, the middle one 11 kHz.

# %%
repeated = np.tile(waveform.astype(float), 3)[: FORMS["official"].samples]
reference = np.log(np.abs(librosa.stft(repeated, n_fft=512, hop_length=353)) + 1e-7)
shapes = {form: picture.shape for form, picture in forms.items()}
dgl_core.check("1.4a the official form is 257 x 188", shapes["official"] == (257, 188))
dgl_core.check("1.4b the form of the paper is 257 x 299", shapes["paper"] == (257, 299))
dgl_core.check("1.4c ours equals librosa", np.abs(forms["official"] - reference).max() < 1e-4, "max difference < 1e-4")
print("compact form for CPUs, means over 4 x 4 blocks of the official one:", shapes["compact"])

# %% [markdown]
# ## 1.5 How hard it is
# Difficulty is a parameter of each modality. It weakens the emotion, mixes in another one, and adds irregularity, pose
# and noise. At the default (0.35 for sound, 0.45 for faces) a small network reads either modality alone in about two
# clips of three, as the ResNet-18 of the paper does on CREMA-D.

# %%
levels = (0.0, 0.2, 0.45, 0.7, 1.0)
sweep = {level: emotion_files.Settings(clips=clips, visual_difficulty=level) for level in levels}
shown = {level: {name: emotion_files.picture(sweep[level], clip) for name, clip in first.items()} for level in levels}
dgl_core.publish("figure_1_3", samples.difficulty(shown))

# %% [markdown]
# **Figure 1.3.** The same six clips at five difficulties (rows; 0.45 is the default). Identity stays; the expression
# fades, leans towards another one and becomes irregular.


# %% tags=["nbval-skip"]
def listen_and_look(emotion, difficulty):
    chosen = emotion_files.Settings(clips=clips, audio_difficulty=difficulty, visual_difficulty=difficulty)
    sound = emotion_files.sound(chosen, first[emotion]) / 32768
    display(Audio(sound, rate=voice.RATE))
    face, picture = emotion_files.picture(chosen, first[emotion]), spectrogram(sound, FORMS["official"])
    display(samples.samples({emotion: face}, {emotion: picture}, seconds=3.0))


_ = interact(listen_and_look, emotion=list(first), difficulty=(0.0, 1.0, 0.05))

# %% [markdown]
# ## 1.6 What training does to a picture
# The official code cuts a random box (8 to 100 % of the area), scales it to 224 x 224 and mirrors half of them. Here a
# whole batch is done at once and drawn from a generator, so that a resumed run sees the same pictures.

# %%
stored = faces["HAP"]
crop = transforms.RandomResizedCrop(80)
batch = torch.from_numpy(stored).repeat(5, 1, 1, 1)
x = crop(batch, torch.Generator().manual_seed(seed)) * crop.std + crop.mean  # back to 0..255
crops = x.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
dgl_core.publish("figure_1_4", samples.augmented(stored, crops))

# %% [markdown]
# **Figure 1.4.** A stored frame and five training views of it.

# %%
one, two = (crop(batch, torch.Generator().manual_seed(7)) for _ in range(2))
dgl_core.check("1.6a the same generator gives the same views", torch.equal(one, two))
dgl_core.check("1.6b evaluation changes nothing at random", torch.equal(crop(batch), crop(batch)))

# %% [markdown]
# ## 1.7 Real speech and real lips
# The [GRID corpus](https://doi.org/10.1121/1.2229005) (one talker, 6,000 spoken words, CC BY 4.0) is the real
# audio-visual set of the profiles `cpu` and `paper`. *GRID letters* are the letters of the alphabet in it. It is not
# CREMA-D and is never called so. Its pictures show a real person, so they are drawn where the data is and are not
# committed.

# %%
if profile == "smoke" or not data.DATASETS["grid_letters"].available(settings.data_root):
    print("GRID: not shown in this profile, or not here")
else:
    letters = data.load("grid_letters", settings.data_root)
    rows = [letters.target.tolist().index(k) for k in range(3)]
    lips = {letters.classes[k]: letters.inputs["visual"][row].numpy() for k, row in enumerate(rows)}
    mels = {letters.classes[k]: letters.inputs["audio"][row].numpy() for k, row in enumerate(rows)}
    display(samples.words(lips, mels))
    tests = [set(data.load("grid_letters", settings.data_root, fold=k).indices("test").tolist()) for k in range(5)]
    dgl_core.check("1.7a five folds test every utterance once", sorted(set().union(*tests)) == list(range(1000)))

# %% [markdown]
# **What this does not show.** The generated set is a caricature: its cues follow textbooks, its noise is ours, and a
# method that wins on it need not win on people. Difficulties were tuned on validation data so that both modalities
# inform and neither suffices. The official code takes the first frame of an unsorted directory listing; we take the
# first by name.
#
# **Exercises.** Each has a cell that starts it and a folded solution. (1) Which sampling rate and which framing make
# 3 s of sound into 299 columns, with the window and the overlap of the paper? (2) Give every clip the face of another
# one, and predict what DGL makes of it. (3) Wrap two arrays of your own in `data.ArrayDataset`.

# %%
# Exercise 1, a start: columns of a centred spectrogram at 22,050 Hz. Which rate and which framing give the paper's 299?
window, hop, seconds = 512, 512 - 353, 3
print(1 + 22050 * seconds // hop)

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 1: only 16,000 Hz do, and only with windows that stay inside the sound. A centred window adds two columns.
columns = {}
for rate in (8000, 16000, 22050, 32000, 44100, 48000):
    columns[rate, "centred"] = 1 + rate * seconds // hop
    columns[rate, "inside"] = 1 + (rate * seconds - window) // hop
found = [way for way, count in columns.items() if count == 299]
dgl_core.check("exercise 1: one rate and one framing give 299 columns", found == [(16000, "inside")])

# %%
# Exercise 2, a start: a data set as plain arrays. Give every clip the face of another one, at random, and train DGL on
# both sets: what can a picture that says nothing teach its encoder?
easy = data.load("emotions", clips=240, audio_difficulty=0.1, visual_difficulty=0.1)
arrays, target = easy.batch(torch.arange(len(easy.ids)))
print({m: tuple(x.shape) for m, x in arrays.items()}, tuple(target.shape))

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 2: it teaches nothing that holds for other clips, so its branch stays near chance, which is one in six.
other = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))
branch = {}
for name, faces_of in (("its own face", torch.arange(len(target))), ("another's face", other)):
    mixed = data.ArrayDataset(arrays | {"visual": arrays["visual"][faces_of]}, target, easy.split, easy.classes)
    model = models.build("small", mixed.shapes, len(mixed.classes), seed, width=4)
    short = {"epochs": 6, "milestones": (5,), "lr": 0.03, "batch_size": 16, "evaluate_every": 6, "seed": seed}
    branch[name] = fit(model, "dgl", mixed, alpha=4.0, **short).score("visual")
dgl_core.check("exercise 2: without its own face a clip's picture says less",
               branch["another's face"] < branch["its own face"])  # fmt: skip

# %%
# Exercise 3, a start: two arrays of your own, six samples of two classes. What must be said besides the numbers?
arrays = {"left": torch.randn(6, 3), "right": torch.randn(6, 5)}
names = ["cat", "dog"] * 3

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 3: the label of every sample, and the part that it belongs to. Then every method here can train on it.
own = data.ArrayDataset(arrays, names, split=["train"] * 2 + ["val"] * 2 + ["test"] * 2)
dgl_core.check("exercise 3: the set knows its modalities, shapes and classes",
               own.shapes == {"left": (3,), "right": (5,)} and list(own.classes) == ["cat", "dog"])  # fmt: skip
