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
# # 0. Start here: the paper in five pictures, and what holds up
#
# **Question.** What does *Boosting Multimodal Learning via Disentangled Gradient Learning*
# ([DGL, ICCV 2025](https://arxiv.org/abs/2507.10213)) claim, and which of its claims survive an independent
# reproduction?
#
# **Claim checked.** Every claim that our records or a computation can decide; the ledger at the end has one line for
# each, from Eq. 4 to Table 5.
#
# **Runtime.** 20 s after [notebook 03](03_vanilla_vs_dgl.ipynb), because it shows the same runs. The parameter
# `profile` below says how much is trained: *smoke* for seconds, *cpu* for minutes, *paper* at the paper's size on a
# GPU.
#
# Here is the paper in four sentences. A multimodal model has one encoder per modality and a fusion module. Its loss
# reaches an encoder only through the fusion, and fusion shrinks the gradient on the way, so every encoder learns worse
# than it would alone. DGL cuts that path and trains each encoder by its own unimodal loss, in which the other
# modalities' features are zero. The fusion module keeps the multimodal loss for itself.

# %% [markdown] tags=["navigation"]
# [01 data →](01_data.ipynb)

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
recompute = False  # True trains the runs of this notebook anew
data_root = ""  # empty: DGL_DATA, ./data, or generated

# %% jupyter={"source_hidden": true}
import torch
from IPython.display import display
from torch import nn

import dgl_core
from dgl_core import data, fit
from dgl_core.diagnosis import diagnose
from dgl_core.figures import answers, curves, diagnosis
from dgl_core.figures.theory import graph, inequality
from dgl_core.gradients import DisentangledObjective, disentangled_loss
from dgl_core.models import ConcatFusion, LateFusion, build
from dgl_core.paper.claims import judging
from dgl_core.paper.experiments import late_fusion, profiles
from dgl_core.reproduce.diagnose import foretold
from dgl_core.runs import load_or_run, reference

settings = dgl_core.start(profile, seed, recompute=recompute, data_root=data_root)

# %% tags=["nbval-ignore-output"]
dgl_core.provenance()

# %% [markdown]
# ## 0.1 The method
# The picture is not drawn by hand. A small network was trained jointly for four epochs on generated clips of faces and
# voices. Each arrow is a gradient that one backward pass on this network left behind, and each red cross is a path that
# the code of DGL cuts. DGL gives the unimodal losses the weight $\alpha=4$, as the paper does on CREMA-D.

# %%
clips = data.load("emotions", clips=240, audio_difficulty=0.1, visual_difficulty=0.1)
model = build("small", clips.shapes, len(clips.classes), seed, width=4)
fit(model, "vanilla", clips, epochs=4, milestones=(3,), lr=0.03, batch_size=16, seed=seed)
batch, target = clips.batch(clips.indices("train"))
objectives = {
    "vanilla joint training": DisentangledObjective(model, alpha=0.0, encoder_gate=1.0),
    "DGL": DisentangledObjective(model, alpha=4.0),
}
dgl_core.publish("figure_2", graph.gradient_paths(objectives, batch, target))

# %% [markdown]
# **Figure 0.1** (the paper's Fig. 2). It shows which loss trains what, read off the autograd graph: joint training on
# the left, DGL on the right, both at the same weights. The number at an arrow is the norm of the gradient that arrives,
# over all training clips. $L^{multi}$ is the loss of the fused model, $L^{audio}$ that of audio with the picture's
# features at zero. Compare the numbers at one encoder: on the left is what fusion leaves of the gradient, on the right
# what the encoder's own loss sends, before the factor $\alpha$.

# %% [markdown]
# ## 0.2 The reason
# A sample teaches a model by its *residual*, the probability $1-p_y$ that the true class $y$ still lacks. Let $p$ be
# what one modality alone believes of the true class. Fusion then multiplies this modality's residual by the
# *suppression ratio*
#
# $$R=\frac{1-p_y^{fused}}{1-p_y^{alone}}=\frac{\bar s}{p+(1-p)\,\bar s}.$$
#
# The number $\bar s$ ("s-bar") says what the other modalities add: it is the odds of the true class before fusion,
# divided by the odds after it. An example: alone the modality believes $p=\frac12$, odds of 1. With the others it
# becomes $\frac23$, odds of 2. So $\bar s=\frac12$, and the residual falls from $\frac12$ to $\frac13$, which is
# $R=\frac23$. [Notebook 02](02_gradient_theory.ipynb) proves the formula and shows where the paper's own chain (Eq. 4
# to 8) says more than holds.

