"""MMTM, the network of Table 2 whose modalities exchange gates at three depths."""
