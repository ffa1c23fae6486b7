"""How commands show their output: lines, a moving display, tables. Not here: what they do."""