# %%
dgl_core.publish("figure_reason", inequality.ratio_curves())

# %% [markdown]
# **Figure 0.2.** Left and middle: the suppression ratio $R$. Below 1 fusion shrinks the residual, above 1 it enlarges
# it. The surer a modality is (the larger $p$), the further $R$ lies from 1: the others suppress it where they help
# ($\bar s<1$), and enlarge its residual where they mislead ($\bar s>1$). Right: what fusion adds to the probability of
# the true class. The next cell checks the first two statements.

# %%
p, s = torch.linspace(0.05, 0.95, 19)[:, None], torch.tensor([0.1, 0.5, 2.0, 10.0])  # [19, 1], [4]
ratio = s / (p + (1 - p) * s)  # [19, 4]
dgl_core.check("0.2 R falls with p where s < 1", (ratio[1:, :2] < ratio[:-1, :2]).all() and (ratio[:, :2] < 1).all())
dgl_core.check("0.2 R grows with p where s > 1", (ratio[1:, 2:] > ratio[:-1, 2:]).all() and (ratio[:, 2:] > 1).all())

# %% [markdown]
# ## 0.3 The effect
# The panels rest on committed records, which we call the *reference*. Two data sets are here. *Generated emotions* are
# drawn faces and synthetic voices. *GRID letters* are film of one real person who says letters of the alphabet: the
# network hears the letter and sees the lips ([GRID corpus](https://doi.org/10.1121/1.2229005)). A smoke run is too
# short for a picture, so it is one line of text.

# %%
datasets = late_fusion.datasets(profile)
this_run = {d: load_or_run(late_fusion.branches(profile, d), recompute=recompute) for d in datasets}
committed = {
    d: reference(late_fusion.branches("cpu", d, profiles.REFERENCE_SEEDS)) for d in profiles.REFERENCE_DATASETS
}
yours = settings.your_runs(late_fusion.branches, *datasets)  # if you changed the seed
panels = curves.side_by_side(committed, this_run, profile, yours)
print(curves.in_a_line(this_run, profile))
dgl_core.publish("figure_effect", curves.encoder_curves(panels, "visual", ("vanilla", "DGL")))

# %% [markdown]
# **Figure 0.3.** Test accuracy in % of the visual encoder: trained alone, inside the jointly trained model (*vanilla*),
# and inside DGL. Lines are means, bands the range over n seeds. The ledger (0.7) says what the gaps come to, in its
# lines `alone-joint-visual` and `dgl-joint-visual`.

# %%
dgl_core.publish("figure_gradient", curves.gradient_curves(panels, "visual", ("alone", "vanilla")))

# %% [markdown]
# **Figure 0.4.** Norm of the gradient that reaches the visual encoder, alone and in the joint model. The axis is
# logarithmic.

# %% [markdown]
# ## 0.4 The gain, and the control that the paper lacks
# Under plain SGD the paper's weight $\alpha$ is a learning rate for the encoders. So the fair rival of DGL is joint
# training whose encoders learn $\alpha$ times faster: the row *vanilla, rate x alpha*. The second rival is *G-Blending*
# ([Wang et al.](https://arxiv.org/abs/1905.12681)). It trains on the sum of the multimodal and the unimodal losses and
# cuts no path, so it shows what the unimodal losses do without DGL's truncation.

# %%
dgl_core.publish("figure_gain", curves.row_overview(panels))

# %% [markdown]
# **Figure 0.5.** Test accuracy in % after the last epoch, of the fused model and of its branches (one modality, the
# other's features at zero). One small dot is a seed, one large dot the mean.

# %% [markdown]
# ## 0.5 DGL on your own model
# You bring encoders and a fusion module, and add one line to your own loop. No method here assumes two modalities.

# %%
encoders = {"lidar": nn.Linear(12, 16), "radar": nn.Linear(7, 16), "camera": nn.Linear(9, 16)}
mine = LateFusion(encoders, ConcatFusion({m: 16 for m in encoders}, classes=4))
optimizer = torch.optim.SGD(mine.parameters(), lr=0.1)
inputs = {m: torch.randn(64, layer.in_features) for m, layer in encoders.items()}
target = inputs["radar"][:, :4].argmax(1)
for _ in range(50):
    optimizer.zero_grad()
    losses = disentangled_loss(mine, inputs, target, alpha=1.0)
    losses.total.backward()
    optimizer.step()
