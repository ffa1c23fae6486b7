"""atx learns one person's taste from the titles they labelled, and says which media to add."""
