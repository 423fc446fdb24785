"""The embedded model: a tiny Flux pipeline, so that all runs without a download or a GPU."""
