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
# # 6. Dense interaction and three modalities
#
# **Question.** Does DGL work where modalities mix *inside* the network, and with more than two of them?
#
# **Claim checked.** Table 2: DGL is best on CREMA-D with MMTM, modules by which encoders talk to each other (left), and
# on MOSI with three modalities (right).
#
# **Runtime.** The profile smoke takes a minute on two cores and cpu four; paper was not measured.
#
# *Reference* stands for committed run records (`results/reference`), *this run* for trainings that this notebook starts
# if their records are missing. CMU-MOSI is the paper's own data set, with other features; CREMA-D is not here, and no
# stand-in has its name.

# %% [markdown] tags=["navigation"]
# [← 05 ablations](05_ablations.ipynb) · [contents](00_start_here.ipynb) · [07 segmentation →](07_segmentation.ipynb)

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
seed = 0  # another one trains your run, shown beside the reference
alpha = 4.0  # weight of the unimodal losses; another one trains your run, too
recompute = False  # True trains the runs of this notebook anew
data_root = ""  # empty: DGL_DATA, ./data, or generated

# %% jupyter={"source_hidden": true}
import torch
from IPython.display import display
from ipywidgets import interact
from torch import nn

import dgl_core
from dgl_core import data, disentangled_loss, fit, load_or_run, models, reference
from dgl_core.data.sets import mosi
from dgl_core.figures import curves, modalities
from dgl_core.paper.experiments import late_fusion, profiles, table2
from dgl_core.paper.printed import paper_rows
from dgl_core.paper.tables import balance, differences
from dgl_core.paper.tables.results import results_table
from dgl_core.verdicts import selection

settings = dgl_core.start(profile, seed, alpha=alpha, recompute=recompute, data_root=data_root)

# %% tags=["nbval-ignore-output"]
dgl_core.provenance()

# %% [markdown]
# ## First the picture
# How good is each method, and how good is each modality inside it? The picture shows the left half of Table 2 on drawn
# faces with synthetic voices (*generated emotions*) and on film of one real person who says letters of the alphabet
# (*GRID letters*). [Notebook 04](04_benchmark.ipynb) says what the methods do; DGL-S and DGL-P are two readings of DGL
# (6.2).

# %%
TITLES = profiles.TITLES
left_run = {d: load_or_run(table2.table2_dense(profile, d), recompute=recompute) for d in late_fusion.datasets(profile)}
left = {d: reference(table2.table2_dense("cpu", d, profiles.REFERENCE_SEEDS)) for d in profiles.REFERENCE_DATASETS}
shown = {f"{TITLES[d]}, reference": rows for d, rows in left.items() if all(rows.values())}
shown = shown or {f"{TITLES[d]}, this run ({profile})": rows for d, rows in left_run.items()}
dgl_core.publish("figure_table_2_left", modalities.branch_dots(shown))

# %% [markdown]
# **Figure 6.1.** Table 2, left, as a picture: mean test accuracy in % of the fused model (black circle) and of each
# branch (blue square audio, orange triangle visual), with 95 % intervals from three seeds on. One frame of the lips
# shows little of a letter, alone or in company: the visual branch of GRID letters is little above chance at best.

# %% [markdown]
# ## 6.1 Two networks, and who can train them
# The left half of Table 2 uses [MMTM](https://arxiv.org/abs/1911.08670): two ResNets whose channels gate each other
# after layers 2, 3 and 4. The right half uses **MLP fusion**: an encoder for each feature vector and a perceptron on
# top. Nothing in `dgl_core` knows how many modalities there are or that fusion comes last. A method that needs to know
# refuses, in its own words. The paper leaves MLA out of Table 2 for the same reason.

# %%
dgl_core.publish("table_exclusions", balance.exclusion_table())

# %% [markdown]
# ## 6.2 What is an encoder, when modalities mix early?
# The paper does not say, and the released MMTM file detaches nothing. Two readings are possible, and both are here.
# **S** (stem split): encoders end at the first exchange; layers 3 and 4 belong to the fusion module. **P** (parameter
# split): encoders are whole ResNets, and the multimodal loss runs through them without training them. One backward pass
# shows who trains what.