learnt = mine(inputs).argmax(1).eq(target).double().mean()
dgl_core.check("0.5a three modalities, one line changed: the toy task is learnt", learnt > 0.5)

# %% [markdown]
# ## 0.6 Is your own model affected?
# `diagnose` looks at any model once, without training. It says what fusion leaves of each modality's residual, and what
# reaches its encoder. It needs batches with labels, here those of 0.5. A model from elsewhere also needs two functions:
# one says where its encoders are, the other how to mask a modality.

# %%
report = diagnose(mine, [(inputs, target)], share=1.0)
print(report)
dgl_core.publish("figure_diagnosis", diagnosis.panels(report))

# %% [markdown]
# **Figure 0.6.** Left: $R$ of each modality, median and quartiles over samples, and the share of samples that fusion
# suppresses. Middle: norm of the gradient at the encoder, from the fused loss (hatched) and from the encoder's own
# loss; *cos* is the cosine of the angle between the two. Right: accuracy with the other modalities at zero.

# %% [markdown]
# What would DGL change? `forecast` answers for a jointly trained model, as far as it can be told, or says why it
# cannot. It knows most when it also gets the accuracies of models of one modality ([09](09_when_does_it_help.ipynb),
# 9.7).

# %%
print(foretold(report))

# %% [markdown]
# ## 0.7 The ledger
# Each claim has one line for each data set, with its place in the paper and its verdict. A claim about trainings is
# judged on runs that were registered before they were made. The verdict follows from the 95 % interval of the mean
# difference, corrected for the number of questions asked together. Where the interval excludes 0, or lies within the
# smallest difference that matters, the claim is *reproduced* or *contradicted*; elsewhere it is *undecided*. A claim
# about an equation is settled by a computation. The signs say the same as the colours: + holds, − fails, ? is
# undecided, / cannot be tested on this set. `results/ledger.md` says what follows from each line. `python -m dgl_core
# claims ID` shows what a line rests on, and `--rerun` earns it again.
#
# Three more sets appear here. *Three hard vectors* and *three plain vectors* are generated features of three
# modalities ([06](06_dense_and_three_modalities.ipynb)), and *CMU-MOSI* are films of people who praise or blame. First
# come the ten questions of a user.

# %%
dgl_core.publish("figure_answers", answers.verdicts(judging.ten()))

# %% [markdown]
# **Figure 0.7.** The mean difference in points that DGL makes, with its corrected interval; green is better, red worse,
# blue practically equal, grey undecided, each with a marker of its own. The pale bands are differences too small to
# matter. The axis is logarithmic beyond 2 points.

# %%
display(dgl_core.publish("table_ten", judging.ten_lines()))
dgl_core.publish("table_ledger", judging.ledger_table())

# %% [markdown]
# ## 0.8 Where to go next
# | notebook | question |
# |:---|:---|
# | [01 the data](01_data.ipynb) | What goes in? Listen, look, and verify. |
# | [02 the theory](02_gradient_theory.ipynb) | What do Eq. 1 to 8 prove, and what not? |
# | [03 vanilla against DGL](03_vanilla_vs_dgl.ipynb) | Do Figures 1 and 3 come out of real training? |
# | [04 the benchmark](04_benchmark.ipynb) | Which method of Table 1 wins, at equal terms? |
# | [05 the ablations](05_ablations.ipynb) | Which part of DGL does the work (Tables 3 and 4)? |
# | [06 dense interaction, three modalities](06_dense_and_three_modalities.ipynb) | Does it hold inside the network (Table 2)? |
# | [07 segmentation](07_segmentation.ipynb) | Does it hold for every pixel (Table 5)? |
# | [08 beyond the paper](08_beyond_the_paper.ipynb) | Should I use it? Equal budgets, seeds, partial decoupling. |
# | [09 when does it help](09_when_does_it_help.ipynb) | Will it help me? A map, a law, a forecast. |

