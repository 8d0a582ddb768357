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
# # 2. What fusion does to the gradient of an encoder
#
# **Question.** When two modalities share a classifier, how much gradient is left for each encoder, and what exactly
# does DGL change about it?
#
# **Claim checked.** In [the paper](https://arxiv.org/abs/2507.10213), section 3.1: the chain Eq. 1 to 8 that ends in
# $abs(g^{Uni}) \gt abs(g^{Multi}) \gt 0$. Section 3.2: Eq. 9 to 15, Algorithm 1 and Fig. 2.
#
# **Runtime.** About a minute on one CPU core in every profile; nothing is downloaded and no record is needed.
#
# The statements are functions of [`dgl_core.paper.theory`](../dgl_core/paper/theory/__init__.py), tested on random
# inputs in `tests/paper/test_theory_*.py`. [Notebook 03](03_vanilla_vs_dgl.ipynb) has the same quantities in real
# training.

# %% [markdown] tags=["navigation"]
# [← 01 data](01_data.ipynb) · [contents](00_start_here.ipynb) · [03 vanilla vs dgl →](03_vanilla_vs_dgl.ipynb)

# %% jupyter={"source_hidden": true} tags=["bootstrap"]
try:
    import dgl_core.reproduce.notebook
except ImportError as missing:
    raise ModuleNotFoundError(
        f"This kernel has no {missing.name}. Open the notebook by `make lab`, or install the project into the "
        "kernel by %pip install -e '..[notebooks]' and restart it."
    ) from None

# %% tags=["parameters"]
profile = "smoke"  # smoke | cpu | paper: the same here, for nothing below needs data or records
seed = 0  # of the random inputs and the toy models

# %% jupyter={"source_hidden": true}
import copy
import math

import pandas
import torch
import torch.nn.functional as F
from torch.autograd.functional import jacobian

import dgl_core
from dgl_core import check, difference, publish, suppression
from dgl_core.figures.theory import graph, inequality, widgets
from dgl_core.figures.theory import toy as toy_figures
from dgl_core.gradients import DisentangledObjective, disentangled_loss
from dgl_core.models import FUSIONS, ConcatFusion, LateFusion
from dgl_core.paper.theory import cases as examples
from dgl_core.paper.theory import condition, feature, field, reach, residual, sentences, toy

settings = dgl_core.start(profile, seed)

# %% tags=["nbval-ignore-output"]
dgl_core.provenance()

# %% [markdown]
# ## First one sample, by hand
#
# Three classes; the first one is the truth, $y$. Modality 1 alone believes $p^{Uni}=(\frac12,\,\frac3{10},\,\frac15)$.
# What a sample still teaches is its *residual*, the probability that the truth lacks: $1-\frac12=\frac12$.
#
# Fusion adds the scores of modality 2. The paper's $s_k$ is the factor by which they lower wrong class $k$, seen from
# the truth; here $s_2=\frac12$ and $s_3=\frac14$. The mean of these factors, weighted by how much modality 1 confuses
# the truth with each wrong class, is $\bar s$ (say "s-bar"):
#
# $$\bar s=\frac{\frac3{10}\cdot\frac12+\frac15\cdot\frac14}{\frac12}=\frac25.$$
#
# The fused model believes $\frac12\,/\,(\frac12+\frac12\cdot\frac25)=\frac57$. Its residual is $\frac27$, and the
# *suppression ratio* $R$, residual after fusion over residual before it, is $\frac27:\frac12=\frac47$. An encoder that
# learns through fusion gets that much less to learn from. This notebook is about when that is so, by how much, and
# what it does to the gradient, which is a vector.

# %%
publish("figure_2_0", inequality.belief_and_push({"one sample": examples.suppressed()}))

# %% [markdown]
# **Figure 2.0.** Left: what modality 1 believes alone (hatched) and what the fused model believes (black). Right: the
# direction in which a step of gradient descent pushes the feature of modality 1, $-g$, among the rows $W_k$ of the
# classifier; the arrow of the fused model is shorter.

# %% [markdown]
# ## Which cell settles your doubt
#
# | you doubt | read | you doubt | read |
# |---|---|---|---|
# | Eq. 1, 2, 3 | 2.1 | "converge faster" | 2.9 |
# | Eq. 4, 7 | 2.2 | Eq. 9 to 12, Algorithm 1 | 2.11 |
# | Eq. 5, 6, the class centres | 2.3 | Fig. 2 | 2.12 |
# | "increasingly severe", "easy-to-learn" | 2.4 | "exactly the vanilla $g^{Uni}$", "eliminated" | 2.13 |
# | Eq. 8 | 2.3 for the scalar; 2.5, 2.6, 2.19 for vectors | Eq. 15 | 2.14 |
# | the bias $b_1$ | 2.7 | $\alpha$ | 2.15 |
# | "the only way" is $z^{m_2}=0$ | 2.8 | "no extra structure complexity" | 2.12 |
# | "increasingly close to 1" | 2.16 | all of it, while a model trains | 2.16, 2.17, 2.19 |
# | what DGL can reach at most | 2.20 | | |
#
# The verdict on every sentence is in the table of section 2.21.

# %% [markdown]
# ## 2.1 Eq. 1 to 3: a model, a loss, the chain rule
#
# Two encoders give features $z^{m_1}, z^{m_2}$. The fusion module $\varphi_\tau$ turns them into one, and a linear
# classifier scores $K$ classes. The paper's section 3.1 writes:
#
# $$L^{Multi}=L_{CE}(W z^{\tau}+b,\ y)\quad(1)\qquad\qquad
# z^{\tau}=\varphi_\tau(\theta_\tau,\,z^{m_1},\,z^{m_2})\quad(2)$$
#
# It then takes concatenation, $z^{\tau}=[z^{m_1};\,z^{m_2}]$. $L_{CE}$ is cross-entropy.
#
# $W=[W^{m_1}, W^{m_2}]$ has one block of $K$ rows per modality (the paper prints $W^{m_1}\in\mathbb{R}^{d_1}$, which
# leaves out the $K$). The model below is the one that the rest of this companion trains, made small and set to
# float64.

# %%
K, D, B = 4, 5, 16  # classes, feature width, batch
encoders = {m: torch.nn.Linear(8, D, bias=False) for m in ("m1", "m2")}
model = LateFusion(encoders, ConcatFusion({"m1": D, "m2": D}, K)).double()
inputs = {m: torch.randn(B, 8, dtype=torch.float64) for m in encoders}
y = torch.randint(K, (B,))
W = dict(zip(encoders, model.fusion.head.weight.detach().split(D, dim=1), strict=True))  # W^m: [K, D]
b = model.fusion.head.bias.detach()

z = {m: value.detach() for m, value in model.encode(inputs).items()}
by_hand = z["m1"] @ W["m1"].T + z["m2"] @ W["m2"].T + b
check("2.1a Eq. 1 and 2 are the model", (model(inputs) - by_hand).abs().max() < 1e-12, "max error < 1e-12")

# %% [markdown]
# Section 3.1 continues with the chain rule, where $f(z^\tau)=W z^\tau+b$:
#
# $$g^{Multi}_{\theta_1}=\frac{\partial L^{Multi}}{\partial f(z^{\tau})}
# \ \frac{\partial f(z^{\tau})}{\partial z^{\tau}}\ \frac{\partial z^{\tau}}{\partial z^{m_1}}\quad(3)$$
#
# Each factor is taken from autograd on its own, multiplied, and compared with what one backward pass through the
# model finds.

# %%
weight, one, label = model.fusion.head.weight.detach(), z["m1"][0], y[:1]
joined = torch.cat([one, z["m2"][0]])
dL_df = jacobian(lambda logits: F.cross_entropy(logits[None], label), weight @ joined + b)  # [K]
df_dz = jacobian(lambda features: weight @ features + b, joined)  # [K, 2D]
dz_dm = jacobian(lambda first: torch.cat([first, z["m2"][0]]), one)  # [2D, D]

features = model.encode({m: value[:1] for m, value in inputs.items()})
encoder = model.encoders["m1"].weight
at_feature, at_theta = torch.autograd.grad(F.cross_entropy(model.fuse(features), label), [features["m1"], encoder])
check("2.1b Eq. 3 is the gradient at the feature z", (dL_df @ df_dz @ dz_dm - at_feature[0]).abs().max() < 1e-12)
dz_dtheta = torch.outer(at_feature[0], inputs["m1"][0])  # one more factor, dz/dtheta of a linear encoder
check("2.1c Eq. 3 is not yet the gradient at theta_1", (dz_dtheta - at_theta).abs().max() < 1e-12, "needs dz/dtheta")

# %% [markdown]
# So what the paper calls $g_{\theta_1}$ ends at the feature. The missing factor $\partial z^{m_1}/\partial\theta_1$
# is the same matrix for one sample in both models at the same $\theta_1$, but it does not drop out of norms, let
# alone of sums over samples (2.5, 2.6). From here on, $g$ is the gradient at the feature.

# %% [markdown]
# ## 2.2 Eq. 4 and 7: the right scalar on the wrong vector
#
# From Eq. 3 the paper derives the gradient in the fused model (4), and in a model of modality 1 alone (7):
#
# $$g_{\theta_1}^{Multi}=\left(\frac{e^{W_y^{m_1}z^{m_1}+b_1}}
# {\sum_{k=1}^{K}e^{W_k^{m_1}z^{m_1}+b_1}\,e^{(W_k^{m_2}-W_y^{m_2})\,z^{m_2}}}-1\right)W_y^{m_1}\quad(4)$$
#
# $$g_{\theta_1}^{Uni}=\left(\frac{e^{W_y^{m_1}z^{m_1}+b_1}}
# {\sum_{k=1}^{K}e^{W_k^{m_1}z^{m_1}+b_1}}-1\right)W_y^{m_1}\quad(7)$$
#
# Write $u_k=W_k^{m_1}z^{m_1}+b_k$ for what modality 1 says of class $k$, and $v_k=W_k^{m_2}z^{m_2}$ for what modality 2
# adds. Then
#
# $$s_k=e^{v_k-v_y},\qquad p^{Uni}=\mathrm{softmax}(u),\qquad p^{Multi}=\mathrm{softmax}(u+v).$$
#
# The bracket in Eq. 4 is $p_y^{Multi}-1$ and that in Eq. 7 is $p_y^{Uni}-1$, since
#
# $$p_y^{Multi}=\frac{e^{u_y}}{\sum_k e^{u_k}s_k}.$$
#
# With more than two modalities $v$ is the sum over all others and nothing below changes.