# %%
shapes = {"audio": (1, 16, 16), "visual": (3, 16, 16)}
batch = {m: torch.randn(4, *shape, dtype=torch.float64) for m, shape in shapes.items()}
for name, split in table2.SPLITS.items():
    model = models.build("mmtm", shapes, 3, seed, width=4, blocks=1, split=split).double()
    disentangled_loss(model, batch, torch.tensor([0, 1, 2, 0]), alpha=4.0).total.backward()
    learnt = {m: [p.grad.clone() for p in e.parameters()] for m, e in model.encoders.items()}
    fused = [p.grad.clone() for p in model.fusion.parameters()]
    parameters = sum(g.numel() for gradients in learnt.values() for g in gradients)
    share = 100 * parameters / sum(p.numel() for p in model.parameters())
    print(f"{name}: {share:.0f} % of the parameters follow unimodal losses")
    loud = batch | {"visual": 3 * batch["visual"]}
    model.zero_grad()
    disentangled_loss(model, loud, torch.tensor([0, 1, 2, 0]), alpha=4.0).total.backward()
    same = all(map(torch.equal, learnt["audio"], [p.grad for p in model.encoders["audio"].parameters()]))
    dgl_core.check(f"6.2 {name}: the audio encoder's gradient does not depend on the picture", same, "bit for bit")

# %% [markdown]
# ## 6.3 Table 2, left: MMTM on one spectrogram and one frame
# The table shows accuracy in % after the last epoch, as mean ± deviation (seeds). Branches are scored by zeros at
# every exchange. Baselines act on whole branches, as in P; vanilla training and G-Blending are the same under both.
# Each reading of DGL has its own learning-rate control, because it calls other parameters an encoder.

# %%
for dataset in {**left, **left_run}:
    paper = paper_rows(2, "CREMA-D") if dataset == "cremad" else {}
    table = results_table(paper, left.get(dataset, {}), left_run.get(dataset, {}))
    print(f"{TITLES[dataset]}, profile {profile}")
    display(dgl_core.publish(f"table_2_left_{dataset}", table if paper else table.drop(columns="paper", level=1)))

# %% [markdown]
# The paper's left half shows the size of the effect that it reports on CREMA-D.

# %%
numbers = results_table(paper_rows(2, "CREMA-D"), {}, {})
dgl_core.publish("table_2_left_paper", numbers.drop(columns=["reference", "this run"], level=1))

# %%
# Your run: another alpha or seed above shows here MMTM as you trained it, beside the reference and this run.
def some(rows):
    return {row: rows[row] for row in ("vanilla", "G-Blending", "DGL", *table2.SPLITS) if row in rows}


if yours := settings.your_runs(lambda *of: some(table2.table2_dense(*of)), *left_run, usual=profiles.ALPHA):
    beside = ({d: some(found[d]) for d in left_run if d in found} for found in (left, left_run))
    display(modalities.branch_dots(curves.side_by_side(*beside, profile, yours)))

# %% [markdown]
# ## 6.4 S against P
# The tables show paired differences in points; their 95 % intervals describe.

# %%
for dataset, rows in left.items():
    if all(rows.values()):
        table = differences.differences_table(rows, ("vanilla", "DGL-S", "DGL-P"))
        print(TITLES[dataset])
        display(dgl_core.publish(f"table_s_and_p_{dataset}", table))

# %% [markdown]
# ## 6.5 Table 2, right: CMU-MOSI without peeking
# The data are [CMU-MOSI](https://arxiv.org/abs/1606.06259), films of people who praise or blame. The text and visual
# features at hand were learned by others *on the labels of the official training part*, so a validation part cut from
# it selects nothing. The reference therefore stays inside the official test part and is *nested*. The films are dealt
# into five folds, each of which is the test part once. Of the other four a part is held out, which chooses among the
# same four learning rates for every method; then the test fold is looked at once. The profiles for two cores run the
# common rate alone.

