"""ESANet, the RGB-D segmentation network of Table 5."""