# %% [markdown]
# ## 0.9 Sources
# The paper is [arXiv 2507.10213](https://arxiv.org/abs/2507.10213) by Wei, Luo and Luo; its code is
# [shicaiwei123/ICCV2025-GDL](https://github.com/shicaiwei123/ICCV2025-GDL). The methods that it is compared with:
# [G-Blending](https://arxiv.org/abs/1905.12681), [OGM-GE](https://arxiv.org/abs/2203.15332),
# [PMR](https://arxiv.org/abs/2211.07089), [AGM](https://arxiv.org/abs/2308.07686),
# [MLA](https://arxiv.org/abs/2311.10707), [MMPareto](https://arxiv.org/abs/2405.17730) and
# [D&R](https://arxiv.org/abs/2407.09705); two more are here, [MMCosine](https://arxiv.org/abs/2303.05338) and
# [ReconBoost](https://arxiv.org/abs/2405.09321). The networks: [MMTM](https://arxiv.org/abs/1911.08670) and
# [ESANet](https://arxiv.org/abs/2011.06961). The data sets:
# [CREMA-D](https://doi.org/10.1109/TAFFC.2014.2336244), [Kinetics-Sounds](https://arxiv.org/abs/1705.08168),
# [VGGSound](https://arxiv.org/abs/2004.14368), [CMU-MOSI](https://arxiv.org/abs/1606.06259),
# [NYUv2](https://doi.org/10.1007/978-3-642-33715-4_54) and [GRID](https://doi.org/10.1121/1.2229005).

# %% [markdown]
# ## What this does not show
# - The paper's own data sets: none of them can be fetched by a program, so nothing here bears their names.
# - Large networks: the reference runs are small enough for two processor cores.
# - That DGL is best: a ranking needs an equal tuning budget for every method (notebook 08).
#
# **Exercises.** Each has a cell that starts it and a folded solution. (1) Give DGL in 0.1 `encoder_gate=1.0`. Which
# arrows are new? (2) In 0.5, make `camera` the modality that decides. Which branch then knows most? (3) Take one line
# of the ledger apart: do the runs that it rests on give the mean that it prints?

# %%
# Exercise 1, a start: the arrows of DGL in 0.1, as pairs (loss, part). Give it `encoder_gate=1.0`: which are new?
training = clips.batch(clips.indices("train"))
mine_too = DisentangledObjective(model, alpha=4.0)
print(sorted((edge.loss, edge.part) for edge in graph.gradient_edges(mine_too, *training) if edge.arrives))

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 1: with an open gate the fused loss trains the encoders, too. The unimodal losses stay away from the fusion.
arrows = {}
for gate in (0.0, 1.0):
    edges = graph.gradient_edges(DisentangledObjective(model, alpha=4.0, encoder_gate=gate), *training)
    arrows[gate] = {(edge.loss, edge.part) for edge in edges if edge.arrives}
new = arrows[1.0] - arrows[0.0]
dgl_core.check("exercise 1: two arrows are new", new == {("fused", "audio"), ("fused", "visual")})

# %%
# Exercise 2, a start: what each branch of 0.5 knows. There the radar decides; make `camera` decide, and train again.
for m in inputs:
    print(f"{m}: {100 * mine(inputs, keep=(m,)).argmax(1).eq(target).double().mean():.0f} % right")

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 2: the branch of the modality that decides knows most, for every encoder learns from its own loss alone.
by_camera = inputs["camera"][:, :4].argmax(1)
encoders = {m: nn.Linear(x.shape[1], 16) for m, x in inputs.items()}
fresh = LateFusion(encoders, ConcatFusion(dict.fromkeys(encoders, 16), classes=4))
optimizer = torch.optim.SGD(fresh.parameters(), lr=0.1)
for _ in range(50):
    optimizer.zero_grad()
    disentangled_loss(fresh, inputs, by_camera, alpha=1.0).total.backward()
    optimizer.step()
right = {m: fresh(inputs, keep=(m,)).argmax(1).eq(by_camera).sum().item() for m in inputs}
dgl_core.check("exercise 2: the camera's branch knows most", max(right, key=right.get) == "camera")

# %%
# Exercise 3, a start: one line of the ledger. It rests on pairs of runs; do their scores give the mean that it prints?
from dgl_core.paper.answers import regimes, verdicts
from dgl_core.runs.run import find

answer = verdicts.answers()["dgl-vanilla", "emotions"]
print(f"{answer.outcome}: {answer.detail}")

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 3: each pair of confirming runs shares its seed and its data. The ledger's mean is that of their differences.
specs = regimes.confirming("emotions", ("DGL", "vanilla"), answer.look)  # row -> its runs
folder = regimes.confirming_root() / "emotions"
scores = [[100 * find(spec, folder).score() for spec in specs[row]] for row in ("DGL", "vanilla")]
gains = [ours - joint for ours, joint in zip(*scores, strict=True)]
error = abs(sum(gains) / len(gains) - answer.judged.member.evidence.mean)
dgl_core.check("exercise 3: the records give the ledger's mean", error < 1e-9, f"{len(gains)} pairs of runs")
