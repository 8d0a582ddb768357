"""From records to pictures: each module draws one part of the companion; public functions return a ``Picture``."""
