"""Files: replacing one in one step, locks, checksums, the data folder. Not here: their content."""
