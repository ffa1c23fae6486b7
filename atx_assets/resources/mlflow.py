"""MLflow as assets see it: where it is, and one MLflow run for each model trained.

dagster-mlflow ties the MLflow run to the Dagster run. Not here: what is logged.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import dagster as dg

from atx_assets.errors import AtxError
from atx_assets.settings import Settings, read_settings

EXPERIMENT = "atx"
#: The registered model, and the alias of the version that scores.
MODEL, ALIAS = "atx", "champion"


def tracking_uri(settings: Settings) -> str:
    """Return the address of the MLflow server, or the embedded store under the home."""
    if settings.mlflow_host:
        host = settings.mlflow_host
        url = host if "://" in host else f"http://{host}"
        return f"{url}:{settings.mlflow_port}"
    return f"sqlite:///{settings.home / 'mlflow' / 'mlflow.db'}"


def shown_uri(settings: Settings) -> str:
    """Return the address without a user and password that may stand in it."""
    scheme, _, rest = tracking_uri(settings).partition("://")
    return f"{scheme}://{rest.rpartition('@')[2] if scheme.startswith('http') else rest}"


def web_url(settings: Settings) -> str:
    """Return the address of MLflow's pages, which `atx up` serves for the embedded store."""
    if settings.mlflow_host:
        return shown_uri(settings)
    return f"http://127.0.0.1:{settings.mlflow_port}"


class Mlflow(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The MLflow server that `MLFLOW_HOST` names, or the embedded store."""

    @contextmanager
    def run(self, context: dg.AssetExecutionContext) -> Iterator[Any]:
        """Open the MLflow run of this Dagster run, and end it in the state that is true.

        dagster-mlflow's own resource would open it before the first asset, import a hundred
        megabytes to do so, and leave a failed step's run marked as finished.

        Raises:
            AtxError: MLflow does not answer within seconds.
        """
        settings = read_settings()
        reach(settings)
        # MLflow's own retries take minutes before they give up.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        import mlflow

        _make_experiment(settings)
        resource = _dagster_mlflow(context, settings)
        state = "FAILED"
        try:
            yield resource
            state = "FINISHED"
        except KeyboardInterrupt:
            state = "KILLED"
            raise
        finally:
            mlflow.end_run(state)

    def mirror_champion(self, run: Any, model_uri: str, version: int) -> None:
        """Register a model and give it the alias `champion`, unless its version has it.

        Args:
            run: what `run` yielded.
            model_uri: where the model was logged.
            version: of the bundle, which the registered model carries as a tag.
        """
        from mlflow.exceptions import MlflowException

        run.set_tag("atx_version", version)
        client = run.tracking_client
        try:
            known = client.get_model_version_by_alias(MODEL, ALIAS)
            if known.tags.get("atx_version") == str(version):
                return
        except MlflowException:  # there is no champion yet
            if not client.search_registered_models(f"name = '{MODEL}'"):
                client.create_registered_model(MODEL)
        registered = client.create_model_version(
            MODEL,
            model_uri,
            run_id=run.active_run().info.run_id,
            tags={"atx_version": str(version)},
            model_id=model_uri.rpartition("/")[2],
        )
        client.set_registered_model_alias(MODEL, ALIAS, registered.version)

    def run_url(self, experiment_id: str, run_id: str) -> str:
        """Return the address of a run's page."""
        return f"{web_url(read_settings())}/#/experiments/{experiment_id}/runs/{run_id}"


def reach(settings: Settings) -> None:
    """Make sure that MLflow can be used, within seconds.

    Raises:
        AtxError: it does not answer.
    """
    import urllib.error
    import urllib.request

    if not settings.mlflow_host:
        (settings.home / "mlflow").mkdir(parents=True, exist_ok=True)
        return
    url = tracking_uri(settings)
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10):  # noqa: S310  (http is meant)
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise AtxError(
            f"MLflow does not answer at {shown_uri(settings)} "
            f"({reason}): start it, or check MLFLOW_HOST and "
            "MLFLOW_PORT; the last model stays in place"
        ) from error


def _dagster_mlflow(context: dg.AssetExecutionContext, settings: Settings) -> Any:
    with warnings.catch_warnings():
        # It says at every import that it is in beta, which our versions are pinned for.
        warnings.simplefilter("ignore", dg.BetaWarning)
        from dagster_mlflow.resources import MlFlow

        return MlFlow(
            SimpleNamespace(
                # What it logs, that a run of its own is open, nobody asks for.
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


def _make_experiment(settings: Settings) -> None:
    """Make the experiment where its artifacts belong: beside the embedded store."""
    import mlflow

    for noisy in ("mlflow", "mlflow.store.db.utils", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

    mlflow.set_tracking_uri(tracking_uri(settings))
    if mlflow.get_experiment_by_name(EXPERIMENT) is None:
        artifacts = None if settings.mlflow_host else (settings.home / "mlflow/artifacts").as_uri()
        mlflow.create_experiment(EXPERIMENT, artifact_location=artifacts)
