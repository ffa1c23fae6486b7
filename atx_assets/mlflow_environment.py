"""MLflow's variables in the environment that say where it keeps what, and which run is meant.

Its client and server take from the environment whatever they are not told, and some of it against
what they are told. Not here: its login and certificates, which hold (`models/mlflow_login.py`), nor
the settings `MLFLOW_HOST` and `MLFLOW_PORT`, which alone say where MLflow is (`settings.py`).
"""

from __future__ import annotations

import os

#: Named one by one: what says how long it may take, or who we are, is obeyed as MLflow reads it.
_IGNORED = frozenset(
    {
        # Of the client: another place, another run or experiment, and failures that come later.
        *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_DIR"),
        *("MLFLOW_REGISTRY_DIR", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"),
        *("MLFLOW_EXPERIMENT_NAME", "MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID"),
        *("MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES"),
        # Of the server that `atx up` starts: other stores, pages at another path.
        *("MLFLOW_BACKEND_STORE_URI", "MLFLOW_REGISTRY_STORE_URI", "MLFLOW_STATIC_PREFIX"),
        *("MLFLOW_READ_REPLICA_BACKEND_STORE_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT"),
        *("MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_ARTIFACTS_ONLY", "MLFLOW_SERVE_ARTIFACTS"),
        *("MLFLOW_WORKSPACE_STORE_URI", "MLFLOW_TRACE_ARCHIVAL_CONFIG"),
        *("MLFLOW_WORKERS", "MLFLOW_GUNICORN_OPTS", "MLFLOW_UVICORN_OPTS"),
    }
)


def settle_mlflow() -> tuple[str, ...]:
    """Remove the variables that do not count from the environment; return their names.

    Called where a process of ours begins, before it imports MLflow.
    """
    ignored = sorted(_IGNORED & os.environ.keys())
    for name in ignored:
        del os.environ[name]
    return tuple(ignored)
