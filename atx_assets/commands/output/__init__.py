"""How commands tell what they do: lines, a moving display, tables. Not here: what they tell."""
