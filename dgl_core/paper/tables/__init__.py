"""Tables that notebooks show, made from run records."""
