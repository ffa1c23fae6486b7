"""atx learns one person's taste from the titles they labelled, and says which media to add."""

import os

# MLflow tells its makers how it is used, unless this stands there before it is imported anywhere.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
