"""Features, tuning, evaluation, scoring: numpy, pyarrow, xgboost, scikit-learn.

Not here: Dagster, databases, where data come from. Nothing in this folder imports upwards.
"""
