"""State the paper's section 3.1 exactly, in float64: each function names its theorem (T1-T8, D1-D6).

``residual``: scalars at the logits (T2, T3, T4). ``feature``: vectors at a feature (T1, T5-T8). ``cases``: single
samples and counterexamples (C1-C3). ``field``: the DGL update as a vector field (D1-D6). ``toy``: a task to watch.
"""
