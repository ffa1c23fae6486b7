"""Models that are kept: bundles, the champion, MLflow's mirror of both. Not here: learning."""
