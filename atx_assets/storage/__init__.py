"""Files: replacing one in a step, locks, checksums, the data folder. Not here: what is in them."""
