"""From records to pictures. Each module draws one part of the companion; every public function returns a ``Picture``."""
