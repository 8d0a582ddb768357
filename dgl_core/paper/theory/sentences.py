"""List the verdict on every sentence of sections 3.1 and 3.2 that mathematics can settle, with the check behind it.

Claims that only training can decide are in ``dgl_core.paper.claims``.
"""

from __future__ import annotations

from typing import NamedTuple

import pandas


class Sentence(NamedTuple):
    """One sentence of the paper, or one equation.

    Attributes:
        where: equation, figure or section.
        says: what the paper says.
        verdict: proved | conditional | false | open.
        holds: what is true, or the condition, or the counterexample.
        settled: check numbers in notebook 02.
    """

    where: str
    says: str
    verdict: str
    holds: str
    settled: str


SENTENCES = (
    Sentence("Eq. 1, 2", "the loss of a late-fusion model", "proved", "definition; the model trained here", "2.1a"),
    Sentence("Eq. 3", "this is the gradient of θ₁", "conditional",
          "it is the gradient at the feature z; θ₁ needs one more factor", "2.1b, 2.1c"),
    Sentence("Eq. 4, 7", "g = (p_y − 1) W_y", "false",
          "the scalar p_y − 1 is right; the vector lacks Σ_{k≠y} p_k W_k (T1)", "2.2a, 2.2b, 2.2c"),
    Sentence("Eq. 5", "s_k < 1 for every k ≠ y", "conditional",
          "exactly when modality 2 alone ranks the target strictly first; untrained: one sample in K", "2.3f, 2.3g"),
    Sentence("Eq. 6", "s_y = 1", "proved", "by definition", "2.3c"),
    Sentence("Eq. 8, scalars", "|p_y^Uni − 1| > |p_y^Multi − 1|", "conditional",
          "exactly when s̄ < 1 (T2); Eq. 5 is sufficient, not necessary", "2.3a, 2.3d, 2.3e"),
    Sentence("Eq. 8, at the logits", "the norm shrinks", "conditional",
          "1-norm and max-norm: exactly when s̄ < 1; 2-norm: up to a factor of at most √2 (T4)", "2.5a, 2.5b, 2.5c"),
    Sentence("Eq. 8, at the feature", "the norm shrinks", "false",
          "C1, C2; true for K = 2 (T5), equal margins (T6), R < δ/D (T7), acute rows and even suppression (T8)",
          "2.5d, 2.5e, 2.5g, 2.5h, 2.6a, 2.6c"),
    Sentence("Eq. 8, over a batch", "the norm shrinks", "false", "C3: every sample shrinks, the sum grows", "2.6d"),
    Sentence("Eq. 8", "abs(g^Multi) > 0", "false", "the scalar is never 0; the vector can be", "2.6e"),
    Sentence("3.1", "the unimodal encoder will converge faster", "false",
          "does not follow from gradient size at a shared point; counterexample with a large step", "2.9a"),
    Sentence("3.1", "an easy modality suppresses more, its W_y z being larger", "conditional",
          "true of margins v_y − v_k, not of scores (T3)", "2.4d, 2.4e, 2.16c"),
    Sentence("3.1", "suppression becomes increasingly severe", "conditional",
          "R falls as p rises while s̄ < 1, towards s̄ and not 0; seen in the toy training", "2.4a, 2.4b, 2.4c, 2.16d"),
    Sentence("3.1", "because W_y z comes increasingly close to 1", "false",
             "scores have no bound; in the toy training they pass 1", "2.16f"),
    Sentence("Fig. 3a", "the factor is always less than 1", "conditional",
          "of the batch, in the toy training; not of every sample", "2.16d, 2.16e"),
    Sentence("3.1", "b₁ in Eq. 4 and 7", "conditional",
          "without a class index it cancels; with one, R depends on who is given the bias", "2.7a, 2.7b, 2.7c"),
    Sentence("3.1", "s = 1 only for z^m2 = 0", "false",
          "a space of dimension at least d − (K − 1) has s = 1", "2.8a"),
    Sentence("3.1", "without suppression, modality 2 is neglected", "proved",
          "s ≡ 1 exactly when fusion changes no probability", "2.8b, 2.8c"),
    Sentence("Eq. 9, 10", "L^d does not reach the encoders", "proved",
          "D3; no path in the graph", "2.12a, 2.12b, 2.13c"),
    Sentence("Eq. 11–14", "the encoder gets exactly the vanilla g^Uni", "conditional",
          "D1: the corrected Eq. 7 times α, at these weights; W is not trained as in a unimodal model", "2.13a"),
    Sentence("Algorithm 1", "two backward passes, fusion cleared", "proved", "equals one backward pass here", "2.11a"),
    Sentence("3.2", "inter-modality competition is addressed", "conditional",
          "D2: exactly, before clipping; joint clipping couples again", "2.13b, 2.13e"),
    Sentence("3.2", "no extra structure complexity", "proved", "no parameter is added", "2.12d"),
    Sentence("Eq. 15", "concatenation instead of a sum", "proved",
          "D5: the update is the gradient of no function; a step may raise L^Multi", "2.14b, 2.14c"),
    Sentence("3.2", "α calibrates the encoders", "conditional",
          "D4: under SGD it is their learning rate; under Adam it is inert", "2.15a, 2.15b"),
    Sentence("Fig. 2", "which loss trains which part", "proved",
          "drawn from the autograd graph", "2.12a, 2.12b, 2.12c"),
    Sentence("3.1", "each modality ends worse than alone", "open",
          "not a consequence of Eq. 8; judged on the toy here and on data in notebook 3", "2.16a"),
)  # fmt: skip


def sentences_table() -> pandas.DataFrame:
    """Show ``SENTENCES``, one row a sentence."""
    columns = ["where", "the paper says", "verdict", "what holds", "settled by"]
    return pandas.DataFrame([tuple(sentence) for sentence in SENTENCES], columns=columns).set_index("where")