# %%
u, v = feature.partial_logits(z, W, b, "m1")
s = residual.partial_scores(v, y)
own = u.gather(1, y[:, None]).exp()[:, 0]
p_multi = (u + v).softmax(1).gather(1, y[:, None])[:, 0]
check("2.2a the bracket of Eq. 4 is p_y - 1", (own / (u.exp() * s).sum(1) - p_multi).abs().max() < 1e-12)

# %% [markdown]
# Our theorems are numbered T1 to T10, and D1 to D7 where they are about DGL.
#
# **T1.** The gradient of cross-entropy at a feature is a sum over *all* classes:
#
# $$g=\sum_k (p_k-[k=y])\,W_k^{m_1}=\sum_{k\neq y}p_k\,(W_k^{m_1}-W_y^{m_1}),$$
#
# with $p=p^{Multi}$ in the fused model and $p=p^{Uni}$ alone. Eq. 4 and 7 print only its $k=y$ term,
# $(p_y-1)W_y^{m_1}$. What they drop is $\sum_{k\neq y}p_k W_k^{m_1}$.

# %%
for name, keep, logits in (("Eq. 4, fused", None, u + v), ("Eq. 7, alone", ("m1",), u)):
    features = {m: value.clone().requires_grad_() for m, value in z.items()}
    loss = F.cross_entropy(model.fuse(features, keep=keep), y, reduction="sum")
    autograd = torch.autograd.grad(loss, features["m1"])[0]
    exact, printed = (f(logits, W["m1"], y) for f in (feature.feature_gradient, feature.printed_gradient))
    dropped = logits.softmax(1).scatter(1, y[:, None], 0.0) @ W["m1"]
    check(f"2.2b T1 is the gradient: {name}", (exact - autograd).abs().max() < 1e-12, "max error < 1e-12")
    check(f"2.2c printed + dropped = exact: {name}", (printed + dropped - exact).abs().max() < 1e-12)
    off = (printed - exact).norm(dim=1) / exact.norm(dim=1)
    print(f"      {name}: the printed vector is off by {100 * off.median():.0f} % of the exact one (median)")

# %%
case = examples.suppressed()  # p alone (.5, .3, .2), s = (1, .5, .25), three class rows at 120 degrees
publish("figure_2_1", inequality.printed_against_exact(case))

# %% [markdown]
# **Figure 2.1.** The sample of Figure 2.0. Grey dots are the rows $W_k$ of the classifier in the plane of the feature.
# Arrows show the direction in which a descent step pushes the feature, $-g$. The printed equations (dashed) point at
# $W_y$ whatever the model believes; the gradient (solid) also moves away from the wrong class that is believed most.

# %% [markdown]
# ## 2.3 Eq. 5 and 6: the exact condition
#
# Section 3.1 argues that training makes the factors of modality 2 small:
#
# $$e^{(W_k^{m_2}-W_y^{m_2})\,z^{m_2}}\lt 1,\ k\neq y\quad(5)\qquad\qquad
# e^{(W_k^{m_2}-W_y^{m_2})\,z^{m_2}}=1,\ k=y\quad(6)$$
#
# and concludes
#
# $$abs(g_{\theta_1}^{Uni})\gt abs(g_{\theta_1}^{Multi})\gt 0.\quad(8)$$
#
# The factors are our $s_k$. What do they have to fulfil? The scalar shrinks when the target gains probability:
#
# $$p_y^{Multi}\gt p_y^{Uni}\ \iff\ \sum_k e^{u_k}(s_k-1)\lt 0\ \iff\ \bar s\lt 1,$$
#
# $$\bar s=\sum_{k\neq y}q_k\,s_k,\qquad q_k=\frac{p_k^{Uni}}{1-p_y^{Uni}}.$$
#
# **T2.** So Eq. 8, read for the scalar, holds exactly when $\bar s\lt 1$: a mean of the $s_k$ weighted by what
# modality 1 confuses the target with. It needs no assumption. An equivalent reading: $\bar s$ is the odds of the
# target before fusion divided by the odds after it.

# %%
draws = torch.Generator().manual_seed(seed)
u, v = (2 * torch.randn(20_000, 5, dtype=torch.float64, generator=draws) for _ in range(2))
y = torch.randint(5, (20_000,), generator=draws)
p_uni, p_multi = (logits.softmax(1).gather(1, y[:, None])[:, 0] for logits in (u, u + v))
s, s_bar = residual.partial_scores(v, y), residual.mean_partial_score(u, v, y)
check("2.3a p_y grows exactly when s-bar < 1", torch.equal(p_multi > p_uni, s_bar < 1), "0 of 20000 draws disagree")
odds = (p_uni / (1 - p_uni)) / (p_multi / (1 - p_multi))
check("2.3b s-bar is the ratio of the odds", (odds / s_bar - 1).abs().max() < 1e-6, "relative error < 1e-6")

# %% [markdown]
# Eq. 5 asks for more: $s_k\lt 1$ for *every* wrong class, that is, modality 2 alone ranks the target strictly first.
# Eq. 6, $s_y=1$, is true by definition.
#
# **T2'.** Eq. 5 implies $\bar s\lt 1$. It is not necessary, and it is not always true: it fails for every sample that
# modality 2 alone misclassifies.

# %%
eq5 = s.scatter(1, y[:, None], 0.0).max(1).values < 1
check("2.3c Eq. 6: s_y = 1", (s.gather(1, y[:, None]) == 1).all())
check("2.3d Eq. 5 implies s-bar < 1", (s_bar[eq5] < 1).all(), f"{int(eq5.sum())} draws")
check("2.3e Eq. 5 is not necessary", ((s_bar < 1) & ~eq5).any(), f"{int(((s_bar < 1) & ~eq5).sum())} draws without it")
case = examples.amplified()
print(f"v = (0, 2, 0), p alone = (.5, .3, .2): s-bar = {case.s_bar:.2f}, p_y falls to {case.p_multi[0]:.2f}")
check("2.3f Eq. 5 can fail and fusion amplifies", case.s[1] > 1 and case.ratio > 1, f"R = {case.ratio:.2f}")

# %%
cases = {"suppressed": examples.suppressed(), "amplified": examples.amplified(), "C1": examples.growing_norm()}
beliefs = [(0.5, 0.3, 0.2), (0.4, 0.3, 0.3), (0.5, 0.475, 0.025)]
publish("figure_2_2", inequality.suppression_region(beliefs, cases))

# %% [markdown]
# **Figure 2.2.** Three classes. The axes say by how much modality 2 prefers the target to each wrong class (logit
# margins). In the blue part $\bar s\lt 1$, and the residual shrinks. The hatched quadrant is that of Eq. 5. The panels
# differ in what modality 1 confuses the target with: the more one-sided its confusion $q$, the less the other margin
# matters. Dots are samples of this notebook; C1 is the first counterexample of 2.6.

# %% [markdown]
# The paper argues for Eq. 5 by class centres: training pulls $z^{m_2}$ towards $W_y$ and away from $W_k$. That
# describes where training goes, not where it starts. At random initialisation the $K$ classes are interchangeable, so
# modality 2 ranks the target first for one sample in $K$.

# %%
rows = {}
for classes in (2, 3, 6, 10):
    heads = [torch.randn(4000, classes, dtype=torch.float64, generator=draws) for _ in range(2)]
    start_y = torch.randint(classes, (4000,), generator=draws)
    margins = residual.partial_scores(heads[1], start_y).scatter(1, start_y[:, None], 0.0).max(1).values < 1
    share = residual.suppressed_share(heads[0] + heads[1], heads[0], start_y)
    rows[classes] = {"Eq. 5 holds, %": 100 * margins.double().mean().item(), "s-bar < 1, %": 100 * share}
table = pandas.DataFrame(rows).T.round(0).astype(int).rename_axis("classes")
near = all(abs(row["Eq. 5 holds, %"] - 100 / classes) < 3 for classes, row in rows.items())
check("2.3g untrained: Eq. 5 holds for one sample in K", near, "within 3 points")
publish("table_2_1", table)

# %% [markdown]
# ## 2.4 How much: the suppression ratio R
#
# **T3.** The factor between the two scalars has a closed form, with $p=p_y^{Uni}$:
#
# $$R=\frac{1-p_y^{Multi}}{1-p_y^{Uni}}=\frac{\bar s}{p+(1-p)\,\bar s}.$$
#
# $R$ grows with $\bar s$ and $R\lt 1\ \iff\ \bar s\lt 1$. For $\bar s\lt 1$ it falls with $p$, from 1 at $p=0$ to
# $\bar s$ at $p=1$. This is what "suppression increases with optimisation progress" can mean rigorously: $p$ rises,
# or $\bar s$ falls.

# %%
ratio, s_bar = suppression.suppression_ratio(u + v, u, y)  # computed from log odds: no digit is lost as p -> 1
closed = residual.closed_form_ratio(p_uni, s_bar)
check("2.4a T3, the closed form", (closed / ratio - 1).abs().max() < 1e-9, "relative error < 1e-9")
p, sizes = torch.linspace(0.01, 0.99, 99).double(), torch.logspace(-2, 2, 81).double()
grid = residual.closed_form_ratio(p[:, None], sizes)  # [p, s-bar]
check("2.4b R grows with s-bar", (grid.diff(dim=1) > 0).all())
check("2.4c R falls with p where s-bar < 1", (grid.diff(dim=0)[:, sizes < 0.99] < 0).all(), "rises where s-bar > 1")
case = examples.suppressed()
print(f"the sample of Figure 2.0, s = (1, 1/2, 1/4) and p = (.5, .3, .2): s-bar = (.3/2 + .2/4)/.5 = {case.s_bar:.2f}")
print(f"R = 4/7 = {case.ratio:.4f}, p_y of the fused model = 1 - (4/7)/2 = {case.p_multi[0]:.4f}")

