"""The two layouts of the database: what to select, what a label is, what changed.

Not here: Dagster, files under the data folder, models.
"""
