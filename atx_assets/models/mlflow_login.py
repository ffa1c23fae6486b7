"""How MLflow's client would log in, and which certificates it would trust, by its own variables.

Not here: the requests (`mlflow_http.py`, `mlflow_client.py`).
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import Any


def only_client_can_log_in() -> bool:
    """Return whether only MLflow's client can log in, by a plug-in for example."""
    return bool(
        os.environ.get("MLFLOW_TRACKING_AUTH")
        or _is_yes(os.environ.get("MLFLOW_TRACKING_AWS_SIGV4", ""))
    )


def login_options() -> dict[str, Any]:
    """Return the options of `requests` for the login and the certificates."""
    options: dict[str, Any] = {}
    user, password = _user()
    if user and password:
        options["auth"] = (user.encode(), password.encode())
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        options["headers"] = {"Authorization": f"Bearer {token}"}
    if _is_yes(os.environ.get("MLFLOW_TRACKING_INSECURE_TLS", "")):
        options["verify"] = False
    elif authority := os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"):
        options["verify"] = authority
    if certificate := os.environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"):
        options["cert"] = certificate
    return options


def _user() -> tuple[str | None, str | None]:
    """Return user and password: from the environment, or else from `~/.mlflow/credentials`."""
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    parser = configparser.ConfigParser()
    try:
        parser.read(Path("~/.mlflow/credentials").expanduser())
        kept = dict(parser["mlflow"]) if "mlflow" in parser else {}
    except (configparser.Error, OSError, RuntimeError):
        kept = {}  # MLflow's client reports what is wrong with it
    user, password = (os.environ.get(name.upper()) or kept.get(name) for name in names)
    return user, password


def _is_yes(text: str) -> bool:
    return text.lower() in ("true", "1")
