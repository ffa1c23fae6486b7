"""MLflow's variables in the environment: which have no effect, and the defaults of others.

Its client and server read from the environment whatever they are not given, and sometimes prefer it
to what they are given. Not here: writing them (`process_environment.py`); its login and
certificates, which apply (`models/mlflow_login.py`); the settings `MLFLOW_HOST` and `MLFLOW_PORT`:
only they say where MLflow is (`settings.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

#: Listed one by one: MLflow itself reads those for timeouts and identity, and they apply.
_IGNORED = frozenset(
    {
        # The client's: another place, another run or experiment, and failures that show up late.
        *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_DIR"),
        *("MLFLOW_REGISTRY_DIR", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"),
        *("MLFLOW_EXPERIMENT_NAME", "MLFLOW_ACTIVE_MODEL_ID", "_MLFLOW_ACTIVE_MODEL_ID"),
        *("MLFLOW_ENABLE_ASYNC_LOGGING", "MLFLOW_WORKSPACE", "MLFLOW_ENABLE_WORKSPACES"),
        # The server's, which `atx up` starts: other stores, pages at another path.
        *("MLFLOW_BACKEND_STORE_URI", "MLFLOW_REGISTRY_STORE_URI", "MLFLOW_STATIC_PREFIX"),
        *("MLFLOW_READ_REPLICA_BACKEND_STORE_URI", "MLFLOW_DEFAULT_ARTIFACT_ROOT"),
        *("MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_ARTIFACTS_ONLY", "MLFLOW_SERVE_ARTIFACTS"),
        *("MLFLOW_WORKSPACE_STORE_URI", "MLFLOW_TRACE_ARCHIVAL_CONFIG"),
        *("MLFLOW_WORKERS", "MLFLOW_GUNICORN_OPTS", "MLFLOW_UVICORN_OPTS"),
    }
)


#: Seconds that MLflow may take to answer; its own default is two minutes, with seven retries.
ANSWER = 10

#: The values that apply unless the person has set others.
DEFAULTS = {
    # MLflow reports its usage to its makers, unless this is set before it is imported.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": str(ANSWER),
    # Otherwise it prints each run's address, password included, in the middle of our JSON.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Otherwise it shows a progress bar for each artifact that is read.
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def ignored(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the variables that are set but have no effect."""
    return tuple(sorted(_IGNORED & environ.keys()))