# %%
publish("figure_2_3", inequality.ratio_curves())

# %% [markdown]
# **Figure 2.3.** Left: $R$ against the confidence of the modality alone, one curve for each $\bar s$. Middle: $R$
# against $\bar s$. Right: the gap $p_y^{Multi}-p_y^{Uni}=(1-p)(1-R)$, that is, the *difference* between the two
# scalars. The ratio only falls; the difference is largest in between and vanishes at both ends. The introduction of
# the paper sees its gap widen "in the middle of the training" (Fig. 1c), which is what a difference does.

# %% [markdown]
# Two remarks of section 3.1 need margins where the paper writes scores. "If $m_2$ is easy, $W_y^{m_2}z^{m_2}$ is
# larger, so $e^{(W_k-W_y)z}$ is smaller" compares scores of the target only; other classes may score higher still.
# With margins it is true: $R$ falls when $v_y$ rises or when any other $v_k$ falls. Autograd gives the sign of every
# derivative.

# %%
easy, hard = torch.tensor([5.0, 6.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])  # partial logits, target is class 0
worst = [residual.partial_scores(logits, torch.tensor(0))[1:].max() for logits in (easy, hard)]
check("2.4d a larger score of the target is not a larger margin", easy[0] > hard[0] and worst[0] > 1 > worst[1],
      f"scores 5 against 1, largest s_k {worst[0]:.2f} against {worst[1]:.2f}")  # fmt: skip
few = torch.arange(2000)
moving = v[few].clone().requires_grad_()
slope = torch.autograd.grad(suppression.suppression_ratio(u[few] + moving, u[few], y[few])[0].sum(), moving)[0]
at_target = slope.gather(1, y[few][:, None])[:, 0]
others = slope.scatter(1, y[few][:, None], torch.inf).min(1).values
check("2.4e R falls with v_y, rises with every other v_k", (at_target < 0).all() and (others > 0).all(), "2000 draws")

# %% [markdown]
# ## 2.5 Eq. 8 for vectors: five theorems
#
# Eq. 8 writes $abs(\cdot)$ around vectors. At the *logits* a norm makes it exact; at the *feature* it needs
# conditions on the rows $W_k$.
#
# **T4.** Let $e_y$ be 1 at the target and 0 elsewhere. The gradient at the logits is $r=p-e_y$. It has
# $\Vert r\Vert_1=2(1-p_y)$ and $\Vert r\Vert_\infty=1-p_y$, and $\Vert r\Vert_2/(1-p_y)$ lies between
# $\sqrt{K/(K-1)}$ and $\sqrt2$. So with the first two norms, at the logits, Eq. 8 holds exactly when $\bar s\lt 1$.

# %%
r = residual.residual(u, y)
missing = 1 - p_uni
check("2.5a T4: the 1-norm", (r.abs().sum(1) - 2 * missing).abs().max() < 1e-12, "max error < 1e-12")
check("2.5b T4: the max-norm", (r.abs().max(1).values - missing).abs().max() < 1e-12, "max error < 1e-12")
low, high = residual.residual_norm_bounds(5)
factor = r.norm(dim=1) / r.abs().max(1).values
check("2.5c T4: the 2-norm", (factor > low - 1e-12).all() and (factor < high + 1e-12).all(), "0 of 20000 draws outside")

# %% [markdown]
# **T5.** For $K=2$, $g=p_k(W_k-W_y)$ with $k$ the other class: the two gradients are collinear and
# $g^{Multi}=R\,g^{Uni}$.
#
# **T6.** The same holds for any $K$ if modality 2 has equal margins, $s_k=s$ for all $k\neq y$.
#
# In these cases Eq. 8 is a theorem about vectors, exactly when modality 2 prefers the target.


# %%
def gradients(u, v, weight, y):
    """g alone and g fused, [N, D] each."""
    return [feature.feature_gradient(logits, weight, y) for logits in (u, u + v)]


two = torch.randn(2, 8, dtype=torch.float64, generator=draws)
picked = y[:4000] % 2
alone, fused = gradients(u[:4000, :2], v[:4000, :2], two, picked)
R, _ = suppression.suppression_ratio((u + v)[:4000, :2], u[:4000, :2], picked)
check("2.5d T5: two classes", ((fused - R[:, None] * alone).norm(dim=1) / fused.norm(dim=1)).max() < 1e-7)
equal = v[:, :1].repeat(1, 5).scatter(1, y[:, None], 0.0)  # v_k = c for all k != y, v_y = 0
five = torch.randn(5, 8, dtype=torch.float64, generator=draws)
alone, fused = gradients(u, equal, five, y)
R, _ = suppression.suppression_ratio(u + equal, u, y)
check("2.5e T6: equal margins", ((fused - R[:, None] * alone).norm(dim=1) / fused.norm(dim=1)).max() < 1e-7)

# %% [markdown]
# **T7.** Always $(1-p_y)\,\delta\le\Vert g\Vert\le(1-p_y)\,D$, where $D$ is the largest $\Vert W_k-W_y\Vert$ and
# $\delta$ the distance from $W_y$ to the convex hull of the other rows. Hence
# $\Vert g^{Multi}\Vert\le R\,\frac{D}{\delta}\,\Vert g^{Uni}\Vert$: enough suppression, $R\lt\delta/D$, always
# shrinks the norm.
#
# **T8.** If $\langle W_j-W_y,W_k-W_y\rangle\ge 0$ for all $j,k\neq y$ (so it is for orthonormal rows, and for a
# *simplex frame*, unit rows at equal angles, where training tends late), and fusion lowers the probability of *every*
# wrong class, then $\Vert g^{Multi}\Vert\le\Vert g^{Uni}\Vert$.

# %%
frame = feature.simplex_etf(5, 8, draws)  # five unit rows at equal angles
y = torch.zeros(20_000, dtype=torch.long)
alone, fused = (g.norm(dim=1) for g in gradients(u, v, frame, y))
R, _ = suppression.suppression_ratio(u + v, u, y)
delta, largest = feature.norm_range(frame, 0)
bound = R * largest / delta * alone
check("2.5f T7: the upper bound", (fused <= bound + 1e-9).all(), f"D / delta = {largest / delta:.2f}")
check("2.5g T7: R < delta / D is enough", (fused < alone)[R < delta / largest].all())
even = feature.evenly_suppressed(u, v, y)
holds = feature.acute_differences(frame, 0) and (fused <= alone + 1e-12)[even].all()
check("2.5h T8: acute rows, evenly suppressed", holds, f"{int(even.sum())} draws, 0 violations")
check("2.5i T8 needs its second condition", (fused > alone)[(R < 1) & ~even].any())

# %%
heads = examples.random_heads(4000, 6, 2, draws)
pairs = examples.random_heads(1500, 2, 16, draws)
some = slice(0, 4000)
panels = {
    "T5: K = 2": pairs | {"marked": torch.ones_like(pairs["margins"])},
    "random rows in a plane, K = 6": heads | {"marked": heads["margins"]},
    "simplex frame, K = 5": {"ratio": R[some], "norm_ratio": (fused / alone)[some], "marked": even[some]},
}
publish("figure_2_4", inequality.norms_against_ratio(panels, {"simplex frame, K = 5": largest / delta}))

# %% [markdown]
# **Figure 2.4.** Does the norm at the feature follow the scalar $R$? Each dot is a draw; it lies on the diagonal if it
# does. Left: with two classes it always does. Middle: random rows; blue dots satisfy Eq. 5, orange ones do not. Right:
# a simplex frame; blue dots satisfy T8, and the dotted lines are the bounds of T7. In the shaded corner the residual
# shrinks and the gradient grows, which Eq. 8 excludes.

# %% [markdown]
# ## 2.6 Three counterexamples to Eq. 8 as an inequality of norms
#
# * **C1.** $K=3$, $W_y=0$ between $W_2=(1,0)$ and $W_3=(-1,0)$, $p^{Uni}=(.4,.3,.3)$, $s=(1,\frac12,\frac1{16})$. Eq.
#   5 holds. Alone, the two wrong classes pull with equal force and $g^{Uni}=0$; fusion breaks the tie and
#   $g^{Multi}\neq 0$.
# * **C2.** It is not rare: with random rows it happens to a visible share of samples.
# * **C3.** It does not even survive a sum: if every sample's gradient shrinks, the batch's may grow.

# %%
c1, c2, c3 = examples.growing_norm(), examples.random_heads(20_000, 6, 16, draws), examples.growing_batch()
grows = c2["norm_ratio"] > 1
from_zero = (c1.s[1:] < 1).all() and c1.g_uni.norm() < 1e-12 and c1.g_multi.norm() > 0.2
check("2.6a C1: Eq. 5 holds, the norm grows from 0", from_zero, f"R {c1.ratio:.2f}, norm {c1.g_multi.norm():.4f}")
check("2.6b C2: with R < 1 the norm can grow", (grows & (c2["ratio"] < 1)).any())
check("2.6c C2: with Eq. 5 the norm can grow", (grows & c2["margins"]).any())
shrunk, grown = (c3[1].abs() < c3[0].abs()).all(), c3[1].sum().abs() > c3[0].sum().abs()
check("2.6d C3: samples shrink, their sum grows", shrunk and grown, "(1, -1) becomes (0.9, -0.1)")
zero = examples.vanishing_gradient()
check("2.6e 'abs(g) > 0' fails: both gradients vanish", zero.g_multi.norm() < 1e-12 and zero.p_multi[0] < 0.5,
      f"p_y = {zero.p_multi[0]:.1f}, the scalar is {zero.p_multi[0] - 1:.1f}")  # fmt: skip
