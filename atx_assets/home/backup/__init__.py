"""Backs up a home and its data folder into one file, and restores them from it."""
