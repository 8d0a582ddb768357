"""State the paper's section 3.1 exactly, in float64: each function names its theorem (T1-T10, D1-D7).

``residual``: scalars at the logits (T2, T3, T4). ``feature``: vectors at a feature (T1, T5-T8). ``condition``: when a
norm shrinks for more than two classes (T9, T10). ``cases``: single samples and counterexamples (C1-C3). ``field``: the
DGL update as a vector field (D1-D6). ``reach``: what the fused model can reach at most (D7). ``toy``: a task to watch.
"""
