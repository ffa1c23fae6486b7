"""A library whose labels change while a real Dagster instance keeps the records."""

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, astuple, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import StepMaterializationData
from dagster._core.execution.api import execute_run
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.test_utils import in_process_test_workspace
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

from atx_assets.automation.decide import Decision, State, decide_films, decide_labels
from atx_assets.automation.observe import results_of
from atx_assets.automation.pruning import Pruned, prune_dagster
from atx_assets.definitions import build_defs
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.sensors import alert_on_failure, heartbeat_on_success, tick
from atx_assets.settings import ROOT, Automation
from atx_assets.sources.read.database import connect
from atx_assets_tests.builders.once import made_once
from atx_assets_tests.builders.postgres import (
    dump_database,
    new_database,
    restore_database,
    storage_url,
)
from atx_assets_tests.builders.workplace import REPORT, copy_home

_log = logging.getLogger(__name__)

#: Nobody listens there: a run that trains fails for want of MLflow, within a moment.
NO_MLFLOW = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": "9"}

#: MLflow has no part in what sensors see.
MLFLOW_OFF = {"ATX_MLFLOW": "off"}

SENSORS: dict[str, tuple[str, Callable[[State, Automation], Decision]]] = {
    "label_sensor": ("refresh", decide_labels),
    "film_sensor": ("score", decide_films),
}


@dataclass
class Living:
    """A workplace with its instance, its clock, and the cursor of each sensor.

    The clock is ours: a tick is told the time, so that a minute passes at once. Runs take real
    time, and the clock never falls behind it.
    """

    place: Any
    instance: dg.DagsterInstance
    connection: psycopg.Connection
    now: float = field(default_factory=time.time)
    cursors: dict[str, str | None] = field(default_factory=dict)

    def passes(self, seconds: float) -> None:
        self.now = max(self.now, time.time()) + seconds

    def passes_since_last_run(self, seconds: float) -> None:
        """Put the clock to a time after the end of the last run, as Dagster recorded it."""
        self.now = self.instance.get_run_records(limit=1)[0].end_time + seconds

    def tick(
        self,
        sensor: str = "label_sensor",
        wait: Callable[[float], float] | None = None,
        **settings: str,
    ) -> dg.RunRequest | str:
        """Let a sensor look once: the run that it asks for, or why it asks for none.

        Twice, where `wait` is given and little of the quiet is wanting.
        """
        context = dg.build_sensor_context(self.instance, cursor=self.cursors.get(sensor))
        with self.place.environment(**settings):
            result = tick(context, CurrentSettings(), sensor, SENSORS[sensor][1], self.now, wait)
        self.cursors[sensor] = result.cursor
        if result.run_requests:
            return result.run_requests[0]
        return str(result.skip_reason.skip_message)

    def ticks(self, sensor: str = "label_sensor", seconds: int = 60) -> dg.RunRequest | str:
        """Tick every five seconds until a run is asked for, or the time is over."""
        answer: dg.RunRequest | str = ""
        for _ in range(0, seconds, 5):
            if isinstance(answer := self.tick(sensor), dg.RunRequest):
                return answer
            self.passes(5)
        return answer

    def start(
        self,
        request: dg.RunRequest,
        sensor: str = "label_sensor",
        *,
        fails: bool = False,
        whole: bool = False,
    ) -> bool:
        """Do as the daemon does: run it, unless a run of its key is there; whether it ended well.

        A run that fails does so when it reaches for MLflow, having read the database. Of the
        report, which takes as long as all else, the record alone is made, unless it is `whole`.
        """
        tags = {**request.tags, "dagster/run_key": request.run_key, "dagster/sensor_name": sensor}
        known = self.instance.get_runs(dg.RunsFilter(tags={"dagster/run_key": request.run_key}))
        assert not known, "Dagster would not start a run of this key again"
        result = self.place.run(
            SENSORS[sensor][0],
            self.instance,
            tags,
            without=() if whole else [REPORT],
            **(NO_MLFLOW if fails else MLFLOW_OFF),
        )
        if result.success and not whole:
            self._record_report(result)
        self.passes(0)
        return bool(result.success)

    def _record_report(self, result: dg.ExecuteInProcessResult) -> None:
        """Record the report as made by a run, of what the run's review queue was made from."""
        (queue,) = result.asset_materializations_for_node("review_queue")
        made = dg.AssetMaterialization(REPORT, metadata=queue.metadata)
        self.instance.report_dagster_event(
            dg.DagsterEvent(
                dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                job_name=result.job_def.name,
                event_specific_data=StepMaterializationData(made),
            ),
            result.run_id,
        )

    def run(
        self, job: str, tags: dict[str, str] | None = None, **settings: str
    ) -> dg.ExecuteInProcessResult:
        """Run a job but for the report, which takes as long as all else; sensors miss it then."""
        return self.place.run(job, self.instance, tags, without=[REPORT], **settings)

    def reexecute(self, run_id: str, **settings: str) -> dg.DagsterRun:
        """Do as "Re-execute" in the UI does, from failure; return the run, ended."""
        parent = self.instance.get_run_by_id(run_id)
        assert parent
        origin = LoadableTargetOrigin(module_name="atx_assets.definitions", attribute="defs")
        with (
            self.place.environment(**settings),
            in_process_test_workspace(self.instance, origin) as workspace,
        ):
            (location,) = workspace.code_locations
            (repository,) = location.get_repositories().values()
            job = repository.get_full_job(parent.job_name)
            only = job.get_subset_selector(parent.asset_selection, parent.asset_check_selection)
            again = self.instance.create_reexecuted_run(
                request_context=workspace,
                parent_run=parent,
                code_location=location,
                remote_job=location.get_job(only),
                strategy=ReexecutionStrategy.FROM_FAILURE,
                use_parent_run_tags=True,
            )
            made = build_defs().resolve_job_def(parent.job_name)
            execute_run(
                InMemoryJob(made.get_subset(asset_selection=parent.asset_selection)),
                again,
                self.instance,
            )
        found = self.instance.get_run_by_id(again.run_id)
        assert found
        return found

    def follows(self, sensor: str = "label_sensor") -> str:
        """Tick and run until the sensor has nothing to do; say why."""
        while isinstance(answer := self.ticks(sensor), dg.RunRequest):
            assert self.start(answer, sensor)
        return answer

    def runs(self, job: str = "refresh") -> Sequence[dg.DagsterRun]:
        return self.instance.get_runs(dg.RunsFilter(job_name=job))

    def label(self, title: str, status: str, reason: str | None = None) -> None:
        self.connection.execute(
            "UPDATE atp.media SET rejection_status = %s::atp.rejection_status,"
            " rejection_reason = %s WHERE imdb_id = %s",
            (status, reason, title),
        )

    def some_titles(self, number: int, status: str = "rejected") -> list[str]:
        """Titles of one release each."""
        rows = self.connection.execute(
            "SELECT imdb_id FROM atp.media WHERE imdb_id IS NOT NULL GROUP BY 1"
            " HAVING count(*) = 1 AND min(rejection_status)::text = %s ORDER BY 1 LIMIT %s",
            (status, number),
        )
        return [title for (title,) in rows]

    def alerts(self) -> str:
        """The alerts that were raised, as they are recorded."""
        file = Path(self.place.home) / "alerts.json"
        return file.read_text() if file.exists() else ""


