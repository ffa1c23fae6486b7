"""MLflow as a Dagster resource: one MLflow run for each model trained.

dagster-mlflow ties the MLflow run to the Dagster run. Not here: where MLflow is
(`models/mlflow_server.py`), whether it accepts what we log (`models/mlflow_proof.py`), what is
logged (`report/tracking.py`), the registered model (`models/registered_model.py`).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import dagster as dg

from atx_assets.models.mlflow_server import (
    EXPERIMENT,
    reach,
    shown_cause,
    tracking_uri,
)
from atx_assets.process_environment import impatient_after
from atx_assets.settings import Settings

#: Seconds of requests after which each may take only one second more: logging a model takes a
#: hundred requests, and at ten seconds each a run would hang for an hour.
PATIENCE = 45
#: Ended states of Dagster runs; an MLflow run under such a run is not running any more.
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class Mlflow(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The MLflow server that `MLFLOW_HOST` names, or the embedded store."""

    @contextmanager
    def run(self, context: dg.AssetExecutionContext, settings: Settings) -> Iterator[Any]:
        """Open the MLflow run of this Dagster run, and end it in the right state.

        dagster-mlflow's own resource would open it before the first asset, import a hundred
        megabytes to do so, and mark the run of a failed step as finished.

        Yields:
            An object with MLflow's functions for the run, or None with `ATX_MLFLOW=off`.

        Raises:
            AtxError: MLflow does not answer within seconds, or stops answering.
        """
        if not settings.mlflow_on:
            yield None
            return
        reach(settings)
        from atx_assets.models.mlflow_proof import open_experiment

        state = "FAILED"
        try:
            with self.telling(settings):
                open_experiment(settings, context.log)
                _end_left_runs(context.instance)
                run = _dagster_mlflow(context, settings)
            yield run
            state = "FINISHED"
        except (KeyboardInterrupt, SystemExit, dg.DagsterExecutionInterruptedError):
            state = "KILLED"
            raise
        finally:
            _end_run(state, context.log)

    @contextmanager
    def telling(self, settings: Settings) -> Iterator[None]:
        """Explain MLflow's failures in the block, and shorten its timeout after `PATIENCE`.

        Raises:
            AtxError: MLflow stops answering, answers with an error, or too slowly.
        """
        from mlflow.exceptions import MlflowException

        from atx_assets.models.mlflow_failures import failure

        try:
            with impatient_after(PATIENCE):
                yield
        except (MlflowException, OSError) as error:  # what requests raises is an OSError
            raise failure(error, settings) from shown_cause(error, settings)

    def check(self, settings: Settings, log: logging.Logger) -> None:
        """Check that MLflow accepts what a training logs, before a search takes minutes.

        Raises:
            AtxError: it does not answer within seconds, or does not accept a run or an artifact.
        """
        if not settings.mlflow_on:
            return
        reach(settings)
        from atx_assets.models.mlflow_proof import prove

        with self.telling(settings):
            prove(settings, log)

    def forget(self, run: Any) -> None:
        """End and delete the open run: there was nothing to log in it."""
        mlflow_run = run.active_run().info.run_id
        run.end_run()
        run.tracking_client.delete_run(mlflow_run)


def _end_run(state: str, log: logging.Logger) -> None:
    """End the run in `state`; if MLflow is gone, the next training does it.

    By then everything else is logged and the champion is in place, so this raises nothing. The
    error's text may hold MLflow's password, and is not logged.
    """
    import mlflow
    from mlflow.exceptions import MlflowException

    try:
        mlflow.end_run(state)
    except (MlflowException, OSError):
        log.warning("MLflow could not mark its run as %s; the next training does it", state)


def _end_left_runs(instance: dg.DagsterInstance) -> None:
    """End the MLflow runs that seem to be running under an ended Dagster run.

    A process that was killed, or that lost MLflow, could not do it itself.
    """
    import mlflow

    experiment = mlflow.get_experiment_by_name(EXPERIMENT)
    client = mlflow.MlflowClient()
    for run in client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'"):
        ours = instance.get_run_by_id(run.data.tags.get("dagster_run_id", ""))
        if ours is not None and ours.status in _ENDED:
            well = ours.status == dg.DagsterRunStatus.SUCCESS
            client.set_terminated(run.info.run_id, "FINISHED" if well else "KILLED")


def _dagster_mlflow(context: dg.AssetExecutionContext, settings: Settings) -> Any:
    with warnings.catch_warnings():
        # It warns at every import that it is in beta; our versions are pinned for that reason.
        warnings.simplefilter("ignore", dg.BetaWarning)
        from dagster_mlflow.resources import MlFlow

        return MlFlow(
            SimpleNamespace(
                # It logs that a run is open, which is of no use in the run's own log.
                log=logging.getLogger("dagster_mlflow"),
                dagster_run=context.run,
                run_id=context.run.run_id,
                resource_config={
                    "experiment_name": EXPERIMENT,
                    "mlflow_tracking_uri": tracking_uri(settings),
                    "env": {},
                    "extra_tags": {},
                },
            )
        )
