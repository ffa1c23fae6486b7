"""The embedded servers and the program `atx`. Not here: anything that a Dagster run needs."""
