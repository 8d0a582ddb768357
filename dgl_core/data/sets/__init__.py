"""The real data sets, one file each."""
