"""Compare any runs on any data: paired statistics, one judge, one chooser. Knows no table of the paper."""
