"""The assets, one file a room of the graph. Not here: how anything is computed (`learning/`)."""
