"""Where MLflow is, a server or the embedded store, and whether it can be used.

Not here: one MLflow run for each model trained (`defs/resources/mlflow.py`), the registered model
(`registered_model.py`), what an answer means (`mlflow_answers.py`), what needs MLflow's own client
(`mlflow_client.py`, `mlflow_failures.py`). Imports neither Dagster nor MLflow.
"""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from atx_assets.errors import MlflowError
from atx_assets.models.embedded_registry import read_names, recorded_home
from atx_assets.models.mlflow_answers import (
    TLS_FIX,
    Ask,
    Experiment,
    LoginRefusedError,
    WrongAnswerError,
    is_tls,
    reason,
    server_state,
)
from atx_assets.models.mlflow_login import only_client_can_log_in
from atx_assets.models.registry import objection
from atx_assets.models.sqlite_faults import store_fault
from atx_assets.process_environment import keep_direct
from atx_assets.settings import Settings

EXPERIMENT = "atx"
WITHOUT = "or set ATX_MLFLOW=off; the last model stays in place"


def tracking_uri(settings: Settings) -> str:
    """Return the address of the MLflow server, or of the embedded store in the home."""
    if settings.mlflow_host:
        host = settings.mlflow_host
        url = host if "://" in host else f"http://{host}"
        return f"{url}:{settings.mlflow_port}"
    return store_uri(embedded_store(settings))


def store_uri(store: Path) -> str:
    """Return the address of a store in a file.

    Raises:
        MlflowError: that path has none: MLflow would write to a file beside the home.
    """
    if "?" in str(store):
        raise MlflowError(
            f"MLflow cannot keep its store in {store.parent}, because a question mark ends a path "
            "for it: move the home and set ATX_HOME to its new place, or set ATX_MLFLOW=off"
        )
    return f"sqlite:///{store}"


def embedded_store(settings: Settings) -> Path:
    """Return the file of the embedded store, which exists once something was logged to it."""
    return settings.home / "mlflow" / "mlflow.db"


def former_home(settings: Settings) -> Path | None:
    """Return the home that the embedded store was made in, if that is another folder.

    Another path to the same folder, such as a link, is not another home.

    Raises:
        MlflowError: the store cannot be read.
    """
    store = embedded_store(settings)
    if settings.mlflow_host or not settings.mlflow_on or not store.exists():
        return None
    try:
        before = recorded_home(store, EXPERIMENT)
    except sqlite3.Error as error:
        raise MlflowError(f"{store} {store_fault(store, error)}") from error
    if before is None or before == settings.home:
        return None
    try:
        same = (before / "mlflow").samefile(settings.home / "mlflow")
    except OSError:  # it no longer exists, or we may not see it
        same = False
    return None if same else before


def shown_uri(settings: Settings) -> str:
    """Return the address without user and password."""
    scheme, _, rest = tracking_uri(settings).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2] if scheme.startswith('http') else rest}"


def web_url(settings: Settings) -> str:
    """Return the address of MLflow's pages, which `atx up` serves for the embedded store."""
    if settings.mlflow_host:
        return shown_uri(settings)
    return f"http://{settings.web_host}:{settings.mlflow_port}"


@dataclass(frozen=True)
class Reached:
    """What is known of MLflow once it was reached.

    `version` is a server's, empty for the embedded store. If `asked` is False, only MLflow's
    client can log in, and nothing more is known; if the model is `hidden`, nothing about it.
    """

    version: str = ""
    experiment: Experiment | None = None
    asked: bool = True
    hidden: bool = False


def reach(settings: Settings) -> Reached:
    """Check, within seconds, that MLflow can be used and that the names in it are ours.

    Raises:
        MlflowError: it does not answer, or not as a usable MLflow does; or the name of the
            registered model is somebody else's.
    """
    if settings.mlflow_host:
        # requests takes a tenth of a second to import, which the embedded store does not need.
        from atx_assets.models.mlflow_http import asks_with_login

        uri = tracking_uri(settings)
        keep_direct(urlsplit(uri).hostname or "")
        try:
            return reach_server(settings, asks_with_login(uri))
        except OSError as error:  # the base class of what requests raises
            if is_tls(str(error)):
                raise MlflowError(
                    f"MLflow at {shown_uri(settings)} cannot be trusted ({reason(error)}): "
                    f"{TLS_FIX}, {WITHOUT}"
                ) from shown_cause(error, settings)
            raise MlflowError(
                f"MLflow does not answer at {shown_uri(settings)} ({reason(error)}): start it, or "
                f"check MLFLOW_HOST and MLFLOW_PORT, {WITHOUT}"
            ) from shown_cause(error, settings)
    store = embedded_store(settings)
    store_uri(store)  # no backup would include a store beside the home
    if before := former_home(settings):
        raise MlflowError(
            f"the home was moved or copied from {before}, and MLflow's store would write there: "
            f"`atx start` changes the store to {settings.home}"
        )
    store.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        experiment, held = read_names(store, EXPERIMENT, settings.model_name)
    except sqlite3.Error as error:
        raise MlflowError(f"{store} {store_fault(store, error)}, {WITHOUT}") from error
    if held and (why := objection(settings.model_name, held)):
        raise MlflowError(why)
    return Reached(experiment=experiment)


def reach_server(settings: Settings, ask: Ask) -> Reached:
    """Check the server that `MLFLOW_HOST` names.

    Raises:
        MlflowError: see `reach`.
        OSError: it does not answer.
    """
    try:
        found = server_state(ask, EXPERIMENT, settings.model_name)
    except LoginRefusedError as error:
        if only_client_can_log_in():
            return Reached(asked=False)
        raise _unusable(settings, error) from error
    except WrongAnswerError as error:
        raise _unusable(settings, error) from error
    if found.model and (why := objection(settings.model_name, found.model)):
        raise MlflowError(why)
    return Reached(found.version, found.experiment, hidden=found.hidden)


def _unusable(settings: Settings, error: WrongAnswerError) -> MlflowError:
    return MlflowError(f"{shown_uri(settings)} {error}, {WITHOUT}")


def shown_cause(error: Exception, settings: Settings) -> Exception | None:
    """Return what a failure is raised from: None if its text may hold the password.

    Dagster records every error of the chain, and the terminal shows it with `--verbose`.
    """
    return None if "@" in settings.mlflow_host else error


def be_quiet() -> None:
    """Make MLflow and Alembic log only warnings and errors."""
    for noisy in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
