"""Generated data sets: the same bits on every x86-64 processor, always available."""
