"""Keep the files of data sets: caches, prepared arrays, downloads."""