publish("figure_2_5", inequality.counterexamples(c1, c2, c3))

# %% [markdown]
# **Figure 2.5.** Left, C1: a circle stands for the zero gradient alone, an arrow for the fused one. Middle, C2: the
# ratio of the norms where the residual shrinks (filled) or Eq. 5 holds (line); beyond the vertical line the gradient
# grew. Right, C3: each sample's gradient shrinks, and their sum grows. What survives of Eq. 8 is the scalar, the
# logits, and the conditions of T5 to T8.

# %% [markdown]
# ## 2.7 Whose bias is it?
#
# Eq. 4 and 7 carry a $b_1$ without class index. As a scalar it cancels in every softmax. With one entry per class,
# someone must own it: $u=W^{m_1}z^{m_1}+c\,b$ and $v=W^{m_2}z^{m_2}+(1-c)\,b$. The fused model does not depend on
# $c$. Everything called unimodal does: $p^{Uni}$, $s_k$, $R$. Zero-masking (DGL, Eq. 12) is $c=1$; the rival method
# OGM-GE scores with $c=\frac12$. T2 to T8 hold for every $c$, each about its own unimodal model.

# %%
sample = {"m1": torch.tensor([[1.0]]).double(), "m2": torch.tensor([[1.0]]).double()}
blocks = {"m1": torch.tensor([[0.5], [0.0], [0.2]]).double(), "m2": torch.tensor([[0.2], [0.0], [-0.2]]).double()}
bias, first = torch.tensor([-0.8, 0.8, 0.0]).double(), torch.tensor([0])
shares = torch.linspace(0, 1, 41).double()
curves = {}
for m in sample:
    split = [feature.partial_logits(sample, blocks, bias, m, c) for c in shares.tolist()]
    curves[m] = torch.cat([suppression.suppression_ratio(own + rest, own, first)[0] for own, rest in split])
    check(f"2.7a {m}: the fused logits do not depend on c", torch.stack([a + d for a, d in split]).std(0).max() < 1e-12)
    check(f"2.7b {m}: R is on both sides of 1", curves[m][0] > 1 > curves[m][-1], f"c = 0: {curves[m][0]:.2f}, "
          f"c = 1/2: {curves[m][20]:.2f}, c = 1: {curves[m][-1]:.2f}")  # fmt: skip
check("2.7c a bias without class index cancels", torch.allclose((bias + 3).softmax(0), bias.softmax(0)))
publish("figure_2_6", inequality.bias_split(shares, curves))

# %% [markdown]
# **Figure 2.6.** $R$ of each modality against the share of the bias that it is given, for one sample and one fused
# model. Whether this sample counts as suppressed is a convention. Zero-masking also gives the *whole* bias to whichever
# modality is looked at, so the two unimodal models of DGL do not add up to the fused one: $l^{m_1}+l^{m_2}=l+b$ (D6
# in 2.13).

# %% [markdown]
# ## 2.8 "The only way is $z^{m_2}=0$"
#
# To keep $g^{Multi}=g^{Uni}$, says the paper, all $s_k$ must be 1, and since the rows of $W$ differ this forces
# $z^{m_2}=0$. The first half is right. The second is not: $s\equiv 1$ asks for $(W_k^{m_2}-W_y^{m_2})\,z^{m_2}=0$,
# which are $K-1$ linear equations in $d$ unknowns. Their solutions fill a space of dimension at least $d-(K-1)$.

# %%
block = torch.randn(6, 512, dtype=torch.float64, generator=draws) / 512**0.5  # the classifier block of CREMA-D's size
silent = examples.silent_feature(block, 0, draws)
scores = residual.partial_scores(block @ silent, torch.tensor(0))
rank = torch.linalg.matrix_rank(feature.class_differences(block, 0))
check("2.8a a feature of length 1 with every s_k = 1", silent.norm() > 0.999 and (scores - 1).abs().max() < 1e-14,
      f"|s - 1| < 1e-14, in a space of dimension {512 - int(rank)} of 512")  # fmt: skip
u6 = torch.randn(1000, 6, dtype=torch.float64, generator=draws)
same = ((u6 + block @ silent).softmax(1) - u6.softmax(1)).abs().max()
check("2.8b then fusion changes no probability at all", same < 1e-12, "max change < 1e-12")
other = torch.randn(1000, 6, dtype=torch.float64, generator=draws)
apart = ((u6 + other).softmax(1) - u6.softmax(1)).abs().max(1).values
check("2.8c and if some s_k differs from 1, it does", (apart > 1e-6).all())

# %% [markdown]
# So the feature need not vanish, but what modality 2 *says* must: $s\equiv1$ holds exactly when $v$ is the same
# number for all classes, and then the fused prediction is that of modality 1. The conclusion stands. A modality that
# helps the decision on a sample changes the gradient of the other one on that sample; no choice of features avoids
# it. Only cutting the path does.

# %% [markdown]
# ## 2.9 "Will converge faster"
#
# From a smaller gradient at a *shared* point nothing follows about speed: the two trainings visit different points,
# and a step size multiplies whatever it is given. The smallest example: one weight $\theta$, two classes, three
# samples of class $y$ to one of the other. Modality 2 is right on each by a margin of 2, so by T5 every sample is
# suppressed as a vector, at every $\theta$. With a large step the *unimodal* training oscillates for ever and the
# suppressed one converges.


# %%
def loss_of(theta, margin):
    """Mean cross-entropy of logits theta against -theta, with ``margin`` added in favour of each sample's own class."""
    return 0.75 * F.softplus(-2 * theta - margin) + 0.25 * F.softplus(2 * theta - margin)


ends = {}
for name, margin in (("unimodal", 0.0), ("suppressed", 2.0)):
    theta = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    for _ in range(300):
        slope = torch.autograd.grad(loss_of(theta, margin), theta)[0]
        theta = (theta - 4.0 * slope).detach().requires_grad_()
    ends[name] = slope.abs().item()
print({name: round(value, 3) for name, value in ends.items()}, "= |gradient| after 300 steps")
check("2.9a smaller gradients, faster convergence", ends["suppressed"] < 1e-6 < 0.1 < ends["unimodal"])

# %% [markdown]
# An optimiser that divides by the size of the gradient, such as Adam, does not notice a constant factor at all. What
# suppression does to *learning* is therefore a question to measure, which sections 2.16 and 2.17 do on a toy task and
# notebook 3 in real training.

# %% [markdown]
# ## 2.10 Try it: margins and confidence
#
# Below are three samples from above in one picture, and then sliders that draw the same picture for a sample of your
# own. Can you make the black arrow longer than the blue one although $R\lt 1$? Can you make it turn while $R$ hardly
# moves?

# %%
publish("figure_2_7", inequality.belief_and_push(
    {"suppressed": examples.suppressed(), "amplified": examples.amplified(), "C1": examples.growing_norm()}))  # fmt: skip

# %% [markdown]
# **Figure 2.7.** The upper row shows what the modality alone (hatched) and the fused model (black) believe. The lower
# row shows the push $-g$ that each sends to the feature, among the rows $W_k$. On the left the push is suppressed and
# keeps nearly its direction. In the middle modality 2 is wrong, and the encoder of modality 1 gets a *larger* push. On
# the right is C1.

# %% tags=["nbval-skip"]
widgets.suppression_explorer()

# %% [markdown]
# ## 2.11 Eq. 9 to 14 and Algorithm 1: DGL by hand
#
# Section 3.2 computes the multimodal loss on *detached* features: numbers through which no gradient passes.
#
# $$z^{\tau d}=\varphi_\tau(\theta_\tau,\ z^{m_1}.detach(),\ z^{m_2}.detach())\quad(9)\qquad
# L^{d}=L_{CE}(W z^{\tau d}+b,\ y)\quad(10)$$
#
# Each encoder has a unimodal loss of its own, in which the other modality's feature is zero:
#
# $$L^{m_1}=L_{CE}(W z^{\tau 1}+b,\ y)\quad(11)\qquad
# z^{\tau 1}=\varphi_\tau(\theta_\tau,\ z^{m_1},\ 0)\quad(12)$$
#
# $$L^{m_2}=L_{CE}(W z^{\tau 2}+b,\ y)\quad(13)\qquad
# z^{\tau 2}=\varphi_\tau(\theta_\tau,\ 0,\ z^{m_2})\quad(14)$$
#
# Algorithm 1 runs two backward passes. In between it throws away what the unimodal losses left on the fusion module.
# These are three lines of code:


# %%
def algorithm_1(model, inputs, target, alpha):
    """Gradients by parameter name, as the paper computes them."""
    features = model.encode(inputs)
    detached = {m: value.detach() for m, value in features.items()}  # Eq. 9
    (alpha * sum(F.cross_entropy(model.fuse(features, keep=(m,)), target) for m in features)).backward()  # Eq. 11-14
    model.fusion.zero_grad(set_to_none=True)  # "eliminate the gradient passed back to the fusion module"
    F.cross_entropy(model.fuse(detached), target).backward()  # Eq. 10
    return {name: parameter.grad for name, parameter in model.named_parameters()}


# %%
y = torch.randint(K, (B,), generator=draws)
expected = algorithm_1(copy.deepcopy(model), inputs, y, alpha=4.0)
ours = copy.deepcopy(model)
disentangled_loss(ours, inputs, y, alpha=4.0).total.backward()  # one backward pass
error = max((parameter.grad - expected[name]).abs().max() for name, parameter in ours.named_parameters())
check("2.11a dgl_core.gradients is Algorithm 1", error < 1e-12, f"{len(expected)} tensors, max error < 1e-12")

# %% [markdown]
# The next example is small enough for a pocket calculator. It has one sample, features of width one, $z=(1,2)$,
# $W=((1,\frac12),(-1,-\frac12))$, no bias, and $\alpha=4$. Each modality says $(1,-1)$ alone; together they say
# $(2,-2)$.

