"""Where MLflow is, a server or the embedded store, whether it can be used, and what went wrong.

Not here: one MLflow run for each model trained (`mlflow.py`), the registered model
(`registry.py`), what an answer means (`mlflow_answers.py`). Knows no Dagster.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from atx_assets.direct import keep_direct
from atx_assets.errors import AtxError
from atx_assets.resources.mlflow_answers import reason, what_failed, wrong_answer
from atx_assets.settings import Settings, read_settings

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "atx"
#: Seconds that MLflow may take to answer; its own default is two minutes, and seven tries.
ANSWER = 10
_WITHOUT = "or set ATX_MLFLOW=off; the last model stays in place"


def tracking_uri(settings: Settings) -> str:
    """Return the address of the MLflow server, or the embedded store under the home."""
    if settings.mlflow_host:
        host = settings.mlflow_host
        url = host if "://" in host else f"http://{host}"
        return f"{url}:{settings.mlflow_port}"
    return f"sqlite:///{embedded_store(settings)}"


def embedded_store(settings: Settings) -> Path:
    """Return the file of the embedded store, which is there once something was told to it."""
    return settings.home / "mlflow" / "mlflow.db"


def shown_uri(settings: Settings) -> str:
    """Return the address without a user and password that may stand in it."""
    scheme, _, rest = tracking_uri(settings).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2] if scheme.startswith('http') else rest}"


def web_url(settings: Settings) -> str:
    """Return the address of MLflow's pages, which `atx up` serves for the embedded store."""
    if settings.mlflow_host:
        return shown_uri(settings)
    return f"http://{settings.web_host}:{settings.mlflow_port}"


def mlflow_client(settings: Settings) -> MlflowClient:
    """Return a client of the server, for what is done outside a run.

    Raises:
        AtxError: MLflow does not answer within seconds.
    """
    reach(settings)
    be_quick()
    from mlflow import MlflowClient

    be_quiet()
    return MlflowClient(tracking_uri(settings))


def run_url(client: MlflowClient, run_id: str) -> str:
    """Return the address of a run's page."""
    experiment = client.get_run(run_id).info.experiment_id
    # Else the page stands among those for chat bots.
    page = f"/#/experiments/{experiment}/runs/{run_id}?workflowType=machine_learning"
    return web_url(read_settings()) + page


def be_quick() -> None:
    """Have MLflow give up within seconds, and print no address. Before it is imported."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", str(ANSWER))
    # Else it prints each run's address, with the password in it and among what we print as JSON.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")


def reach(settings: Settings) -> None:
    """Make sure that MLflow can be used, within seconds.

    Raises:
        AtxError: it does not answer.
    """
    if not settings.mlflow_host:
        (settings.home / "mlflow").mkdir(mode=0o700, parents=True, exist_ok=True)
        return
    keep_direct(urlsplit(tracking_uri(settings)).hostname or "")
    try:
        wrong = wrong_answer(tracking_uri(settings), EXPERIMENT)
    except OSError as error:  # what requests raises is one
        raise AtxError(
            f"MLflow does not answer at {shown_uri(settings)} ({reason(error)}): start it, or "
            f"check MLFLOW_HOST and MLFLOW_PORT, {_WITHOUT}"
        ) from shown_cause(error, settings)
    if wrong:
        raise AtxError(f"{shown_uri(settings)} {wrong}, {_WITHOUT}")


def failure(error: Exception, settings: Settings) -> AtxError:
    """Say in a line what went wrong with MLflow, and what may mend it."""
    if isinstance(error, OSError) and isinstance(error.filename, str):
        # A picture, a temporary folder: MLflow has no part in it.
        return AtxError(
            f"{error.filename} on this machine cannot be used ({error.strerror}): make room on its "
            f"disk, or look there, {_WITHOUT}"
        )
    if settings.mlflow_host:
        said = what_failed(error)
    else:
        said = f"cannot be used ({reason(error)}): make room on the disk of ATX_HOME, or look there"
    return AtxError(f"MLflow at {shown_uri(settings)} {said}, {_WITHOUT}")


def shown_cause(error: Exception, settings: Settings) -> Exception | None:
    """Return what a failure is raised from: nothing where its text may hold the password.

    Dagster records every error of the chain, and the terminal shows it with `--verbose`.
    """
    return None if "@" in settings.mlflow_host else error


def be_quiet() -> None:
    """Have MLflow and Alembic log what is wrong alone."""
    for noisy in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
