"""Generated emotions: synthetic voices and drawn faces in the layout of CREMA-D."""
