# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags,-all
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
# **Question.** What does *Boosting Multimodal Learning via Disentangled Gradient Learning* (DGL, ICCV 2025) claim,
# and which of its claims survive an independent reproduction?
#
# **Claim checked.** Every claim that our records or a computation can decide; the ledger at the end has one line for
# each, from Eq. 4 to Table 5.
#
# **Runtime.** smoke takes 20 s after [notebook 03](03_vanilla_vs_dgl.ipynb), because it shows the same runs; so do cpu
# and paper.
#
# The paper in four sentences. A multimodal model has one encoder per modality and a fusion module. Its loss reaches
# an encoder only through the fusion, and fusion shrinks the gradient on the way, so every encoder learns worse than
# it would alone. DGL cuts that path and trains each encoder by its own unimodal loss, in which the other
# modalities' features are zero. The fusion module keeps the multimodal loss for itself.

# %% tags=["parameters"]
profile = "smoke"  # smoke | cpu | paper
seed = 0
recompute = False
data_root = ""  # empty: DGL_DATA, ./data, or generated

# %%
import torch
from IPython.display import display
from torch import nn

import dgl_core
from dgl_core.diagnosis import diagnose
from dgl_core.figures import curves, diagnosis
from dgl_core.figures.theory import graph, inequality
from dgl_core.gradients import DisentangledObjective, disentangled_loss
from dgl_core.models import ConcatFusion, LateFusion, build
from dgl_core.paper.claims import judging
from dgl_core.paper.experiments import late_fusion, profiles
from dgl_core.runs import load_or_run, reference

settings = dgl_core.start(profile, seed, recompute=recompute, data_root=data_root)

# %% tags=["nbval-ignore-output"]
dgl_core.provenance()

# %% [markdown]
# ## 0.1 The method
# The picture is not drawn by hand: each arrow is a gradient that one backward pass on a real model left behind, and
# each red cross is a path that the code cuts.

# %%
shapes = {"audio": (1, 32, 32), "visual": (3, 32, 32)}
model = build("small", shapes, classes=6, seed=seed, width=4)
batch = {m: torch.randn(8, *shape) for m, shape in shapes.items()}
objectives = {
    "vanilla joint training": DisentangledObjective(model, alpha=0.0, encoder_gate=1.0),
    "DGL": DisentangledObjective(model, alpha=4.0),
}
dgl_core.publish("figure_2", graph.gradient_paths(objectives, batch, torch.arange(8) % 6))

# %% [markdown]
# **Figure 0.1** (the paper's Fig. 2). It shows which loss trains what, read off the autograd graph: joint training on
# the left, DGL on the right.

# %% [markdown]
# ## 0.2 The reason
# Fusion multiplies the residual of a sample, $1-p_y$, by $R=\bar s/(p+(1-p)\bar s)$: $p$ is what the modality alone
# believes of the true class, $\bar s$ a weighted mean of the paper's $s_k$. Notebook 02 proves it and shows where
# the paper's own chain (Eq. 4 to 8) says more than holds.

# %%
dgl_core.publish("figure_reason", inequality.ratio_curves())

# %% [markdown]
# **Figure 0.2.** The suppression ratio $R = s / (p + (1 - p) s)$: below 1 fusion shrinks the residual, above 1 it
# enlarges it. The surer a modality is (the larger $p$), the further $R$ lies from 1: the others suppress it where they
# help ($s < 1$), and enlarge its residual where they mislead ($s > 1$). The next cell checks both.

# %%
p, s = torch.linspace(0.05, 0.95, 19)[:, None], torch.tensor([0.1, 0.5, 2.0, 10.0])  # [19, 1], [4]
ratio = s / (p + (1 - p) * s)  # [19, 4]
dgl_core.check("0.2 R falls with p where s < 1", (ratio[1:, :2] < ratio[:-1, :2]).all() and (ratio[:, :2] < 1).all())
dgl_core.check("0.2 R grows with p where s > 1", (ratio[1:, 2:] > ratio[:-1, 2:]).all() and (ratio[:, 2:] > 1).all())

# %% [markdown]
# ## 0.3 The effect
# Reference panels rest on committed records of ten seeds, the last panel on the runs of this profile.

