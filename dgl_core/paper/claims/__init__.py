"""Judge what the paper claims: the ledger, how each claim is tested, and what the records say.

A verdict is the 95 % interval of the mean paired difference, corrected for the number of claims and columns judged
together (Bonferroni): above the threshold the claim is reproduced, below it is contradicted, across it is undecided. A
family of claims (Table 2 by itself) is corrected for its own number. A computation settles claims about equations.
"""
