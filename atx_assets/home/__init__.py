"""The folder ATX_HOME and its embedded servers. Not here: what a Dagster run needs."""
