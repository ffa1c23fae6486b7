"""MLflow's variables in the environment: which do not count, and what others are by default.

Its client and server take from the environment whatever they are not told, and some of it against
what they are told. Not here: writing them (`process_environment.py`); its login and certificates,
which hold (`models/mlflow_login.py`); the settings `MLFLOW_HOST` and `MLFLOW_PORT`, which alone say
where MLflow is (`settings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

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


#: Seconds that MLflow may take to answer; its own default is two minutes, and seven tries.
ANSWER = 10

#: What holds unless the person has set it.
DEFAULTS = {
    # MLflow tells its makers how it is used, unless this stands there before it is imported.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER),
    # Else it prints each run's address, with the password in it and among what we print as JSON.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Else a bar moves among the lines for each artifact that is read.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def ignored(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that are set and do not count."""
    return tuple(sorted(_IGNORED & environ.keys()))