# %%
absent = {row: [] for row in table2.table2_features("smoke", "mosi")}
grid = {rate: reference(rows) for rate, rows in table2.table2_grid("cpu", (0,)).items()}
choice = selection.choose(grid, by_fold=True)
right = reference(selection.pick(table2.table2_grid("cpu", table2.NESTED_SEEDS), choice))
official = reference(table2.table2_official("cpu", profiles.DESCRIPTIVE_SEEDS))
right_run, official_run = absent, absent
if "mosi" in table2.feature_sets(profile):
    runs = {r: load_or_run(rows, recompute=recompute) for r, rows in table2.table2_grid(profile).items()}
    right_run = selection.pick(runs, selection.choose(runs, by_fold=True))
    official_run = load_or_run(table2.table2_official(profile), recompute=recompute)
for row, folds in choice.items():
    print(f"{row:22s}", " ".join(f"{rate:g}" for _, rate in sorted(folds.items())))

# %% [markdown]
# The lines above show the learning rate that each row chose in folds 0 to 4. The table below shows accuracy in %, as
# mean ± deviation (number of runs: five folds times seeds).

# %%
branches = ("audio", "visual", "text", "fused")
table = results_table(paper_rows(2, "MOSI"), right, right_run, branches)
dgl_core.publish("table_2_right", table)

# %% [markdown]
# The official split uses the common learning rate and shares the caveat above. It is comparable with other papers,
# and it has more training data of the kind that the extractors had already seen.

# %%
dgl_core.publish("table_2_right_official", results_table(paper_rows(2, "MOSI"), official, official_run, branches))

# %% [markdown]
# The next table uses nothing that was learned from labels. Its text features count the words spoken, rare words
# weighing more (TF-IDF). Folds are the same, and the learning rate is the common one.

# %%
words = reference(table2.table2_transcripts("cpu", (0,)))
words_run = {row: [] for row in words}
if right_run is not absent:
    words_run = load_or_run(table2.table2_transcripts(profile), recompute=recompute)
table = results_table({}, words, words_run, branches).drop(columns="paper", level=1)
dgl_core.publish("table_2_right_transcripts", table)

# %%
counts = balance.class_counts("mosi")
panels = {"CMU-MOSI, nested": right or right_run, "CMU-MOSI, official split": official or official_run}
panels = {title: rows for title, rows in panels.items() if any(rows.values())}
triplet_run = load_or_run(table2.table2_features(profile, "triplet"), recompute=recompute)
triplet = reference(table2.table2_features("cpu", "triplet", profiles.REFERENCE_SEEDS))
if not panels:
    panels = {f"generated features, this run ({profile})": triplet_run}
lines = {title: balance.constant_scores(counts)[0] for title in panels if title.startswith("CMU-MOSI")}
dgl_core.publish("figure_table_2_right", modalities.branch_dots(panels, lines))

# %% [markdown]
# **Figure 6.2.** Table 2, right, as a picture: mean test accuracy in % of the fused model and of each branch. Bars are
# 95 % intervals over runs (folds and seeds together). The dashed line is the accuracy of always saying the more
# frequent class. Audio and picture stay left of it in every row, alone or in company, and no fused model is much better
# than text alone.

# %% [markdown]
# ## 6.6 Below chance?
# In a task of two classes the paper's audio accuracies lie below one half, in every row. That is what a model scores
# that says one class to nearly everything, when this class happens to be the rarer one. Accuracy alone cannot tell it
# from a model that has learnt something. Two numbers can: the share of the more frequent class, and *macro-F1*, which
# asks for each class how many of its samples are found and how many finds are right, and averages over classes.

# %%
below = [row for row, values in paper_rows(2, "MOSI").items() if (values["audio"] or 100) < 50]
print(f"paper, MOSI: audio is below 50 % in {len(below)} rows: {', '.join(below)}")
options = triplet_run["vanilla"][0].spec.dataset_options
sizes = {"CMU-MOSI, official test part": counts}
sizes["generated features, this run"] = balance.class_counts("triplet", **options)
dgl_core.publish("table_class_balance", balance.balance_table(sizes))

# %% [markdown]
# The next table gives accuracy / macro-F1 / share of the class that the branch names most, in %, on the official split.
# The classes of its training part are nearly equal, with a few more negative ones; its test part leans the other way.

# %%
source = official if all(official.values()) else triplet_run
names = branches if source is official else ("strong", "weak_1", "weak_2", "fused")
dgl_core.publish("table_macro_f1", balance.f1_table(source, names))

