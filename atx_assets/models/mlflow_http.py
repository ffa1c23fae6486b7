"""Asking an MLflow server something without MLflow's client, whose import takes over a second.

As the client would: with the login, the certificates and the checks that its own variables name
(`mlflow_login.py`). Not here: what is asked, and what an answer means (`mlflow_answers.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import requests

from atx_assets.models.mlflow_answers import Ask
from atx_assets.models.mlflow_login import login_options

#: Seconds that a server may take to be found: for each address of a name, of which it may have two.
REACH = 6


def asks_with_login(uri: str) -> Ask:
    """Return what asks the server at `uri`, logged in as MLflow's client would be."""

    def ask(path: str, wanted: Mapping[str, str]) -> requests.Response:
        return requests.get(uri + path, params=wanted, timeout=REACH, **login_options())

    return ask
