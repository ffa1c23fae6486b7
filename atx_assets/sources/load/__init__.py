"""Loads a parquet export into atx's own database. Not here: what a title or a label is."""
