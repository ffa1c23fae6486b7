"""Writes a person's verdicts to the source's table, and undoes them. Not here: who asks for it."""
