"""Generated RGB-D rooms for semantic segmentation."""
