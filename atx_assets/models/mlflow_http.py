"""Requests to an MLflow server without MLflow's client, whose import takes over a second.

They use the client's login, certificates and checks, from the client's own variables
(`mlflow_login.py`). Not here: what is asked, and what an answer means (`mlflow_answers.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import requests

from atx_assets.models.mlflow_answers import Ask
from atx_assets.models.mlflow_login import login_options

#: Seconds to connect to a server, for each address of its name, of which there may be two.
REACH = 6


def asks_with_login(uri: str) -> Ask:
    """Return a function that asks the server at `uri`, logged in as MLflow's client would be."""

    def ask(path: str, wanted: Mapping[str, str]) -> requests.Response:
        return requests.get(uri + path, params=wanted, timeout=REACH, **login_options())

    return ask
