"""MLflow's own client for the server or the embedded store, for work outside of a run.

Its import takes over a second: callers first check that MLflow can be used
(`mlflow_server.reach`). Not here: what it is asked (`registered_model.py`, `mlflow_proof.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

import requests
from mlflow import MlflowClient
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.rest_utils import http_request

from atx_assets.models.mlflow_answers import Ask
from atx_assets.models.mlflow_server import be_quiet, tracking_uri, web_url
from atx_assets.settings import Settings


def mlflow_client(settings: Settings) -> MlflowClient:
    """Return a client that logs nothing and gives up within seconds."""
    be_quiet()
    return MlflowClient(tracking_uri(settings))


def run_url(settings: Settings, client: MlflowClient, run_id: str) -> str:
    """Return the address of a run's page."""
    experiment = client.get_run(run_id).info.experiment_id
    # Otherwise the page opens among those for chat bots.
    page = f"/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
    return web_url(settings) + page


def asks_as_client(uri: str) -> Ask:
    """Return a function that asks the server through MLflow's client, which knows every login."""

    def ask(path: str, wanted: Mapping[str, str]) -> requests.Response:
        answer: requests.Response = http_request(
            get_default_host_creds(uri), path, "GET", raise_on_status=False, params=wanted
        )
        return answer

    return ask