# %%
tiny = LateFusion({"m1": torch.nn.Identity(), "m2": torch.nn.Identity()}, ConcatFusion({"m1": 1, "m2": 1}, 2)).double()
tiny.fusion.head.weight.data = torch.tensor([[1.0, 0.5], [-1.0, -0.5]]).double()
tiny.fusion.head.bias.data.zero_()
point = {m: torch.tensor([[value]]).double().requires_grad_() for m, value in (("m1", 1.0), ("m2", 2.0))}
received = {}
for name, options in {"vanilla": {"alpha": 0.0, "encoder_gate": 1.0}, "DGL": {"alpha": 4.0}}.items():
    losses = disentangled_loss(tiny, point, torch.tensor([0]), **options)
    received[name] = torch.cat(torch.autograd.grad(losses.total, list(point.values()))).flatten()
    print(f"{name:<8} gradient at (z_1, z_2): " + ", ".join(f"{value:+.4f}" for value in received[name].tolist()))
R = suppression.suppression_ratio(losses.logits["fused"], losses.logits["m1"], torch.tensor([0]))[0].item()
factor = received["vanilla"] / (received["DGL"] / 4.0)
check("2.11b vanilla / (DGL / alpha) = R", (factor - R).abs().max() < 1e-12, f"{R:.4f}")

# %% [markdown]
# ## 2.12 Fig. 2, drawn from the autograd graph
#
# The paper's Fig. 2 is a drawing. Here the graph of the real objective is walked from each loss (`grad_fn`,
# `next_functions`) to the parameters it ends in (`AccumulateGrad`), and the gradient that arrives there is measured.
# An arrow means a gradient different from zero arrives. A red cross means that none does, although there is a path if
# the same loss is computed by calling the model plainly. If the code changed, so would the picture.

# %%
objectives = {"(a) vanilla": DisentangledObjective(model, alpha=0.0, encoder_gate=1.0),
              "(b) DGL": DisentangledObjective(model, alpha=1.0)}  # fmt: skip
edges = {(e.loss, e.part): e for e in graph.gradient_edges(objectives["(b) DGL"], inputs, y)}
arriving = {pair for pair, edge in edges.items() if edge.arrives}
expected = {("fused", "fusion"), ("m1", "m1"), ("m2", "m2")}
check("2.12a L_multi trains the fusion alone, L_m its encoder alone", arriving == expected)
cut = [edge for edge in edges.values() if edge.cut]
check("2.12b truncated edges have no path in the graph", all(e.reached == 0 for e in cut), f"{len(cut)} edges cut")
open_gate = DisentangledObjective(model, alpha=1.0, encoder_gate=1.0)
changed = {(e.loss, e.part) for e in graph.gradient_edges(open_gate, inputs, y) if e.arrives}
check("2.12c opening the encoder gate adds two arrows", changed - arriving == {("fused", "m1"), ("fused", "m2")})
own, all_of_it = (sum(p.numel() for p in module.parameters()) for module in (model, objectives["(b) DGL"]))
check("2.12d DGL adds no parameter to the model", own == all_of_it, f"{own} with and without")
publish("figure_2_8", graph.gradient_paths(objectives, inputs, y))

# %% [markdown]
# **Figure 2.8.** Fig. 2 of the paper, from the code. Gradients run from right to left. A dot in the fusion module says
# that this loss trains it. A red cross says that the loss is truncated there and passes through to the encoder only.
# Numbers are norms of the gradient that arrives. No line joins $L^{m_1}$ to encoder 2: with zeros at the fusion input
# there never was a path.

# %% [markdown]
# ## 2.13 What DGL guarantees: D1, D2, D3, D6
#
# **D1.** Encoder $m$ receives $\alpha\,\partial\,\mathrm{CE}(W^m z^m+b,y)/\partial\theta_m$, at the feature
# $\alpha\,W^{m\top}(p^{Uni}-e_y)/B$: Eq. 7 put right, times $\alpha$. **D2.** It does not depend on any other
# modality. **D3.** The fusion module receives the gradient of the multimodal loss on constant features, whatever
# $\alpha$. **D6.** $l=\sum_m l^m-(M-1)\,b$.


# %%
def received_by(model, inputs, **options):
    fresh = copy.deepcopy(model)
    disentangled_loss(fresh, inputs, y, **options).total.backward()
    return {name: parameter.grad for name, parameter in fresh.named_parameters()}


got = received_by(model, inputs, alpha=4.0)
at_feature = 4.0 * feature.feature_gradient(z["m1"] @ W["m1"].T + b, W["m1"], y) / B
check("2.13a D1", (got["encoders.m1.weight"] - at_feature.T @ inputs["m1"]).abs().max() < 1e-12, "max error < 1e-12")
loud = received_by(model, inputs | {"m2": 100 * inputs["m2"]}, alpha=4.0)
check("2.13b D2, to the last bit", torch.equal(got["encoders.m1.weight"], loud["encoders.m1.weight"]))
quiet = received_by(model, inputs, alpha=0.0)
check("2.13c D3", torch.equal(got["fusion.head.weight"], quiet["fusion.head.weight"]), "alpha 4 and alpha 0 agree")
logits = model.all_logits(inputs)
check("2.13d D6", (logits["m1"] + logits["m2"] - b - logits["fused"]).abs().max() < 1e-12, "max error < 1e-12")

# %% [markdown]
# "Exactly the vanilla $g^{Uni}$" is true of the formula at given weights. It is not the gradient that a separately
# trained unimodal model would see: there $W^m$ and $b$ learn from $L^m$, here from $L^{Multi}$ alone. And D2 ends at
# the optimiser: clipping the norm of *all* gradients together, as the official code does, lets a loud modality scale
# the step of every other part.

# %%
norms = {}
for name, batch in (("as given", inputs), ("m2 a hundred times louder", inputs | {"m2": 100 * inputs["m2"]})):
    clipped = copy.deepcopy(model)
    disentangled_loss(clipped, batch, y, alpha=4.0).total.backward()
    torch.nn.utils.clip_grad_norm_(clipped.parameters(), 1.0)
    norms[name] = clipped.encoders["m1"].weight.grad.norm().item()
print({name: round(value, 3) for name, value in norms.items()}, "= clipped gradient at encoder m1")
check("2.13e joint clipping couples the modalities again", norms["m2 a hundred times louder"] < 0.5 * norms["as given"])

# %% [markdown]
# ## 2.14 Eq. 15 is not a loss: D5
#
# Section 3.2 ends with
#
# $$L_{DGL}=[L^d,\ \alpha\,(L^{m_1}+L^{m_2})]\quad(15)$$
#
# with brackets instead of a plus, and rightly so. The update
# $(\alpha\nabla_\theta\sum_m L^m,\ \nabla_\tau L^{Multi})$ is in general **not the gradient of any function**. A
# gradient field has a symmetric derivative $J$ (mixed second derivatives agree). For DGL the two cross blocks are
# $\alpha\,\partial_\tau\partial_\theta\sum_m L^m$ and $\partial_\theta\partial_\tau L^{Multi}$, derivatives of
# different losses. For comparison we take vanilla training and [G-Blending](https://arxiv.org/abs/1905.12681), which
# descends on the sum of the multimodal and the unimodal losses and truncates nothing.

# %%
data = toy.toy_data(seed=seed, samples=40)  # two generated modalities, easy and hard; see 2.16
objectives = {"vanilla": (0.0, 1.0, 0.0), "G-Blending": (1.0, 1.0, 1.0), "DGL": (1.0, 0.0, 0.0)}
jacobians = {}
for name, (alpha, encoder_gate, fusion_gate) in objectives.items():
    objective = DisentangledObjective(toy.toy_model(data, seed), alpha, encoder_gate, fusion_gate)
    jacobians[name] = field.field_jacobian(objective, data.train, data.train_target)
encoder_size = sum(parameter.numel() for parameter in objective.model.encoders.parameters())
for name in ("vanilla", "G-Blending"):
    check(f"2.14a {name}: J is symmetric", field.asymmetry(jacobians[name]) < 1e-7, "max asymmetry < 1e-7")
check("2.14b DGL: J is not symmetric", field.asymmetry(jacobians["DGL"]) > 0.01)
publish("figure_2_9", toy_figures.asymmetries(jacobians, encoder_size))

# %% [markdown]
# **Figure 2.9.** Derivative of the update with respect to all parameters, minus its transpose (encoder parameters
# first). A picture that is white everywhere says that the update is the gradient of a function. Those of the two joint
# trainings are white; that of DGL is not, and the asymmetry sits in the cross blocks. So no argument of the form "each
# step decreases the objective" covers DGL. A step can even *raise* the multimodal loss:

# %%
rises = {}
for trial in range(3):
    data = toy.toy_data(seed=trial)
    trained = toy.toy_model(data, trial)
    toy.train_toy(trained, data, steps=300, every=0)
    batch = (data.train, data.train_target)
    slope = field.multimodal_slope(DisentangledObjective(trained, alpha=1.0), *batch)
    vanilla = field.multimodal_slope(DisentangledObjective(trained, alpha=0.0, encoder_gate=1.0), *batch)
    print(f"toy task {trial} after 300 steps: L_multi {'rises' if slope > 0 else 'falls'} along the DGL step")
    rises[trial] = (slope > 0, vanilla < 0)
check("2.14c a DGL step can raise L_multi", any(rise for rise, _ in rises.values()))
check("2.14d a vanilla step never does, to first order", all(falls for _, falls in rises.values()))

# %% [markdown]
# ## 2.15 What is alpha? D4
#
# Encoders receive nothing but $\alpha\nabla L^m$. Under SGD, with or without momentum, a factor on the gradient is a
# factor on the learning rate: DGL with $\alpha=4$ *is* DGL with $\alpha=1$ and four times the encoder learning rate,
# without weight decay and clipping. Adam divides the factor out: there $\alpha$ does nothing.

