"""Proves that MLflow accepts what a training sends, by doing it; and opens our experiment.

A server that answers may want a login, deny rights, or keep artifacts where this machine cannot
write: a training would notice only after its search. Not here: whether it answers
(`mlflow_server.py`), what a training sends (`report/tracking.py`).
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from atx_assets.errors import AtxError
from atx_assets.models.mlflow_answers import without_login
from atx_assets.models.mlflow_client import asks_as_client
from atx_assets.models.mlflow_login import only_client_can_log_in
from atx_assets.models.mlflow_server import (
    EXPERIMENT,
    WITHOUT,
    be_quiet,
    reach_server,
    shown_cause,
    shown_uri,
    tracking_uri,
)
from atx_assets.models.registry import DESCRIPTION, MODEL, VERSION
from atx_assets.settings import Settings

#: Tag of our experiment. Earlier releases created it without.
_OURS = "atx_experiment"
#: Tag of a run made as a proof, and the artifact in it.
_PROOF, _FILE = "atx_proof", "proof.txt"
_CONTENT = "written to check whether a model can be stored here"


def open_experiment(settings: Settings, log: logging.Logger) -> Experiment:
    """Return our experiment, created if needed, with its artifacts beside the embedded store.

    If it was deleted in MLflow, it is restored: no run could be made in it, nor another experiment
    of its name. Somebody else's is not ours to restore.

    Raises:
        AtxError: somebody else's experiment of that name was deleted.
        MlflowException: MLflow refuses.
    """
    be_quiet()
    mlflow.set_tracking_uri(tracking_uri(settings))
    client = mlflow.MlflowClient()
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        artifacts = None if settings.mlflow_host else (settings.home / "mlflow/artifacts").as_uri()
        made = client.create_experiment(
            EXPERIMENT,
            artifact_location=artifacts,
            # Otherwise its page shows the empty figures of a chat bot, and not the runs.
            tags={"mlflow.experimentKind": "custom_model_development", _OURS: "films"},
        )
        return client.get_experiment(made)
    if found.lifecycle_stage == "deleted":
        if not _is_ours(client, found):
            raise AtxError(
                f"MLflow has a deleted experiment named {EXPERIMENT}, with no run of atx in "
                f"it: restore it (`mlflow experiments restore -x {found.experiment_id}`) or have "
                f"it deleted for good (`mlflow gc`), {WITHOUT}"
            )
        client.restore_experiment(found.experiment_id)
        log.warning(
            "the experiment %s was deleted in MLflow: restored it and its runs, because training "
            "needs it; ATX_MLFLOW=off trains without it",
            EXPERIMENT,
        )
    return found


def _is_ours(client: MlflowClient, experiment: Experiment) -> bool:
    if _OURS in experiment.tags:
        return True
    with_version = f"tags.{VERSION} LIKE '%'"
    return bool(
        client.search_runs([experiment.experiment_id], with_version, ViewType.ALL, max_results=1)
    )


def prove(settings: Settings, log: logging.Logger) -> bool:
    """Make a run, write an artifact and read it, end the run, and delete these.

    Returns:
        Whether our experiment was created for it. It stays: a server would only mark it deleted.

    Raises:
        AtxError: the names are not ours to use, or the artifact cannot be written or read.
        MlflowException: MLflow refuses the run.
    """
    be_quiet()
    client = mlflow.MlflowClient(tracking_uri(settings))
    if settings.mlflow_host and only_client_can_log_in():
        reach_server(settings, asks_as_client(tracking_uri(settings)))
    if settings.mlflow_host:
        _prove_model(client, settings.model_name)
    is_new = client.get_experiment_by_name(EXPERIMENT) is None
    experiment = open_experiment(settings, log)
    run = client.create_run(
        experiment.experiment_id, tags={_PROOF: "deleted at once"}, run_name="atx: a proof"
    )
    try:
        _prove_artifacts(client, run, experiment.artifact_location, settings)
        client.set_terminated(run.info.run_id)
    finally:
        # The failure itself is reported; that the cleanup fails, too, is not.
        with suppress(Exception):
            _delete(client, run, settings)
    return is_new


def _prove_model(client: MlflowClient, name: str) -> None:
    """Check that a model that the server does not show us can be created, and is not somebody's.

    Raises:
        AtxError: it exists, and we may not read it.
        MlflowException: it may not be created.
    """
    try:
        client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            return  # it does not exist, or `reach` has reported what is wrong
    else:
        return
    try:
        client.create_registered_model(name, tags={MODEL: "films"}, description=DESCRIPTION)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        raise AtxError(
            f"MLflow has a registered model {name} that the user whom atx logs in as may not "
            "read: give that user (MLFLOW_TRACKING_USERNAME) the right to edit it, or set "
            f"ATX_MODEL_NAME to another name, {WITHOUT}"
        ) from error
    with suppress(MlflowException):  # it has our tag: the first training uses it
        client.delete_registered_model(name)


def _prove_artifacts(client: MlflowClient, run: Run, place: str, settings: Settings) -> None:
    try:
        client.log_text(run.info.run_id, _CONTENT, _FILE)
        with tempfile.TemporaryDirectory() as folder:
            read = Path(client.download_artifacts(run.info.run_id, _FILE, folder)).read_text()
    # The exception depends on where artifacts are: it is from boto3, paramiko or the system.
    except Exception as error:
        raise AtxError(
            f"MLflow at {shown_uri(settings)} keeps artifacts at {_shown(place)}, where this "
            f"machine cannot write them ({_first_line(error)}): {_fix(place, settings)}, {WITHOUT}"
        ) from shown_cause(error, settings)
    if read != _CONTENT or not _server_sees_it(run, settings):
        raise AtxError(
            f"MLflow at {shown_uri(settings)} keeps artifacts at {_shown(place)}, but does not "
            f"find there what this machine has written: {_fix(place, settings)}, {WITHOUT}"
        )


def _server_sees_it(run: Run, settings: Settings) -> bool:
    """Return whether a server that keeps artifacts in a folder sees the one that we wrote to.

    On another machine the same path is another folder: created here, and never seen there.
    """
    if not settings.mlflow_host or urlsplit(run.info.artifact_uri).scheme not in ("", "file"):
        return True
    answer = asks_as_client(tracking_uri(settings))(
        "/api/2.0/mlflow/artifacts/list", {"run_id": run.info.run_id}
    )
    files = answer.json().get("files", []) if answer.status_code == 200 else []
    return any(file["path"] == _FILE for file in files)


def _fix(place: str, settings: Settings) -> str:
    if not settings.mlflow_host:
        return "check that the folder can be written to, and that its disk has room"
    if place.startswith("mlflow-artifacts:"):
        return "look at MLflow's log, and at the disk of its --artifacts-destination"
    return (
        "give this machine access to that place, or let the server handle artifacts: start it "
        "with --artifacts-destination instead of --default-artifact-root, and rename its "
        f"experiment {EXPERIMENT}, so that a new one is created"
    )


def _delete(client: MlflowClient, run: Run, settings: Settings) -> None:
    """Delete the artifact and the run: for good in our own store, marked as deleted on a server."""
    with suppress(Exception):  # not every kind of place can delete; the run is deleted anyway
        get_artifact_repository(run.info.artifact_uri).delete_artifacts()
    client.delete_run(run.info.run_id)
    if not settings.mlflow_host:
        _delete_for_good(run, settings)


def _delete_for_good(run: Run, settings: Settings) -> None:
    folder = settings.home / "mlflow" / "artifacts"
    store: Any = SqlAlchemyStore(tracking_uri(settings), str(folder))
    store._hard_delete_run(run.info.run_id)
    with suppress(OSError):  # empty by now
        (folder / run.info.run_id).rmdir()


def _shown(place: str) -> str:
    """Return a place of artifacts without user and password."""
    scheme, found, rest = place.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if found else place


def _first_line(error: Exception) -> str:
    line = without_login((str(error).splitlines() or [""])[0]) or type(error).__name__
    return line if len(line) <= 160 else f"{line[:159]}…"