# %%
datasets = late_fusion.datasets(profile)
this_run = {d: load_or_run(late_fusion.branches(profile, d), recompute=recompute) for d in datasets}
committed = {
    d: reference(late_fusion.branches("cpu", d, profiles.REFERENCE_SEEDS)) for d in profiles.REFERENCE_DATASETS
}
panels = curves.side_by_side(committed, this_run, profile)
dgl_core.publish("figure_effect", curves.encoder_curves(panels, "visual", ("vanilla", "DGL")))

# %% [markdown]
# **Figure 0.3.** Test accuracy in % of the visual encoder: alone, inside the joint model, inside DGL; mean and
# range over n seeds. What the gaps come to is in the ledger: `alone-joint-visual` and `dgl-joint-visual`.

# %%
dgl_core.publish("figure_gradient", curves.gradient_curves(panels, "visual", ("alone", "vanilla")))

# %% [markdown]
# **Figure 0.4.** Norm of the gradient that reaches the visual encoder, alone and in the joint model, logarithmic
# axis.

# %% [markdown]
# ## 0.4 The gain, and the control that the paper lacks
# Under plain SGD the paper's weight $\alpha$ is a learning rate for the encoders. So the fair rival of DGL is joint
# training whose encoders learn $\alpha$ times faster: the row *vanilla, rate x alpha*.

# %%
dgl_core.publish("figure_gain", curves.row_overview(panels))

# %% [markdown]
# **Figure 0.5.** Last-epoch test accuracy in % of the fused model and of its branches, one small dot a seed, one
# large dot the mean.

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
# `diagnose` looks at any model once, without training: what does fusion leave of each modality's residual, and what
# reaches its encoder? It needs batches with labels, here those of 0.5. (A foreign model needs two functions that say
# where its encoders are and how to mask.)

# %%
report = diagnose(mine, [(inputs, target)], share=1.0)
print(report)
dgl_core.publish("figure_diagnosis", diagnosis.panels(report))

# %% [markdown]
# **Figure 0.6.** Left: $R$ of each modality, median and quartiles over samples, and the share of samples that fusion
# suppresses. Middle: gradient norm at the encoder of the fused loss (hatched) and of the encoder's own. Right: accuracy
# with the other modalities at zero.

# %% [markdown]
# ## 0.7 The ledger
# Each claim has one line a data set, with its place in the paper and its verdict. A claim about runs is judged on
# confirming replicates that were registered before they ran: *reproduced* or *contradicted* where the interval of the
# mean difference, corrected for its family, excludes 0 or lies within the smallest difference that matters, and
# *undecided* where it does neither. A claim about an equation is settled by a computation. The whole ledger says what
# follows, too (`results/ledger.md`); `python -m dgl_core claims ID` shows what a line rests on, `--rerun` earns it again.

# %%
display(dgl_core.publish("table_ten", judging.ten_lines()))
dgl_core.publish("table_ledger", judging.ledger_table())

# %% [markdown]
# ## 0.8 Where to go next
# | notebook | question |
# |---|---|
# | [01 the data](01_data.ipynb) | What goes in? Listen, look, and verify. |
# | [02 the theory](02_gradient_theory.ipynb) | What do Eq. 1 to 8 prove, and what not? |
# | [03 vanilla against DGL](03_vanilla_vs_dgl.ipynb) | Figures 1 and 3 from real training. |
# | [04 the benchmark](04_benchmark.ipynb) | Every method of Table 1, and two more. |
# | [05 the ablations](05_ablations.ipynb) | Truncation, alpha, fusion heads: Tables 3 and 4. |
# | [06 dense interaction, three modalities](06_dense_and_three_modalities.ipynb) | Table 2. |
# | [07 segmentation](07_segmentation.ipynb) | Table 5: colour and depth. |
# | [08 beyond the paper](08_beyond_the_paper.ipynb) | Should I use it? Equal budgets, seeds, partial decoupling. |
# | [09 when does it help](09_when_does_it_help.ipynb) | Will it help me? A map, a law, a forecast. |

# %% [markdown]
# ## What this does not show
# - The paper's own data sets: none of them can be fetched by a program, so nothing here bears their names.
# - Large networks: the reference runs are small enough for two processor cores.
# - That DGL is best: a ranking needs an equal tuning budget for every method (notebook 08).
#
# **Exercises.** (1) Give one of the objectives in 0.1 `encoder_gate=1.0` and draw the figure again. (2) In 0.5,
# make `camera` the modality that decides. (3) Find the claim in the ledger that you believe least, and the record
# file it rests on.
