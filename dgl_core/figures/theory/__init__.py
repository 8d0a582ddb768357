"""Pictures of the theory (notebook 02) and its sliders."""
