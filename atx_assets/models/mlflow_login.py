"""Asking an MLflow server something without MLflow's client, whose import takes over a second.

As the client would: with the login, the certificates and the checks that its own variables name.
Not here: what is asked, and what an answer means (`mlflow_answers.py`).
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atx_assets.models.mlflow_answers import Ask

if TYPE_CHECKING:
    import requests

#: Seconds that a server may take to be found: for each address of a name, of which it may have two.
REACH = 6


def asks_with_login(uri: str) -> Ask:
    """Return what asks the server at `uri`, logged in as MLflow's client would be."""

    def ask(path: str, wanted: Mapping[str, str]) -> requests.Response:
        import requests

        return requests.get(uri + path, params=wanted, timeout=REACH, **_options())

    return ask


def asks_as_client(uri: str) -> Ask:
    """Return what asks the server by MLflow's client, which knows of every kind of login."""

    def ask(path: str, wanted: Mapping[str, str]) -> requests.Response:
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.rest_utils import http_request

        answer: requests.Response = http_request(
            get_default_host_creds(uri), path, "GET", raise_on_status=False, params=wanted
        )
        return answer

    return ask


def only_client_can_log_in() -> bool:
    """Say whether MLflow's client logs in by something that it alone knows, such as a plug-in."""
    return bool(
        os.environ.get("MLFLOW_TRACKING_AUTH")
        or _is_yes(os.environ.get("MLFLOW_TRACKING_AWS_SIGV4", ""))
    )


def _options() -> dict[str, Any]:
    """Return what `requests` takes for the login and the certificates."""
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
    """Return user and password: the environment's, else those of `~/.mlflow/credentials`."""
    names = ("mlflow_tracking_username", "mlflow_tracking_password")
    parser = configparser.ConfigParser()
    try:
        parser.read(Path("~/.mlflow/credentials").expanduser())
        kept = dict(parser["mlflow"]) if "mlflow" in parser else {}
    except (configparser.Error, OSError, RuntimeError):
        kept = {}  # MLflow's client says what is wrong with it
    user, password = (os.environ.get(name.upper()) or kept.get(name) for name in names)
    return user, password


def _is_yes(text: str) -> bool:
    return text.lower() in ("true", "1")