# %%
data = toy.toy_data(seed=seed)
rate = "alpha 1, encoder rate x 4"
controls = {"alpha 4": {"alpha": 4.0}, rate: {"encoder_lr_scale": 4.0}, "alpha 1": {}}
panels, weights = {"SGD with momentum": {}, "Adam": {}}, {}
for panel, optimizer in zip(panels.values(), ("sgd", "adam"), strict=True):
    for run, options in controls.items():
        fresh = toy.toy_model(data, seed)
        panel[run] = toy.train_toy(fresh, data, lr=0.01, steps=150, every=5, optimizer=optimizer, **options)
        weights[optimizer, run] = torch.nn.utils.parameters_to_vector(fresh.parameters()).detach()


# %%
def apart(first, second):
    return (weights[first] - weights[second]).abs().max()


check("2.15a SGD: alpha is the encoder learning rate", apart(("sgd", "alpha 4"), ("sgd", rate)) < 1e-12, "< 1e-12")
check("2.15b Adam: alpha is inert", apart(("adam", "alpha 4"), ("adam", "alpha 1")) < 1e-6, "all weights, < 1e-6")
check("2.15c Adam: the learning rate is not", apart(("adam", rate), ("adam", "alpha 1")) > 0.01)
publish("figure_2_10", toy_figures.alpha_controls(panels, "train/hard/loss"))

# %% [markdown]
# **Figure 2.10.** Training loss of the hard modality. Left: under SGD, $\alpha=4$ (red) lies under $\alpha=1$ with
# four times the encoder rate (dashed). Right: under Adam it lies under $\alpha=1$ (dotted) instead. A comparison of
# DGL at some $\alpha$ with a baseline that was not given the same encoder learning rate therefore shows nothing about
# disentangling; notebook 8 gives it.

# %% [markdown]
# ## 2.16 Watch it happen: an easy and a hard modality
#
# The data are generated: four Gaussian classes, seen through two modalities. The class centres lie twice as far apart
# in the *easy* modality as in the *hard* one. The model has two linear encoders and one head, and learns by full-batch
# SGD. $\alpha$ is 1, so that DGL has no advantage in learning rate.
#
# At every tenth step we measure four things: the share of samples with $\bar s\lt 1$; the ratio of the whole batch,
# $R=\sum(1-p_y^{Multi})/\sum(1-p_y^{Uni})$; the norms of what $L^{Multi}$ and $L^m$ would send to each encoder; and the
# test accuracy of each zero-masked branch and of the fused model.

# %%
methods = {"vanilla": {"alpha": 0.0, "encoder_gate": 1.0}, "DGL": {"alpha": 1.0}}
data = toy.toy_data(seed=seed)
models = {name: toy.toy_model(data, seed) for name in methods}
runs = {name: toy.train_toy(models[name], data, **options) for name, options in methods.items()}
columns = {"share": "s-bar < 1, share", "s_bar_median": "s-bar, median", "R_median": "R, median",
           "R_mean": "R, mean", "R_total": "R of the batch"}  # fmt: skip
rows = {(name, m): {text: curves[f"suppression/{m}/{column}"][-1] for column, text in columns.items()}
        for name, curves in runs.items() for m in toy.TWO}  # fmt: skip
publish("table_2_2", pandas.DataFrame(rows).T.map("{:.2g}".format).rename_axis(["after 300 steps", "modality"]))

# %%
publish("figure_2_11", toy_figures.training(runs))

# %% [markdown]
# **Figure 2.11.** Under vanilla training (top) $L^{Multi}$ leaves both encoders little gradient (thin lines) while
# their own loss would still send much (wide lines), and the hard branch stops improving. DGL (bottom) does not end
# suppression: its $R$ stays far below 1, too. It takes the encoders out of its reach. For the easy modality
# $\bar s\gt 1$ on a fifth of the samples; they dominate the *mean* of $R$ in the table above.

# %% [markdown]
# One task proves little, so here are ten, each a new draw of classes, samples and initial weights. All comparisons are
# paired: the branch inside a model against the same encoder with a head of its own, trained alone, and DGL against
# vanilla.

# %%
TRIALS = 10
scores = {name: [] for name in ("vanilla", "DGL", "easy", "hard")}
for trial in range(TRIALS):
    data = toy.toy_data(seed=trial)
    for name, options in methods.items():
        scores[name].append(toy.train_toy(toy.toy_model(data, trial), data, every=30, **options))
    for m in toy.TWO:  # the same encoder and a head of its own, trained alone
        only = data._replace(train={m: data.train[m]}, test={m: data.test[m]})
        scores[m].append(toy.train_toy(toy.toy_model(only, trial), only, every=300, **methods["vanilla"]))


def gain(first, second, branch):
    """Differences of the final test accuracy, one a trial, in points."""
    pairs = zip(scores[first], scores[second], strict=True)
    return [100 * (a[f"test/{branch}/accuracy"][-1] - c[f"test/{branch}/accuracy"][-1]) for a, c in pairs]


# %% [markdown]
# The lines below say what ten toy trainings show, each with its 95 % interval. The first five are about test accuracy
# in points, the next three about $R$ of the batch under vanilla training in powers of ten, the last about the share of
# samples with $\bar s\ge 1$ in points.

# %%
for m in toy.TWO:
    difference(f"2.16a toy: {m} alone beats its branch in vanilla", gain(m, "vanilla", m))
for branch in (*toy.TWO, "fused"):
    difference(f"2.16b toy: DGL beats vanilla, {branch}", gain("DGL", "vanilla", branch))
log_r = {m: [torch.tensor(c[f"suppression/{m}/R_total"]).log10() for c in scores["vanilla"]] for m in toy.TWO}
tens = {"unit": "powers of ten"}
difference("2.16c toy: easy suppresses hard more", [e[-1] - h[-1] for e, h in zip(*log_r.values(), strict=True)], **tens)
for m in toy.TWO:
    difference(f"2.16d toy: R of {m} falls from step 30 to 300", [r[1] - r[-1] for r in log_r[m]], **tens)
spared = [100 * (1 - c["suppression/easy/share"][-1]) for c in scores["vanilla"]]
difference("2.16e toy: some samples of easy are not suppressed", spared)

# %% [markdown]
# The paper explains the growing severity by $W_y^{m}z^{m}$ coming "increasingly close to 1". Nothing stops it there:
# $W$ and $z$ are not normalised, and cross-entropy always asks for more.

# %%
data, trained = toy.toy_data(seed=seed), models["vanilla"]
features = trained.encode(data.train)
parts = dict(zip(features, trained.fusion.head.weight.split(toy.WIDTH, dim=1), strict=True))
means = {m: (features[m] @ parts[m].T).gather(1, data.train_target[:, None]).mean().item() for m in features}
print("mean of W_y z after vanilla training:", {m: round(value, 2) for m, value in means.items()})
check("2.16f W_y z passes 1", max(means.values()) > 1)

# %% [markdown]
# ## 2.17 Three modalities
#
# Nothing in T1 to T8 or D1 to D6 counts modalities: $v$ collects all others. With a third, *medium* modality there
# are more to help each other, and every ratio falls further.

# %%
data = toy.toy_data(toy.THREE, seed=seed)
three = {name: toy.train_toy(toy.toy_model(data, seed), data, **options) for name, options in methods.items()}
for m in toy.TWO:
    final = [curves["vanilla"][f"suppression/{m}/R_total"][-1] for curves in (runs, three)]
    print(f"R of the batch, {m}: {final[0]:.2g} with two modalities, {final[1]:.2g} with three")
own_loss = three["DGL"]["train/medium/loss"]
print(f"DGL, training loss of the medium branch: {own_loss[10]:.2f} at step 100, {own_loss[-1]:.2f} at step 300")
publish("figure_2_12", toy_figures.training(three))

# %% [markdown]
# **Figure 2.12.** As Figure 2.11, with three modalities; every $R$ is smaller than with two. In this task the medium
# branch under DGL rises and falls back, and so does its own training loss (printed above), although its encoder
# descends on it at every step: its classifier block moves for another loss. That is D5 at work, not a rule, as ten
# tasks show:

# %%
pairs = {name: [] for name in methods}
for trial in range(TRIALS):
    data = toy.toy_data(toy.THREE, seed=trial)
    for name, options in methods.items():
        pairs[name].append(toy.train_toy(toy.toy_model(data, trial), data, every=300, **options))
for branch in (*toy.THREE, "fused"):
    ends = [[100 * curves[f"test/{branch}/accuracy"][-1] for curves in pairs[name]] for name in ("DGL", "vanilla")]
    gains = [a - c for a, c in zip(*ends, strict=True)]
    difference(f"2.17a toy with three: DGL beats vanilla, {branch}", gains)

# %% [markdown]
# ## 2.18 Try it: gates and alpha
#
# The two truncations are gates between 0 and 1. The encoder gate is the share of the multimodal gradient that encoders
# get, the fusion gate the share of the unimodal gradient that the fusion module gets. The corners of this square are
# the rows of the paper's Table 3: *+MT* truncates the multimodal gradient alone (encoder gate 0, fusion gate 1), *+UT*
# the unimodal one alone. The sliders below train the toy model anywhere in between.

# %%
corners = {"vanilla": (0.0, 1.0, 0.0), "+MT": (1.0, 0.0, 1.0), "+UT": (1.0, 1.0, 0.0), "DGL": (1.0, 0.0, 0.0)}
publish("figure_2_13", toy_figures.gates(corners))

# %% [markdown]
# **Figure 2.13.** The four corners on the task of 2.16, with test accuracy above and training loss below. On this task
# all three variants with unimodal losses rescue the hard branch; the truncations themselves make little difference.
# What they are worth is for notebook 5 to measure.

# %% tags=["nbval-skip"]
widgets.gate_explorer()

