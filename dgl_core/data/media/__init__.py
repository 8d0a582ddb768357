"""Turn sound, picture and video files into arrays."""

from dgl_core.utils import needs

needs("Sounds, pictures and videos", "filelock", "PIL")  # filelock comes with torch
