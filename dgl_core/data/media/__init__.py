"""From sound, picture and video files to arrays."""
