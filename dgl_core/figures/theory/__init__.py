"""Draw the theory (notebook 02), with sliders."""
