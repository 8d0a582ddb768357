"""Compute what the fused model of DGL can reach at most (D7), by enumeration on tasks of a few discrete values.

A task is the table ``P(x_1, ..., x_M, y)``. ``Z_m = P(y | x_m)``, the unimodal posterior, is what a unimodal loss asks
encoder m to keep and all that it asks for: it is sufficient for the label given x_m alone, and a function of every
other sufficient feature. Evidence is what a predictor knows about the label, ``H(Y)`` minus its cross-entropy, in bits.

**D7.** Let the encoders keep ``Z_1, ..., Z_M`` and nothing else.

(a) *Any head.* The fused model reaches at most ``I(Y; Z)``, and some head reaches it. Beside the best joint model it
loses exactly ``I(Y; X) - I(Y; Z) = I(Y; X | Z)``: what the modalities tell only together, the synergy.

(b) *An additive head, whatever the method.* With logits ``sum_m a_m(x_m)`` the gradient of the multimodal loss in
encoder m and in its classifier block depends on the labels through ``P(y | x_m)`` alone. So two tasks with the same
inputs and the same unimodal posteriors train alike, weight for weight, under joint training, G-Blending and DGL: none
of them can use synergy.

(c) *An additive head, nothing lost.* If the posteriors of the other modalities depend on ``x_m`` through ``Z_m`` alone
(``screened``: modalities that are independent, or independent given the label, satisfy it), the best additive model on
``Z`` is as good as the best additive model on the inputs. Without that, something may be lost even with an additive
head: a modality that says nothing by itself, but explains away a disturbance of another (``shared_disturbance``).

*Proof.* (a) The loss of any head on Z is at least ``H(Y | Z)``, with equality for the posterior given Z. Z is a
function of X, so ``I(Y; X) = I(Y; Z) + I(Y; X | Z)``.
(b) The gradient at the logits of a sample is ``softmax(l) - e_y``, and ``l`` does not contain the label. Encoder m and
its block see it summed over all samples with the same ``x_m``, which leaves ``E[softmax(l) | x_m] - P(. | x_m)``. The
unimodal losses depend on the pairs (x_m, y) only. By induction over the steps all weights agree.
(c) The loss is convex in ``a``, so by (b) ``a`` is best exactly if ``E[softmax(l) | x_m] = P(. | x_m)`` for every m and
x_m. Take the best additive ``b_m(z_m)`` on Z: it satisfies ``E[softmax(l) | z_m] = z_m``. Its ``l`` depends on x_m and
on the other posteriors, whose law given x_m is their law given z_m. So ``E[softmax(l) | x_m] = E[softmax(l) | z_m] =
z_m = P(. | x_m)``: it is best among all additive models. QED.

D7 speaks of encoders that keep nothing else. Real ones also keep what their initial weights happened to pass on, and
"at most" then holds for the posterior given the features that they really have.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgl_core.paper.theory.toy import Toy

SAME = 1e-9  # posteriors closer than this count as equal


def combined(synergy: float, classes: int = 4, noise: float = 0.1) -> Tensor:
    """Make a task of two modalities where a share ``synergy`` of the samples is labelled by the combination alone.

    Modality m shows a number (u or v, uniform on 0 ... K - 1) and of what kind the sample is: the label is u, is v, or
    is ``u + v mod K``. With probability ``noise`` it is drawn anew. Returns ``P`` [3K, 3K, K].
    """
    table = torch.zeros(3, classes, 3, classes, classes, dtype=torch.float64)  # kind, u, kind, v, y
    for u in range(classes):
        for v in range(classes):
            for kind, label, share in ((0, u, (1 - synergy) / 2), (1, v, (1 - synergy) / 2), (2, u + v, synergy)):
                table[kind, u, kind, v] += share * noise / classes
                table[kind, u, kind, v, label % classes] += share * (1 - noise)
    return (table / table.sum()).reshape(3 * classes, 3 * classes, classes)


def shared_disturbance(noise: float = 0.1) -> Tensor:
    """Make a task where modality 1 is a disturbance n in {0, 1, 2} and modality 2 is y + n: ``P`` [3, 4, 2].

    Alone, modality 1 knows nothing. The difference of the two inputs is the label, which an additive head can read.
    """
    table = torch.zeros(3, 4, 2, dtype=torch.float64)
    for n in range(3):
        for y in range(2):
            table[n, y + n, y] += 1 - noise
            table[n, y + n] += noise / 2
    return table / table.sum()


def unimodal_posterior(task: Tensor, modality: int) -> Tensor:
    """Compute ``Z_m = P(y | x_m)``, [n_m, K], of the modality in this place (0 for values that never occur)."""
    others = [d for d in range(task.dim() - 1) if d != modality]
    margin = task.sum(others)
    return margin / margin.sum(1, keepdim=True).clamp_min(1e-300)


def on_posteriors(task: Tensor) -> Tensor:
    """Replace each input by its unimodal posterior: merge the values of a modality whose posteriors are equal."""
    for modality, place in enumerate([_groups(task, m) for m in range(task.dim() - 1)]):
        task = _merge(task, modality, place)
    return task


def _groups(task: Tensor, modality: int) -> Tensor:
    """Number the values of a modality so that those with the same posterior share a number, [n_m]."""
    posterior = unimodal_posterior(task, modality)
    apart = (posterior[:, None] - posterior).abs().amax(2)  # [n_m, n_m]
    return (apart < SAME).double().argmax(1).unique(return_inverse=True)[1]


def _merge(table: Tensor, dimension: int, place: Tensor) -> Tensor:
    """Add up the slices of a dimension that have the same number in ``place``."""
    shape = list(table.shape)
    shape[dimension] = int(place.max()) + 1
    return table.new_zeros(shape).index_add_(dimension, place, table)


def evidence(task: Tensor, prediction: Tensor | None = None) -> float:
    """Measure what a predictor knows about the label, in bits: ``H(Y)`` minus its cross-entropy.

    ``prediction`` [n_1, ..., n_M, K] are its probabilities; the best there are, ``P(y | x)``, by default.
    """
    if prediction is None:
        prediction = task / task.sum(-1, keepdim=True).clamp_min(1e-300)
    prior = task.sum(list(range(task.dim() - 1)))
    return (torch.xlogy(task, prediction) - torch.xlogy(task, prior)).sum().item() / math.log(2)


def best_additive(task: Tensor, tolerance: float = 1e-11, most: int = 20_000) -> Tensor:
    """Compute the probabilities of the best additive model, ``softmax(sum_m a_m(x_m))``, shaped like ``task``.

    Iterative proportional fitting: scale ``Q(x, y)`` until its margins ``(x)`` and ``(x_m, y)`` are those of the task,
    which is the condition of the proof of (c). Starts from ``P(x)`` with uniform labels, so it never leaves the
    additive models.

    Raises:
        RuntimeError: if the margins are not met within ``most`` rounds (the best weights are then infinite).
    """
    inputs = task.sum(-1, keepdim=True)
    fitted = (inputs / task.shape[-1]).expand_as(task)
    modalities = range(task.dim() - 1)
    for _ in range(most):
        worst = 0.0
        for m in modalities:
            others = [d for d in modalities if d != m]
            wanted, found = (x.sum(others, keepdim=True) for x in (task, fitted))
            worst = max(worst, (wanted - found).abs().max().item())
            fitted = fitted * (wanted / found.clamp_min(1e-300))
            fitted = fitted * (inputs / fitted.sum(-1, keepdim=True).clamp_min(1e-300))
        if worst < tolerance:
            return fitted / inputs.clamp_min(1e-300)
    raise RuntimeError(f"The best additive model was not reached in {most} rounds; give the labels some noise.")


def screened(task: Tensor, tolerance: float = 1e-9) -> bool:
    """Test the condition of (c): given ``Z_m``, the posteriors of the other modalities do not depend on ``x_m``."""
    groups = [_groups(task, m) for m in range(task.dim() - 1)]
    for m, own in enumerate(groups):
        law = task.sum(-1)  # P(x)
        for other, place in enumerate(groups):
            law = law if other == m else _merge(law, other, place)
        law = law.movedim(m, 0).flatten(1)  # [n_m, posteriors of the others]
        law = law / law.sum(1, keepdim=True).clamp_min(1e-300)
        apart = (law[:, None] - law).abs().amax(2)
        if apart[own[:, None] == own].max() > tolerance:
            return False
    return True


def evidence_of(task: Tensor) -> dict[str, float]:
    """Compute the evidence in bits that each kind of model reaches at most: the columns of D7's table."""
    kept = on_posteriors(task)
    alone = [task.sum([d for d in range(task.dim() - 1) if d != m]) for m in range(task.dim() - 1)]
    best = {
        "best modality alone": max(evidence(margin) for margin in alone),
        "additive head, any encoders": evidence(task, best_additive(task)),
        "additive head on Z": evidence(kept, best_additive(kept)),
        "any head on Z": evidence(kept),
        "any head, any encoders": evidence(task),
    }
    return best | {"lost": best["any head, any encoders"] - best["any head on Z"]}


def enumerated(task: Tensor, samples: int) -> Toy:
    """List the samples of a task as one-hot inputs, each as often as its probability says; two modalities.

    Training and test part are the same, the whole population.

    Raises:
        ValueError: if ``samples`` times a probability is not a whole number.
    """
    counts = task * samples
    if (counts - counts.round()).abs().max() > 1e-6:
        raise ValueError(f"{samples} samples cannot show these probabilities; give a multiple of their denominators.")
    first, second, label = task.nonzero().repeat_interleave(counts[task > 0].round().long(), dim=0).T
    sizes = dict(zip(("m1", "m2"), task.shape[:2], strict=True))
    rows = {m: torch.eye(n, dtype=torch.float64)[x] for (m, n), x in zip(sizes.items(), (first, second), strict=True)}
    return Toy(rows, label, rows, label)
