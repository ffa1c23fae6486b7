"""The assets, one file an asset or a pair. Not here: how anything is computed (`learning/`)."""
