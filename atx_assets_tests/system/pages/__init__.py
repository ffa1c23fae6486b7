"""A package, so that its browser and servers end with its last test and not with the suite."""
