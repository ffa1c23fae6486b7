"""The daily job that prunes old records, and its schedule.

Not here: what is pruned (`automation/pruning.py`, `models/mlflow_pruning.py`). The job does not
touch the data folder, so it need not wait for a run that writes there.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from atx_assets.automation.pruning import ENDED, prune_dagster
from atx_assets.automation.tags import HOUSEKEEPING
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.settings import Settings
from atx_assets.storage.data_folder import DataFolder

#: Well after the nightly run, at 2:00 by default. Even at the same time they do not conflict.
_CRON = "30 4 * * *"

_DESCRIPTION = (
    "Prunes what is older than ATX_KEEP_DAYS (90), every day at 4:30 ({zone}; ATX_TIMEZONE): ended "
    "runs of Dagster with their events and log files, and runs of the embedded MLflow store with "
    "their models. It keeps, whatever their age, the last materialisation, observation and checks "
    "of each asset, what the sensors look back at, and the models that are champion, challenger or "
    "among the versions in the data folder. To quiet it, switch it off on this page (Automation); "
    "it stays off until you switch it on."
)


@dg.op
def prune_runs(context: dg.OpExecutionContext, current_settings: CurrentSettings) -> None:
    """Prune Dagster's runs, with their events and log files."""
    settings = current_settings.read()
    storage = settings.dagster_home / "storage"
    before = _before(settings)
    done = prune_dagster(
        context.instance, settings.dagster_postgres_url, storage, before, context.log
    )
    context.log.info(
        "pruned %s runs from before %s, %s rows that belonged to no run, %s MB of log files",
        *(f"{done.runs:,}", f"{before:%Y-%m-%d}", f"{done.rows:,}", _mb(done.bytes)),
    )
    context.add_output_metadata(
        {"runs": done.runs, "rows": done.rows, "MB of log files": _mb(done.bytes)}
    )


@dg.op
def prune_models(context: dg.OpExecutionContext, current_settings: CurrentSettings) -> None:
    """Prune the runs and models of the embedded MLflow store."""
    from atx_assets.models.bundles import Bundles
    from atx_assets.models.mlflow_pruning import prune_mlflow

    settings = current_settings.read()
    before = _before(settings)
    digests = Bundles(DataFolder(settings.data_dir)).digests()

    def is_over(run_id: str) -> bool:
        run = context.instance.get_run_by_id(run_id)
        return run is None or run.status in ENDED

    done = prune_mlflow(settings, digests, before, is_over)
    context.log.info(
        "pruned %s MLflow runs from before %s, %s registered versions, %s MB of artifacts",
        *(f"{done.runs:,}", f"{before:%Y-%m-%d}", f"{done.versions:,}", _mb(done.bytes)),
    )
    context.add_output_metadata(
        {
            "MLflow runs": done.runs,
            "registered versions": done.versions,
            "MB of artifacts": _mb(done.bytes),
        }
    )


@dg.job(
    name=HOUSEKEEPING,
    description="Prunes runs, events, log files and models that are older than ATX_KEEP_DAYS. It "
    "keeps the last records of each asset, and the models in use.",
)
def housekeeping() -> None:
    """Prune old records; if one half fails, the other still runs."""
    prune_runs()
    prune_models()


def housekeeping_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Return the schedule."""
    zone = settings.automation.timezone
    return dg.ScheduleDefinition(
        name=HOUSEKEEPING,
        job=housekeeping,
        cron_schedule=_CRON,
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=_DESCRIPTION.format(zone=zone),
    )


def _before(settings: Settings) -> datetime:
    return datetime.now(UTC) - timedelta(days=settings.keep_days)


def _mb(size: int) -> float:
    return round(size / 1e6, 1)
