"""What a server answers in place of what MLflow would, in words, with what may mend it.

Not here: where MLflow is, and runs (`mlflow.py`).
"""

from __future__ import annotations

import re

#: Seconds that a server may take to be found: for each address of a name, of which it may have two.
REACH = 6

_NO_MLFLOW = "answers, and not as MLflow does: check MLFLOW_HOST and MLFLOW_PORT"


def wrong_answer(uri: str, experiment: str) -> str:
    """Ask a server for an experiment, as any client does; return what is wrong with the answer.

    A server whose database is gone or full still says that it is healthy.
    """
    import requests

    for path in (
        "/health",
        f"/api/2.0/mlflow/experiments/get-by-name?experiment_name={experiment}",
    ):
        found = requests.get(uri + path, timeout=REACH)
        if found.status_code in (401, 403):
            return ""  # who may ask is for MLflow's client to settle, which knows of tokens
        if found.status_code >= 500:
            return _broken(found.status_code)
    known = found.headers.get("Content-Type", "").startswith("application/json")
    return "" if known and found.status_code in (200, 404) else _NO_MLFLOW


def _broken(status: int) -> str:
    if status in (401, 403):
        return (
            f"lets nobody in like that ({status}): set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        )
    if status < 500:
        return (
            f"refused what was sent ({status}): look at the log of MLflow, or of a proxy before it"
        )
    # A full disk is any of 500, 503 and 507 to it.
    return f"answers with an error ({status}): look at MLflow's log, or make room on its disk"


def what_failed(error: Exception) -> str:
    """Say what a server did that MLflow's client or requests raised this, and what may mend it."""
    from mlflow.exceptions import RestException

    told, why = str(error), reason(error)
    if isinstance(error, RestException):
        return f"refused what was asked ({why}): look there"
    if "valid JSON format" in told:
        return _NO_MLFLOW
    if status := re.search(
        r"too many (5\d\d) error|error code (\d{3})|\b(5\d\d) Server Error", told
    ):
        return _broken(int(next(filter(None, status.groups()))))
    if "timed out" in told:
        return f"stopped to answer in time ({why}): see what keeps it"
    return f"stopped to answer ({why}): start it again"


def reason(error: BaseException) -> str:
    """Return the innermost cause in a line, no address in it with user and password.

    requests wraps it in several.
    """
    while (cause := getattr(error, "reason", None) or (error.args or (None,))[0]) is not None:
        if not isinstance(cause, BaseException):
            break
        error = cause
    line = re.sub(r"//[^/@\s]*@", "//", (str(error).splitlines() or [""])[0])
    return line.rpartition(">: ")[2].rpartition("): ")[2] or type(error).__name__
