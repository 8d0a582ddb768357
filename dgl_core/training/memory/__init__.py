"""Where the data of a run lie while it trains: on the GPU, once for several trainings, or streamed to it."""
