"""Stored models: bundles, the champion, MLflow's mirror of both. Not here: learning."""
