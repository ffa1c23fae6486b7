"""All that a home and its data folder hold in one file, and back from it."""
