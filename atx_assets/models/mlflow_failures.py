"""What went wrong with MLflow, by what its client or requests raised, and how to fix it.

Not here: a server's answers to requests without the client (`mlflow_answers.py`).
"""

from __future__ import annotations

import re

from mlflow.exceptions import RestException

from atx_assets.errors import MlflowError
from atx_assets.models.mlflow_answers import NO_MLFLOW, TLS_FIX, is_tls, reason, status_in_words
from atx_assets.models.mlflow_server import WITHOUT, embedded_store, shown_uri
from atx_assets.models.sqlite_faults import store_fault
from atx_assets.settings import Settings
from atx_assets.storage.disk_errors import why_unusable


def failure(error: Exception, settings: Settings) -> MlflowError:
    """Return a one-line error that says what went wrong with MLflow, and how to fix it."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        # A picture or a temporary folder: not MLflow's fault.
        return MlflowError(
            f"cannot use {error.filename} on this machine: {why_unusable(error)}; {WITHOUT}"
        )
    if settings.mlflow_host:
        said = what_failed(error)
    elif "sqlite3." in str(error) or isinstance(error, OSError):
        said = store_fault(embedded_store(settings), error)
    else:
        said = f"refused the request ({reason(error)}): `atx doctor --deep` tries each step"
    return MlflowError(f"MLflow at {shown_uri(settings)} {said}, {WITHOUT}")


def what_failed(error: Exception) -> str:
    """Say what a server did that made MLflow's client or requests raise this, and how to fix it."""
    text, why = str(error), reason(error)
    if isinstance(error, RestException):
        if error.error_code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            return status_in_words(403 if error.error_code == "PERMISSION_DENIED" else 401)
        return f"refused the request ({why}): look at MLflow's log"
    if "valid JSON format" in text:
        return NO_MLFLOW
    if status := re.search(
        r"too many (5\d\d) error|error code (\d{3})|\b([45]\d\d) (?:Server|Client) Error", text
    ):
        return status_in_words(int(next(filter(None, status.groups()))))
    if "timed out" in text:
        return f"stopped answering in time ({why}): see what keeps it busy"
    if is_tls(text):
        return f"cannot be trusted ({why}): {TLS_FIX}"
    if any(words in text for words in ("onnection", "Remote end closed", "resolve")):
        return f"stopped answering ({why}): start it again"
    return f"does not accept what atx sends ({why}): `atx doctor --deep` tries each step"