# %%
constants = {name: balance.constant_scores(counts, k) for k, name in enumerate(mosi.CLASSES)}
if source is triplet_run:
    constants = {"one class": balance.constant_scores(sizes["generated features, this run"])}
paper = {m: [v[m] for v in paper_rows(2, "MOSI").values() if v[m]] for m in branches}
picture = modalities.accuracy_and_f1(source, constants, paper if source is official else {})
dgl_core.publish("figure_accuracy_and_f1", picture)

# %% [markdown]
# **Figure 6.3.** CMU-MOSI, official split: one point for each method and branch, accuracy against macro-F1, both in %.
# A star is a model that says one class to everything. Ticks on the axis are the paper's accuracies. Under the zero mask
# the audio branch of joint training lands where the paper's numbers are, and its macro-F1 says how: it names one class
# nearly always. Methods with unimodal losses do better, but no audio branch reaches the accuracy of always saying
# "positive".

# %% [markdown]
# The next table shows the same numbers for the nested protocol.

# %%
dgl_core.publish("table_macro_f1_nested", balance.f1_table(right if any(right.values()) else right_run, branches))

# %% [markdown]
# ## 6.7 A modality is missing at test time
# A balanced model should lose less when its favourite modality falls silent. Zeros stand in its place, as in Eq. 12; of
# two modalities, losing one is the other one's branch.

# %%
lossy = {**shown, **{title: rows for title, rows in panels.items() if "official" not in title}}
two, three = ({t: rows for t, rows in lossy.items() if (t in shown) is early} for early in (True, False))
dgl_core.publish("figure_missing_mmtm", modalities.missing_modality(two))

# %% [markdown]
# **Figure 6.4.** MMTM: mean test accuracy in % with both modalities (black) and without one of them. Without audio
# GRID loses nearly everything, whatever the method; on the generated set some methods keep a visual branch that can
# stand alone.

# %%
dgl_core.publish("figure_missing_three", modalities.missing_modality(three, lines))

# %% [markdown]
# **Figure 6.5.** Three modalities: mean test accuracy in % with all of them and with each one missing. Where a marker
# lies right of the black one, the model is *better* without that modality.

# %%
for title, rows in lossy.items():
    print(title)
    name = title.split(",")[0].lower().replace(" ", "_").replace("-", "_")
    display(dgl_core.publish(f"table_missing_{name}", balance.means_without(rows)))

# %% [markdown]
# ## 6.8 The same without any data
# The last set is generated. It has one strong modality, blind in some samples, and two weak ones that see just there. A
# weak modality shows each bit of the class as a product of two signs, so its encoder has something to learn that no
# linear map can do. It asks of DGL what the others do not: can an encoder learn its modality through a fusion head that
# is trained on the fused features alone?

# %%
names = ("strong", "weak_1", "weak_2", "fused")
table = results_table({}, triplet, triplet_run, names).drop(columns="paper", level=1)
display(dgl_core.publish("table_2_right_generated", table))
generated = {"generated features, reference": triplet} if all(triplet.values()) else {}
if profile != "smoke" or not generated:  # a smoke run is too short for a picture; the table has its numbers
    generated |= {f"generated features, this run ({profile})": triplet_run}
dgl_core.publish("figure_generated", modalities.missing_modality(generated))

# %% [markdown]
# **Figure 6.6.** Generated features: mean test accuracy in % with all modalities and with each one missing. There are
# four classes of equal size, so chance is a quarter.


# %% tags=["nbval-skip"]
@interact(title=list(lossy | generated))
def missing(title):
    return modalities.missing_modality({title: (lossy | generated)[title]})


# %%
# Your run: another alpha or seed above shows here three modalities as you trained them, set by set.
known = {"triplet": some(triplet), "mosi": some(right)}
for dataset in table2.feature_sets(profile):
    if yours := settings.your_runs(lambda *of: some(table2.table2_features(*of)), dataset, usual=profiles.ALPHA):
        beside = curves.side_by_side({dataset: known[dataset]}, {}, profile, yours)
        display(modalities.branch_dots(beside))