# %% [markdown]
# ## 2.19 For more than two classes: the condition
#
# T5 settles $K=2$. For $K\gt 2$ three numbers decide, all about the wrong classes. With $q$ and $\bar s$ from 2.3:
#
# $$c=\sum_{k\neq y}q_k W_k-W_y,\qquad \kappa=\sum_{k\neq y}q_k\,(s_k-\bar s)\,W_k,\qquad Z=p+(1-p)\,\bar s.$$
#
# $c$ is the lever: the mean wrong row, seen from $W_y$. $\kappa$ is the covariance of scores and rows: it is zero if
# modality 2 treats all wrong classes alike.
#
# **T9.** $\Vert g^{Multi}\Vert\lt\Vert g^{Uni}\Vert$ holds **if and only if** $\Vert\bar s\,c+\kappa\Vert\lt Z\,\Vert
# c\Vert$. *Proof.* By T1, $g^{Uni}=(1-p)\,c$. Fusion multiplies $p_k$ by $s_k/Z$, so
# $g^{Multi}=\frac{1-p}{Z}\sum_{k\neq y}q_k s_k(W_k-W_y)=\frac{1-p}{Z}(\bar s\,c+\kappa)$. Compare the norms.
#
# A simpler condition is *sufficient*, by the triangle inequality and Cauchy-Schwarz, with standard deviations under
# $q$: $\mathrm{sd}_q(s)\ \mathrm{sd}_q(W)\lt p\,(1-\bar s)\,\Vert c\Vert$.

# %%
draws = torch.Generator().manual_seed(seed)
u, v = (torch.randn(20_000, 6, dtype=torch.float64, generator=draws) for _ in range(2))
rows = torch.randn(6, 8, dtype=torch.float64, generator=draws)
y = torch.randint(6, (20_000,), generator=draws)
v = v.scatter_add(1, y[:, None], torch.full((20_000, 1), 2.0, dtype=torch.float64))  # modality 2 often helps
alone, fused = (g.norm(dim=1) for g in gradients(u, v, rows, y))
terms = condition.condition_terms(u, v, rows, y)
left = (terms.s_bar[:, None] * terms.lever + terms.covariance).norm(dim=1)
right = (terms.confidence + (1 - terms.confidence) * terms.s_bar) * terms.lever.norm(dim=1)
check("2.19a T9: shrinks if and only if the condition holds", torch.equal(left < right, fused < alone),
      f"{int((fused < alone).sum())} of 20000 draws shrink")  # fmt: skip
simple = terms.simply_shrinks
check("2.19b the simple condition is sufficient", (fused < alone)[simple].all(), f"{int(simple.sum())} draws")
check("2.19c and not necessary", ((fused < alone) & ~simple).any(), f"{int(((fused < alone) & ~simple).sum())} draws")

# %% [markdown]
# **T10.** Given a belief and the rows, Eq. 5 is enough, whatever the scores, **if and only if** $c\neq 0$ and for
# every set $A$ of wrong classes $\Vert\sum_{k\in A}p_k(W_k-W_y)\Vert\le(p+\sum_{k\in A}p_k)\,\Vert g^{Uni}\Vert$.
# *Proof.* Under Eq. 5 the fused belief fills a polytope; the squared norm is convex, so it is largest at a corner; the
# corners are the partners that keep the classes in $A$ and exclude all others.
#
# The worst corner *generates* a counterexample wherever there is one. **Corollary**: with $K\gt 2$ every classifier
# has one, unless all its wrong rows are equal. The modality hesitates between two classes and the partner excludes
# the one with the shorter difference; then $\frac12(a+b)$ becomes $b$, which is longer.

# %%
found = {}
for confident in (0.0, 1.0, 2.0, 3.0):  # added to the logit of the target
    beliefs = u[:400].scatter_add(1, y[:400, None], torch.full((400, 1), confident, dtype=torch.float64))
    scores = [condition.growing_scores(belief, rows, int(k)) for belief, k in zip(beliefs, y, strict=False)]
    found[confident] = sum(s is not None for s in scores) / 4  # % of 400
print({f"target + {c:g}": f"{share:.0f} %" for c, share in found.items()}, "of beliefs have a counterexample")
check("2.19d confidence protects", found[0.0] > found[1.0] > found[2.0] > found[3.0])
broken = [condition.breaking_case(torch.randn(K, 5, dtype=torch.float64, generator=draws), 0) for K in range(3, 9)]
grew = all(c.g_multi.norm() > c.g_uni.norm() and (c.s[1:] < 1).all() for c in broken)
check("2.19e six random classifiers, six counterexamples", grew, "K = 3 to 8, Eq. 5 holds in each")

# %% [markdown]
# How often does the condition fail while a model trains? Records hold no gradients of single samples, so two short
# trainings answer: the task of 2.16, and generated features of three modalities with perceptrons as encoders
# (`triplet`, notebook 6), both vanilla with a linear head.


# %%
def watched(model, data):
    shares = condition.condition_of(model, data.train, data.train_target)
    return {f"{m}/{name}": 100 * value for m, found in shares.items() for name, value in found.items()}


vectors = dgl_core.data.load("triplet", samples=600)
sample = {m: x.double() for m, x in vectors.inputs.items()}
with torch.random.fork_rng():
    torch.manual_seed(seed)
    layers = lambda: (torch.nn.Linear(24, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16))  # noqa: E731
    readers = {m: torch.nn.Sequential(*layers()) for m in sample}
    hidden = LateFusion(readers, ConcatFusion({m: 16 for m in readers}, 4)).double()
tasks = {"2.16": (toy.toy_model(toy.toy_data(seed=seed), seed), toy.toy_data(seed=seed)),
         "triplet": (hidden, toy.Toy(sample, vectors.target, sample, vectors.target))}  # fmt: skip

# %%
texts = {"eq5": "Eq. 5 holds", "shrinks": "norm shrinks", "simple": "simple condition holds",
         "grows_suppressed": "norm grows, of those with s-bar < 1"}  # fmt: skip
table = {}
for task, (trained, data) in tasks.items():
    curves = toy.train_toy(trained, data, lr=0.05, steps=200, every=100, measured=watched, **methods["vanilla"])
    for m in data.train:
        for place, step in enumerate(curves["step"]):
            table[task, m, int(step)] = {text: f"{curves[f'{m}/{name}'][place]:.0f} %" for name, text in texts.items()}
publish("table_2_3", pandas.DataFrame(table).T.rename_axis(["task", "modality", "step"]))

# %% [markdown]
# **Table 2.3.** Shares of the samples. Before training the norm grows on many suppressed samples, as in C2; after a
# hundred steps on few. By then the simple condition holds for most samples that shrink: the modality is confident and
# the partner's scores are small together. Where Eq. 8 fails in these trained models, it fails because
# $\bar s\ge 1$: the *partner* is wrong, not the geometry.

# %% [markdown]
# ## 2.20 What the fused model of DGL can reach at most
#
# Let $Z_m=P(y\mid x_m)$: what a unimodal loss asks encoder $m$ to keep, and all that it asks for. *Evidence* about the
# label is $H(y)$, the entropy of the label, minus the cross-entropy of a prediction; the most that $Z$ allows is their
# mutual information $I(y;Z)$. **D7.** Let the encoders keep $Z$ and nothing else.
#
# * (a) *Any head* reaches at most $I(y;Z)$. Beside the best joint model DGL loses exactly $I(y;x\mid Z)$, the
#   *synergy*: what the modalities tell only together.
# * (b) *An additive head, whatever the method*: the labels enter the gradient of encoder $m$ through $P(y\mid x_m)$
#   alone. Two tasks with the same inputs and unimodal posteriors train alike, weight for weight.
# * (c) *An additive head loses nothing* by keeping $Z$ only, if the other posteriors depend on $x_m$ through $Z_m$.
#
# *Proof.* (a) No prediction from $Z$ has a loss below $H(y\mid Z)$, and $I(y;x)=I(y;Z)+I(y;x\mid Z)$. (b) Logits
# $\sum_m a_m(x_m)$ do not contain the label; summed over the samples with one $x_m$, $\mathrm{softmax}(l)-e_y$
# becomes $E[\mathrm{softmax}(l)\mid x_m]-P(\cdot\mid x_m)$. (c) That difference is zero exactly at the best additive
# model, and under the condition the best additive model on $Z$ makes it zero. The docstring of `theory.reach` has
# every step.

# %%
three_ways = methods | {"G-Blending": {"alpha": 1.0, "encoder_gate": 1.0, "fusion_gate": 1.0}}


def trained_on(task, options, hidden=False, steps=600):
    """A model after full-batch training on a listed task, with a linear head or one with a hidden layer; its data."""
    data = reach.enumerated(task, 1080)
    fresh = toy.toy_model(data, seed, classes=3)
    if hidden:
        head = FUSIONS["mlp"]({m: toy.WIDTH for m in data.train}, 3, 32, 0.0)
        fresh = LateFusion(fresh.encoders, head).double()
    toy.train_toy(fresh, data, lr=0.05, steps=steps, every=0, **options)
    return fresh, data


# %%
half = reach.combined(0.5, classes=3, noise=0.3)  # half of the labels are u or v, the others u + v mod 3
coins = half.sum(-1, keepdim=True) * reach.best_additive(half)  # same inputs and posteriors, no synergy
for name, options in three_ways.items():
    ends = [torch.cat([p.detach().flatten() for p in trained_on(task, options, steps=100)[0].parameters()])
            for task in (half, coins)]  # fmt: skip
    same = (ends[0] - ends[1]).abs().max()
    check(f"2.20a linear head, {name}: synergy changes no weight", same < 1e-9, "100 steps, max change < 1e-9")

