"""Judge what the paper claims: the ledger, how each claim is tested, and what the records say.

Every claim names its place in the paper, the quantity that decides it (one paired difference per seed) and the
threshold, all written before looking at the outcome. A verdict is the 95 % interval of the mean difference, corrected
for the number of claims and columns judged together (Bonferroni): above the threshold the claim is reproduced, below
it is contradicted, across it is undecided. A family of claims (Table 2 by itself) is corrected for its own number, so
it widens no other interval. Claims about equations are settled by a computation.

``python -m dgl_core claims`` prints the ledger, ``... ID`` the records behind one verdict, ``... ID --rerun`` earns it
anew on this machine, ``... --mine FOLDER`` judges your own records. README, notebook 00 and the report show the table.
"""
