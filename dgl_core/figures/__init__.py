"""Turn records into pictures: each module draws one part of the companion; public functions return a ``Picture``."""