# %% [markdown]
# ## 6.9 Four and five modalities
# The same generator makes three and four weak modalities, and the same methods train on them, not a line changed.

# %%
more_run = load_or_run(table2.more_modalities(profile), recompute=recompute)
more = reference(table2.more_modalities("cpu", profiles.DESCRIPTIVE_SEEDS))
many = ("strong", "weak_1", "weak_2", "weak_3", "weak_4", "fused")
dgl_core.publish("table_more_modalities", results_table({}, more, more_run, many).drop(columns="paper", level=1))

# %% [markdown]
# ## 6.10 Your own dense network
# This network has encoders in two halves. Between them every hidden state is scaled by gates that are made of all of
# them. The contract has two sentences: all parameters are in `encoders` or in `fusion`, and `keep` names the modalities
# that survive at the input of every fusion operation. First comes the part that mixes.


# %%
class Gossip(nn.Module):
    def __init__(self, names, size, classes):
        super().__init__()
        self.gates = nn.ModuleDict({m: nn.Linear(len(names) * size, size) for m in names})
        self.classify = nn.Linear(len(names) * size, classes)

    def mix(self, hidden):
        said = torch.cat(list(hidden.values()), dim=1)
        return {m: z * torch.sigmoid(self.gates[m](said)) for m, z in hidden.items()}


# %% [markdown]
# Then comes the network. With DGL it takes 25 lines in all.


# %%
class Mine(models.MultimodalModel):
    def __init__(self, shapes, classes, size=24):
        halves = {m: [nn.Linear(shape[0], size), nn.Linear(size, size)] for m, shape in shapes.items()}
        super().__init__({m: nn.ModuleList(h) for m, h in halves.items()}, Gossip(list(shapes), size, classes))

    def forward(self, inputs, keep=None):
        def layer(number, hidden):
            new = {m: torch.relu(e[number](hidden[m])) for m, e in self.encoders.items()}
            return {m: z if keep is None or m in keep else torch.zeros_like(z) for m, z in new.items()}

        hidden = layer(1, self.fusion.mix(layer(0, inputs)))
        return self.fusion.classify(torch.cat(list(hidden.values()), dim=1))


# %%
features = data.load("triplet", samples=400)
for method, options in (("vanilla", {}), ("gblend", {"alpha": 2.0}), ("dgl", {"alpha": 2.0})):
    torch.manual_seed(seed)
    mine = Mine(features.shapes, len(features.classes))
    record = fit(mine, method, features, epochs=10, lr=0.03, batch_size=16, milestones=(8,), device="cpu", **options)
    scores = ", ".join(f"{b} {100 * record.score(b):.1f}" for b in ("fused", *features.modalities))
    print(f"{method:8s} test accuracy in %: {scores}")

# %%
inputs, target = features.batch(features.indices("train")[:32])
mine.zero_grad()
disentangled_loss(mine, inputs, target, alpha=2.0).total.backward()
for m, encoder in mine.encoders.items():
    alone = nn.functional.cross_entropy(mine(inputs, keep=(m,)), target)
    wanted = torch.autograd.grad(alone, list(encoder.parameters()))
    pairs = zip(encoder.parameters(), wanted, strict=True)
    error = max((p.grad - 2 * w).abs().max().item() for p, w in pairs)
    dgl_core.check(f"6.10 {m}: gradient = alpha x unimodal gradient", error < 1e-5, "max error < 1e-5")

# %% [markdown]
# ## 6.11 Answer
# These questions were *registered*, that is written down, before the *confirming* runs that answer them were made;
# `results/ledger.md` has all of them. *Three hard vectors* are the generated features of 6.8; *three plain vectors* are
# the same with weak modalities that show the class at once.

# %%
dgl_core.answer("mmtm-s", "mmtm-p", "modality-agnostic", "dgl-joint")

