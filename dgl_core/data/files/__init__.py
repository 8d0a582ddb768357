"""Files of data sets: caches, prepared arrays, downloads."""
