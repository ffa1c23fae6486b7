"""The assets, one file per asset or pair. Not here: how anything is computed (`learning/`)."""