@pytest.fixture
def living(copied: Any) -> Iterator[Living]:
    """A library with results that are up to date."""
    with copied.instance() as instance, copied.connect() as connection:
        connection.autocommit = True
        assert results_of(instance) is not None
        yield Living(copied, instance, connection)


def let_sensors_see(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Let the sensors look at the end of a run, as the daemon does; whether it ended well."""
    run = instance.get_run_by_id(run_id)
    assert run
    well = run.is_success
    kind = dg.DagsterEventType.RUN_SUCCESS if well else dg.DagsterEventType.RUN_FAILURE
    (record,) = instance.get_records_for_run(run_id, of_type=kind).records
    event = record.event_log_entry.dagster_event
    sensor = heartbeat_on_success if well else alert_on_failure
    assert isinstance(sensor, dg.SensorDefinition)
    assert event
    context = dg.build_run_status_sensor_context(
        sensor_name=sensor.name,
        dagster_event=event,
        dagster_instance=instance,
        dagster_run=run,
        resources={"current_settings": CurrentSettings()},
    )
    sensor(context if well else context.for_run_failure())
    return well


@dataclass
class Recorded:
    """A workplace whose Dagster keeps its records in PostgreSQL, as in life, and their tables."""

    place: Any
    instance: dg.DagsterInstance
    tables: psycopg.Connection
    url: str

    @property
    def storage(self) -> Path:
        return Path(self.place.home) / "dagster" / "storage"

    def run(self, job: str, tags: dict[str, str] | None = None, **settings: str) -> str:
        """Run a job for real, whether it ends well or not; return its id."""
        result = self.place.run(job, self.instance, tags, DAGSTER_POSTGRES_URL=self.url, **settings)
        return str(result.run_id)

    def runs(self) -> set[str]:
        return {run.run_id for run in self.instance.get_runs()}

    def let_pass(self, days: float) -> None:
        """Make all that is recorded so many days older, and the log files too."""
        moved = {
            "runs": ("create_timestamp", "update_timestamp"),
            "event_logs": ("timestamp",),
            "asset_event_tags": ("event_timestamp",),
            "asset_check_executions": ("create_timestamp", "evaluation_event_timestamp"),
            "job_ticks": ("timestamp",),
        }
        for table, columns in moved.items():
            for column in columns:
                self.tables.execute(
                    f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)",
                    (days * 86_400,),
                )
        for path in self.storage.rglob("*"):
            at = path.stat().st_mtime - days * 86_400
            os.utime(path, (at, at))

    def prune(self, days: float = 90) -> Pruned:
        before = datetime.now(UTC) - timedelta(days=days)
        return prune_dagster(self.instance, self.url, self.storage, before, _log)


@contextmanager
def _recorded(place: Any, name: str) -> Iterator[Recorded]:
    """Open the records of a workplace, in a database beside that of its library."""
    database = replace(place.database, name=name)
    url = storage_url(database, name)
    folder = place.home / "dagster"
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", folder)
    with (
        place.environment(DAGSTER_POSTGRES_URL=url),
        dg.DagsterInstance.from_config(str(folder)) as instance,
        connect(database, statement_timeout=120) as tables,
    ):
        tables.autocommit = True
        yield Recorded(place, instance, tables, url)


@pytest.fixture(scope="session")
def no_runs(postgres: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of a database with Dagster's tables and no run in them, to be copied."""
    postgres.ensure_database(_NO_RUNS)
    folder = tmp_path_factory.mktemp("no-runs")
    shutil.copy(ROOT / "dagster.yaml", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_POSTGRES_URL", storage_url(postgres, _NO_RUNS))
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            assert instance.get_runs_count() == 0
    return _NO_RUNS


_NO_RUNS = "no_runs"


@dataclass(frozen=True)
class Year:
    """What was run for real in the records of `lived`, in this order; the first made everything."""

    first: str
    second: str
    failed: str
    last: str


@pytest.fixture(scope="session")
def recorded_once(
    finished: Any, postgres: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Year]:
    """A library with results, made by real runs of which PostgreSQL has the records."""

    def make(folder: Path) -> None:
        with new_database(postgres) as records:
            home = folder / "home"
            ours = shutil.ignore_patterns("records", "mlflow")
            shutil.copytree(finished.home, home, ignore=ours)
            with _recorded(replace(finished, home=home), records.name) as recorded:
                year = Year(
                    recorded.run("full_rebuild", ATX_SEARCH="off"),
                    recorded.run("score"),
                    recorded.run("refresh", BY_LABEL_SENSOR, **NO_MLFLOW),
                    recorded.run("score"),
                )
                runs = [recorded.instance.get_run_by_id(run) for run in astuple(year)]
                statuses = [run.status.value for run in runs if run]
                assert statuses == ["SUCCESS", "SUCCESS", "FAILURE", "SUCCESS"]
            dump_database(records, folder / "records.dump")
            (folder / "year.json").write_text(json.dumps(asdict(year)))

    made = made_once("recorded", make)
    postgres.ensure_database(_RECORDED)
    restore_database(made / "records.dump", replace(finished.database, name=_RECORDED))
    place = replace(finished, home=made / "home")
    return place, Year(**json.loads((made / "year.json").read_text()))


@pytest.fixture
def lived(
    recorded_once: tuple[Any, Year], postgres: Any, tmp_path: Path
) -> Iterator[tuple[Recorded, Year]]:
    """Records of a test's own, in which all is a hundred days old; the library is for reading."""
    made, year = recorded_once
    place = replace(made, home=tmp_path / "home")
    copy_home(made.home, place.home)
    with (
        new_database(postgres, template=_RECORDED) as database,
        _recorded(place, database.name) as recorded,
    ):
        recorded.let_pass(100)
        yield recorded, year


_RECORDED = "recorded"

#: An attempt of the sensor's, as its run is tagged.
BY_LABEL_SENSOR = {
    "dagster/sensor_name": "label_sensor",
    "dagster/run_key": "750-a@9>751-b&1500-c#1",
}
