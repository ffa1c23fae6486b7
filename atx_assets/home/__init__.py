"""The folder ATX_HOME and its embedded servers. Not here: anything that a Dagster run needs."""