# %%
columns = {}
for synergy in (0.0, 0.5, 1.0):
    task = reach.combined(synergy, classes=3, noise=0.3)
    column = reach.evidence_of(task)  # bits
    exact = abs(column["lost"] - synergy * column["any head, any encoders"]) < 1e-9
    check(f"2.20b {synergy:.0%} synergy: any head on Z loses just that share of the evidence", exact)
    for name, hidden in (("vanilla", False), ("vanilla", True), ("G-Blending", True), ("DGL", True)):
        trained, data = trained_on(task, three_ways[name], hidden)
        bits = math.log2(3) - F.cross_entropy(trained(data.train), data.train_target).item() / math.log(2)
        column[f"trained: {name}, {'hidden layer' if hidden else 'linear head'}"] = bits
    below = column["trained: vanilla, linear head"] < column["additive head, any encoders"] + 1e-6
    check(f"2.20c {synergy:.0%} synergy: a linear head stays below its bound", below)
    columns[f"{synergy:.0%} synergy"] = {name: f"{max(bits, 0.0):.2f}" for name, bits in column.items()}
publish("table_2_4", pandas.DataFrame(columns).rename_axis("evidence, bits"))

# %% [markdown]
# **Table 2.4.** Evidence about the label in bits: above, by enumeration, what each kind of model reaches at most;
# below, what was reached after 600 steps. With a linear head synergy is out of reach for everybody. With a hidden
# layer joint training takes all of it. The encoders of DGL are never asked for it. What they pass on beyond $Z$ is
# left over from their random initial weights, and other seeds leave more: luck, not learning.
#
# The condition of (c) is sufficient, not necessary, and something like it is needed. Where modality 1 shows only a
# disturbance that modality 2 contains, it says nothing by itself, and an encoder trained alone may drop it. An
# additive head on joint encoders subtracts it.

# %%
for name, task in (("combined", half), ("shared disturbance", reach.shared_disturbance())):
    row = reach.evidence_of(task)
    kept = row["additive head on Z"] / row["additive head, any encoders"]
    print(f"{name}: condition of (c) {'holds' if reach.screened(task) else 'fails'}, Z keeps {100 * kept:.0f} % of the "
          "evidence of the best additive model")  # fmt: skip
disturbed = reach.evidence_of(reach.shared_disturbance())
lost = disturbed["additive head, any encoders"] - disturbed["additive head on Z"]
check("2.20d without the condition an additive head can lose too", lost > 0.4, f"{lost:.2f} bits")

# %% [markdown]
# ## 2.21 Verdict on every claim
#
# A sentence is *proved* if it is true as stated, for all inputs. It is *conditional* if it is true under the condition
# given. It is *false* if a counterexample is in the cell named. It is *open* if it does not follow from the argument
# and must be measured. Each row names the check above that settles it; if one had failed, this notebook would have
# stopped there. The signs: + proved, ~ conditional, − false, ? open.

# %%
pandas.set_option("display.max_colwidth", None)
publish("table_2_5", sentences.sentences_table())

# %% [markdown]
# **What this does not show.** All theorems but D7 are about one step, at a shared point, for cross-entropy with a
# linear classifier on concatenated features. D7 bounds encoders that keep nothing but the unimodal posteriors; it does
# not say what a trained one keeps. Other heads, dense fusion and batch-norm are outside (notebooks 6 and 7). T2 to
# T8 compare a fused model with *its own* zero-masked branch, not with a model that was trained alone. The toy task is
# ten draws of one generator. Whether suppression explains the accuracies of Fig. 1 and 3 is a question for real
# training: notebook 3.
#
# **Exercises.** Each has a cell that starts it and a folded solution.
#
# 1. Find a sample with $R\lt 0.5$ whose gradient keeps its length. Which condition of T8 fails? Which term of T9 is
#    large?
# 2. Prove that $\bar s$ is the ratio of the odds (2.3b), and T2 from it in one line.
# 3. For which samples are *both* modalities amplified? Start with $K=2$ and no bias.
# 4. In 2.16 set $\alpha$ to 0 in DGL. What still learns, and why?
# 5. Which arrows of Figure 2.8 do "+MT" and "+UT" have, the variants with one truncation of 2.18?

# %%
# Exercise 1, a start: one sample between two opposite rows. Change s until R is below 0.5 and both norms are equal.
case = examples.Case.of([0.5, 0.3, 0.2], [1.0, 0.5, 0.5], examples.OPPOSITE_ROWS)
print(f"R = {case.ratio:.2f}, norm alone {case.g_uni.norm():.3f}, fused {case.g_multi.norm():.3f}")

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 1: modality 2 excludes the class that pulled the other way, so the class that is left pulls undisturbed. T8
# fails at its condition on the rows, whose differences are opposite. In T9 the covariance is the large term.
case = examples.Case.of([0.5, 0.3, 0.2], [1.0, 5 / 27, 1e-12], examples.OPPOSITE_ROWS)
kept = (case.g_multi.norm() - case.g_uni.norm()).abs() < 1e-9
check("exercise 1: R is below 0.5, the gradient keeps its length", case.ratio < 0.5 and kept, f"R = {case.ratio:.2f}")
check("exercise 1: the differences of the rows are not acute", not feature.acute_differences(case.weight, 0))
terms = condition.condition_terms(case.logits[None], case.other_logits[None], case.weight, case.y[None])
large = terms.covariance.norm() > 2 * (terms.s_bar * terms.lever).norm()
check("exercise 1: the covariance outweighs s-bar times the lever", large)

# %%
# Exercise 2, a start: odds of the truth (class 0) before and after fusion, written out. Divide them: what cancels?
alone, added = (torch.randn(1000, 5, generator=draws, dtype=torch.float64) for _ in range(2))  # u and v
odds = [logits[:, 0].exp() / logits[:, 1:].exp().sum(1) for logits in (alone, alone + added)]
print(f"the first sample: odds {odds[0][0]:.2f} before, {odds[1][0]:.2f} after")

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 2: exp(u_y) cancels. What is left is the sum of exp(u_k) s_k over the wrong classes, divided by the sum of
# exp(u_k): a mean of the s_k with the weights q_k. And p_y grows exactly when its odds grow, which is T2.
q, s = alone[:, 1:].softmax(1), (added[:, 1:] - added[:, :1]).exp()
s_bar = (q * s).sum(1)
check("exercise 2: odds before / odds after = s-bar", (s_bar * odds[1] / odds[0] - 1).abs().max() < 1e-9)
p_alone, p_fused = (logits.softmax(1)[:, 0] for logits in (alone, alone + added))
check("exercise 2: p_y grows exactly when s-bar < 1", torch.equal(p_fused > p_alone, s_bar < 1))

# %%
# Exercise 3, a start: one sample, two classes, no bias. Which margins make R of both modalities larger than 1?
margins = {"m1": 1.0, "m2": -0.5}  # of the true class over the other one
logits = {m: torch.tensor([[margin, 0.0]]) for m, margin in margins.items()}  # [1, K = 2]
for m in logits:
    ratio, _ = suppression.suppression_ratio(logits["m1"] + logits["m2"], logits[m], torch.tensor([0]))
    print(f"{m}: R = {ratio.item():.2f}")

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 3: R of a modality exceeds 1 where the other one votes for the wrong class. So both are amplified where each
# of them is wrong on its own.
margin = torch.randn(1000, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)  # [B, modality]
u, v = (torch.stack([of_one, torch.zeros_like(of_one)], dim=1) for of_one in margin.T)  # [B, K = 2] each
amplified = [suppression.suppression_ratio(u + v, own, torch.zeros(1000).long())[0] > 1 for own in (u, v)]
same = torch.equal(amplified[0] & amplified[1], (margin < 0).all(dim=1))
check("exercise 3: both are amplified exactly where both margins are negative", same)

# %%
# Exercise 4, a start: the task of 2.16 by DGL with a weight of 0. Why does the fused model learn all the same?
data = toy.toy_data(seed=seed)
frozen = toy.toy_model(data, seed)
ends = toy.train_toy(frozen, data, alpha=0.0, every=300)
print({branch: f"{100 * ends[f'test/{branch}/accuracy'][-1]:.0f} %" for branch in (*toy.TWO, "fused")})

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 4: no loss reaches the encoders, so they stay as they were drawn. The head learns to read their random
# features, and so do the branches, which share it. What L^m would send to an encoder moves with the head alone.
start, trained = toy.toy_model(data, seed), toy.toy_model(data, seed)
ends = toy.train_toy(trained, data, alpha=0.0, every=300)
same = all(map(torch.equal, trained.encoders.parameters(), start.encoders.parameters()))
check("exercise 4: alpha 0 leaves the encoders as they were", same)
check("exercise 4: the head learns on random features", ends["test/fused/accuracy"][-1] > 0.5, "chance is 1 in 4")

# %%
# Exercise 5, a start: who trains what under DGL, as pairs (loss, part). Which gates give "+MT", and which "+UT"?
data = toy.toy_data(seed=seed)
fresh = toy.toy_model(data, seed)
gates = {"DGL": (0.0, 0.0)}  # encoder gate, fusion gate
for name, both in gates.items():
    found = graph.gradient_edges(DisentangledObjective(fresh, 1.0, *both), data.train, data.train_target)
    print(name, sorted((edge.loss, edge.part) for edge in found if edge.arrives))

# %% jupyter={"source_hidden": true} tags=["solution"]
# Solution 5: "+MT" cuts the multimodal loss off the encoders alone, "+UT" the unimodal losses off the fusion module.
arrows = {}
for name, both in {"DGL": (0.0, 0.0), "+MT": (0.0, 1.0), "+UT": (1.0, 0.0)}.items():
    found = graph.gradient_edges(DisentangledObjective(fresh, 1.0, *both), data.train, data.train_target)
    arrows[name] = {(edge.loss, edge.part) for edge in found if edge.arrives}
names = list(fresh.encoders)
check("exercise 5: +MT adds the unimodal losses at the fusion",
      arrows["+MT"] - arrows["DGL"] == {(m, "fusion") for m in names})  # fmt: skip
check("exercise 5: +UT adds the multimodal loss at the encoders",
      arrows["+UT"] - arrows["DGL"] == {("fused", m) for m in names})  # fmt: skip