# %% [markdown]
# ## What this does not show
# - The panels and tables of the reference runs give no verdicts: they were made before the questions were registered,
#   so they describe. Verdicts are in the answer above.
# - CREMA-D is not here, nor are the paper's MOSI features, network and optimiser, none of which it states. Our text
#   features know the labels of the official training part.
# - A few seeds on the left describe; five folds on the right can show only differences that are large against the
#   spread between films.
# - The smallest learning rate of the four is often the chosen one: the grid could go lower.
# - The value of $\alpha$ is the paper's for late fusion on the left and a common guess on the right.
# - Each half has one small network. That the generated set is hard for DGL says something about *that* set: its weak
#   modalities need their head's help to be learnt.
#
# **Exercises.** Each has a cell that starts it and a folded solution. (1) On the words spoken (end of 6.5), which row
# gains most over text alone, and would you bet on it? (2) Give `Mine` a third layer and a second exchange. (3) All
# methods of 6.8 share one learning rate. Does DGL fare better there when every method has its own?

# %%
# Exercise 1, a start: what joint training gains over text alone, where the text is the words spoken (last table of
# 6.5). Which row gains most, and would you bet on the order?
from dgl_core.verdicts import statistics

dgl_core.difference("vanilla minus text alone", statistics.paired(words, "vanilla", "text alone"))

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 1: the order is a weak bet, because there are five folds and each interval holds the other means.
found = {}
for row in ("vanilla", "G-Blending", "DGL"):
    found[row] = statistics.mean_interval(gains := statistics.paired(words, row, "text alone"))
    dgl_core.difference(f"{row} minus text alone", gains)
overlap = all(found[one].low < found[other].mean < found[one].high for one in found for other in found)
dgl_core.check("exercise 1: each interval holds the means of all rows", overlap)

# %%
# Exercise 2, a start: `Mine` has two layers and one exchange. Give it a third layer and a second exchange.
print({m: [tuple(layer.weight.shape) for layer in layers] for m, layers in mine.encoders.items()})

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 2: one part that mixes for each exchange; a modality is masked at the input of each of them.
class Deeper(models.MultimodalModel):
    def __init__(self, shapes, classes, size=24):
        widths = {m: (shape[0], size, size, size) for m, shape in shapes.items()}
        layers = {m: nn.ModuleList(map(nn.Linear, own[:-1], own[1:])) for m, own in widths.items()}
        super().__init__(layers, nn.ModuleList(Gossip(list(shapes), size, classes) for _ in range(2)))

    def forward(self, inputs, keep=None):
        hidden = inputs
        for number, mixing in enumerate([*self.fusion, None]):
            new = {m: torch.relu(e[number](hidden[m])) for m, e in self.encoders.items()}
            hidden = {m: z if keep is None or m in keep else torch.zeros_like(z) for m, z in new.items()}
            hidden = mixing.mix(hidden) if mixing else hidden
        return self.fusion[-1].classify(torch.cat(list(hidden.values()), dim=1))

# %% jupyter={"source_hidden": true} tags=["solution"]
# The same check as in 6.10: nothing of DGL had to be told of the new layer.
deeper = Deeper(features.shapes, len(features.classes))
disentangled_loss(deeper, inputs, target, alpha=2.0).total.backward()
for m, encoder in deeper.encoders.items():
    alone = nn.functional.cross_entropy(deeper(inputs, keep=(m,)), target)
    wanted = torch.autograd.grad(alone, list(encoder.parameters()))
    error = max((p.grad - 2 * w).abs().max().item() for p, w in zip(encoder.parameters(), wanted, strict=True))
    dgl_core.check(f"exercise 2, {m}: gradient = alpha x unimodal gradient", error < 1e-5, "max error < 1e-5")

# %%
# Exercise 3, a start: DGL against vanilla training in 6.8, where all methods have one learning rate. The confirming
# runs behind 6.11 give each its own: what becomes of the difference?
from dgl_core.paper.answers import verdicts

dgl_core.difference("one rate for all, DGL minus vanilla", statistics.paired(triplet, "DGL", "vanilla"))

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 3: it stays negative. On this set DGL's loss is no matter of the learning rate.
confirmed = verdicts.answers()["dgl-vanilla", "triplet"].judged
print("its own rate for each, DGL minus vanilla:", confirmed.numbers())
common = statistics.mean_interval(statistics.paired(triplet, "DGL", "vanilla"))
dgl_core.check("exercise 3: DGL loses at either choice of rates", common.high < 0 and confirmed.high < 0)
