"""Deletes old rows and artifacts of the embedded MLflow store for good.

A server that `MLFLOW_HOST` names is its owner's to clean up, and left alone. So is everything
outside of our experiment in the embedded store, and what in it lacks a tag of ours: a person may
log runs and register versions there as well. Not here: when this runs (`defs/housekeeping.py`).

`mlflow gc` could delete, but would also delete each experiment that a person has marked as
deleted. So this module takes the same steps for our own runs only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.dbmodels.models import SqlDataset, SqlInput, SqlInputTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.file_utils import local_file_uri_to_path

from atx_assets.models.mlflow_server import EXPERIMENT, tracking_uri
from atx_assets.models.registry import DIGEST, is_from_atx
from atx_assets.settings import Settings

#: The newest runs are kept at any age, to compare with.
KEPT = 10
#: Tag of a run that names the Dagster run that made it.
_DAGSTER_RUN = "dagster_run_id"
#: Runs that are in memory at a time.
_PAGE = 100


@dataclass(frozen=True)
class PrunedModels:
    """What was pruned: MLflow runs, registered versions, and bytes of artifacts."""

    runs: int = 0
    versions: int = 0
    bytes: int = 0


def prune_mlflow(
    settings: Settings,
    digests: Collection[str],
    before: datetime,
    is_over: Callable[[str], bool],
) -> PrunedModels:
    """Delete the runs that ended before a time, their models, artifacts and registered versions.

    Kept are the newest runs, those that may still run, those that are not from atx, and those of
    registered versions that have an alias, are not from atx, belong to another model's name or
    to a bundle that is kept.

    Args:
        settings: with the embedded store.
        digests: of the bundles that are kept.
        before: with a time zone.
        is_over: whether a Dagster run, given its id, has ended or is no longer known.
    """
    folder = settings.home / "mlflow"
    if not settings.mlflow_on or settings.mlflow_host or not (folder / "mlflow.db").exists():
        return PrunedModels()
    uri = tracking_uri(settings)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        return PrunedModels()
    ours = experiment.experiment_id
    going, used = _sort_versions(client, settings.model_name, digests)
    newest = client.search_runs([ours], max_results=KEPT, order_by=["start_time DESC"])
    kept = used | {run.info.run_id for run in newest}
    old = [
        (run.info.run_id, run.info.artifact_uri)
        for run in _runs_before(client, ours, before)
        if run.info.run_id not in kept and _is_ours(run) and _has_ended(run, is_over)
    ]
    store = _Store(SqlAlchemyStore(uri, str(folder / "artifacts")), folder)
    for run_id, artifacts in old:
        for model in _models_of(client, ours, run_id):
            store.delete_model(model.model_id, model.artifact_location)
        # Last, so that a deletion that was interrupted is found again.
        store.delete_run(run_id, artifacts)
    gone = {run_id for run_id, _ in old}
    versions = [v for v in going if v.run_id in gone or not _is_there(client, v.run_id)]
    for version in versions:
        client.delete_model_version(version.name, version.version)
    return PrunedModels(len(old), len(versions), store.bytes)


class _Store:
    """Deletes for good, as `mlflow gc` does, in the store `folder`; counts bytes of artifacts."""

    def __init__(self, store: Any, folder: Path) -> None:
        self._store, self._folder = store, folder.resolve()
        self.bytes = 0

    def delete_run(self, run_id: str, artifacts: str) -> None:
        self._delete_files(artifacts)
        self._delete_datasets(run_id)
        self._store._hard_delete_run(run_id)

    def delete_model(self, model_id: str, artifacts: str) -> None:
        self._delete_files(artifacts)
        self._store._hard_delete_logged_model(model_id)

    def _delete_datasets(self, run_id: str) -> None:
        """Delete that a run learned from datasets, which MLflow leaves, and those of no other."""
        with self._store.ManagedSessionMaker(read_only=False) as session:
            of_run = session.query(SqlInput).filter(
                SqlInput.source_type == "DATASET",
                SqlInput.destination_type == "RUN",
                SqlInput.destination_id == run_id,
            )
            for taken in of_run.all():
                session.query(SqlInputTag).filter_by(input_uuid=taken.input_uuid).delete()
                session.delete(taken)
                session.flush()
                if not session.query(SqlInput).filter_by(source_id=taken.source_id).count():
                    session.query(SqlDataset).filter_by(dataset_uuid=taken.source_id).delete()

    def _delete_files(self, uri: str) -> None:
        # <run or model>/artifacts. Any other path that a row may name is not touched.
        place = Path(local_file_uri_to_path(uri)).resolve().parent
        if place.is_relative_to(self._folder / "artifacts") and place.is_dir():
            self.bytes += sum(f.stat().st_size for f in place.rglob("*") if f.is_file())
            shutil.rmtree(place)


def _sort_versions(
    client: MlflowClient, name: str, digests: Collection[str]
) -> tuple[list[ModelVersion], set[str]]:
    """Return the registered versions that nobody needs, and the runs of all others."""
    models = list(_pages(lambda token: client.search_registered_models(page_token=token)))
    aliased = {(m.name, str(version)) for m in models for version in m.aliases.values()}
    going, used = [], set()
    for version in _pages(lambda token: client.search_model_versions(page_token=token)):
        has_alias = (version.name, str(version.version)) in aliased
        ours = version.name == name and is_from_atx(version.tags)
        if ours and not has_alias and version.tags.get(DIGEST) not in digests:
            going.append(version)
        else:
            used.add(version.run_id)
    return going, used


def _runs_before(client: MlflowClient, experiment: str, before: datetime) -> Iterator[Run]:
    """Yield the runs that began before a time, including those marked as deleted."""
    began = f"attributes.start_time < {int(before.timestamp() * 1000)}"
    return _pages(
        lambda token: client.search_runs(
            [experiment], began, ViewType.ALL, max_results=_PAGE, page_token=token
        )
    )


def _is_ours(run: Run) -> bool:
    """Return whether our training made a run: it tags the run from the start."""
    return _DAGSTER_RUN in run.data.tags


def _has_ended(run: Run, is_over: Callable[[str], bool]) -> bool:
    """Return whether a run has ended; its process may have died without recording it."""
    if run.info.status not in ("RUNNING", "SCHEDULED"):
        return True
    return is_over(run.data.tags[_DAGSTER_RUN])


def _models_of(client: MlflowClient, experiment: str, run_id: str) -> list[Any]:
    of_run = f"source_run_id = '{run_id}'"
    return list(
        _pages(lambda token: client.search_logged_models([experiment], of_run, page_token=token))
    )


def _is_there(client: MlflowClient, run_id: str) -> bool:
    try:
        client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return False
        raise
    return True


def _pages(search: Callable[[str | None], Any]) -> Iterator[Any]:
    token = None
    while True:
        page = search(token)
        yield from page
        token = page.token
        if not token:
            return
