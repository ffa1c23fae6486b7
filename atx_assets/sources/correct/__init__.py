"""A person's verdicts into the source's table, and back again. Not here: who asks for it."""
