"""Turn sound, picture and video files into arrays."""
