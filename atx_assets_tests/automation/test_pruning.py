"""What is pruned, on a real PostgreSQL with Dagster's real tables, and what nobody may miss."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickStatus

from atx_assets.automation import pruning
from atx_assets.automation.decide import Seen, decide_films, decide_labels
from atx_assets.automation.observe import SEARCHED, learned_from, look
from atx_assets.automation.pruning import prune_dagster
from atx_assets.automation.results import READ, TRAINED
from atx_assets.settings import read_settings
from benchmarks.history import copy_runs, rows

pytestmark = pytest.mark.slow


def shown(recorded: Any) -> dict[str, Any]:
    """What pages show of the present, asked of Dagster as its UI does."""
    instance = recorded.instance
    keys = instance.all_asset_keys()
    checks = [
        dg.AssetCheckKey(dg.AssetKey(json.loads(asset)), name)
        for asset, name in recorded.tables.execute(
            "SELECT DISTINCT asset_key, check_name FROM asset_check_executions"
        )
    ]
    assert len(keys) >= 10
    assert len(checks) > 5
    found: dict[str, Any] = {}
    for key in keys:
        for fetch in (instance.fetch_materializations, instance.fetch_observations):
            records = fetch(key, limit=1).records
            found[f"{key} {fetch.__name__}"] = [(r.storage_id, r.event_log_entry) for r in records]
    for record in instance.get_asset_records(keys):
        last = record.asset_entry.last_run_id
        found[f"last run {record.asset_entry.asset_key}"] = (last, instance.get_run_by_id(last))
    storage = instance.event_log_storage
    for check, record in storage.get_latest_asset_check_execution_by_key(checks).items():
        run = instance.get_run_by_id(record.run_id)
        assert run is not None
        found[str(check)] = (record.id, record.status, record.event, run.status)
    return found


def seen_by_sensors(recorded: Any) -> list[Any]:
    """All that sensors and schedule decide from, and what they decide; the clock stands still."""
    settings, now = read_settings(), 2_000_000_000.0
    found: list[Any] = [learned_from(recorded.instance, name) for name in (SEARCHED, TRAINED)]
    for sensor, decide in (("label_sensor", decide_labels), ("film_sensor", decide_films)):
        state = look(recorded.instance, settings, sensor, Seen(), now)
        found += [state, decide(state, settings.automation)]
    return found


def test_old_runs_go_and_all_that_is_shown_and_decided_stays_as_it_was(lived: Any) -> None:
    records, year = lived
    copy_runs(records.tables, [year.first, year.second, year.last], range(1, 101))
    assert len(records.runs()) == 304
    before, decided = shown(records), seen_by_sensors(records)
    assert not before[f"{dg.AssetKey(READ[0])} fetch_observations"]
    done = records.prune()
    assert shown(records) == before
    assert seen_by_sensors(records) == decided
    # The first holds search and training, the failed one is an attempt of the sensor's.
    assert records.runs() == {year.first, year.failed, year.last}
    assert done.runs == 301
    for table in ("event_logs", "run_tags", "asset_check_executions"):
        left = {run for (run,) in records.tables.execute(f"SELECT DISTINCT run_id FROM {table}")}
        assert left <= records.runs(), table
    assert records.prune() == pruning.Pruned(0, 0, 0)


def test_runs_that_are_young_or_not_ended_are_left(lived: Any) -> None:
    records, year = lived
    under_way = [
        records.instance.create_run_for_job(_job(), status=status).run_id
        for status in (
            dg.DagsterRunStatus.STARTING,
            dg.DagsterRunStatus.NOT_STARTED,
            dg.DagsterRunStatus.STARTED,
            dg.DagsterRunStatus.CANCELING,
        )
    ]
    ended = records.instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.CANCELED).run_id
    records.let_pass(50)
    runs = records.runs()
    assert records.prune(days=50.1).runs == 1  # `second`, which is 150 days old
    assert records.runs() == runs - {year.second}
    records.prune(days=49.9)
    assert records.runs() == runs - {year.second, ended}
    assert set(under_way) <= records.runs()


def test_no_more_than_the_attempts_that_a_sensor_reads_are_kept(lived: Any) -> None:
    records, year = lived
    copy_runs(records.tables, [year.failed], range(1, 51))
    decided = seen_by_sensors(records)
    records.prune()
    assert seen_by_sensors(records) == decided
    attempts = records.instance.get_runs(
        dg.RunsFilter(tags={"dagster/sensor_name": "label_sensor"})
    )
    assert len(attempts) == 20


def test_log_files_go_with_their_runs_and_ticks(lived: Any) -> None:
    records, year = lived
    ticks = records.storage / "__repository__" / "alert_on_failure"
    ticks.mkdir(parents=True)
    (ticks / "7.err").write_text("{}\n")
    strange = records.storage / "an_asset_of_another_s"
    strange.write_bytes(b"kept")
    logs = records.storage / year.second / "compute_logs"
    assert {file.suffix for file in logs.iterdir()} == {".out", ".err", ".complete"}
    (logs / "more.out").write_bytes(bytes(1000))
    records.let_pass(0.5)
    (ticks / "8.err").write_text("{}\n")
    done = records.prune()
    assert (ticks / "7.err").exists()  # not that old
    records.let_pass(100)
    (ticks / "9.err").write_text("{}\n")
    later = records.prune()
    assert {file.name for file in ticks.iterdir()} == {"9.err"}
    assert not (records.storage / year.second).exists()
    for kept in (year.first, year.failed, year.last):
        assert (records.storage / kept / "compute_logs").is_dir()
    assert strange.exists()
    assert done.bytes + later.bytes >= 1000 + 6


@pytest.mark.parametrize(
    ("storage", "half"), [("event_log_storage", "delete_events"), ("run_storage", "delete_run")]
)
def test_what_a_pruning_that_was_killed_left_half_deleted_goes_next_time(
    lived: Any, monkeypatch: pytest.MonkeyPatch, storage: str, half: str
) -> None:
    """Kept out: Dagster deletes a run first, and its events are then nobody's for ever."""
    records, year = lived
    part = getattr(records.instance, storage)
    deletes = getattr(part, half)
    with monkeypatch.context() as patch:

        def killed_after(run_id: str) -> None:
            deletes(run_id)
            raise KeyboardInterrupt

        patch.setattr(part, half, killed_after)
        with pytest.raises(KeyboardInterrupt):
            records.prune()
    assert not records.instance.get_records_for_run(year.second).records
    before = shown(records)
    records.prune()
    assert year.second not in records.runs()
    assert shown(records) == before
    assert records.tables.execute(
        "SELECT (SELECT count(*) FROM event_logs WHERE run_id NOT IN (SELECT run_id FROM runs)),"
        " (SELECT count(*) FROM asset_event_tags WHERE event_id NOT IN (SELECT id FROM event_logs))"
    ).fetchone() == (0, 0)


def test_what_no_run_holds_goes_too_but_for_the_latest_of_each_kind(lived: Any) -> None:
    """Freshness, and what a person reports in the UI."""
    records, _ = lived
    key = dg.AssetKey("review_queue")
    for number in range(3):
        records.instance.report_runless_asset_event(
            dg.AssetMaterialization(key, metadata={"number": number})
        )
        records.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=key, check_name="by_hand", passed=True)
        )
    records.let_pass(100)
    before = shown_but_runs(records)
    assert records.prune().rows >= 2 + 2
    assert shown_but_runs(records) == before
    counts = records.tables.execute(
        "SELECT (SELECT count(*) FROM event_logs WHERE run_id = ''"
        " AND dagster_event_type = 'ASSET_MATERIALIZATION'),"
        " (SELECT count(*) FROM asset_check_executions WHERE run_id = '')"
    ).fetchone()
    assert counts == (1, 1)


def test_dagster_itself_lets_every_kind_of_tick_go(lived: Any) -> None:
    """Kept out: ticks that a crash left open, for ever; they are not among Dagster's defaults."""
    records, _ = lived
    for kind in (InstigatorType.SENSOR, InstigatorType.SCHEDULE):
        days = records.instance.get_tick_retention_settings(kind)
        assert set(days) == set(TickStatus)
        assert all(1 <= kept <= 90 for kept in days.values()), days


def shown_but_runs(recorded: Any) -> dict[str, Any]:
    found = {}
    for key in recorded.instance.all_asset_keys():
        records = recorded.instance.fetch_materializations(key, limit=1).records
        found[str(key)] = [(r.storage_id, r.event_log_entry) for r in records]
    check = dg.AssetCheckKey(dg.AssetKey("review_queue"), "by_hand")
    storage = recorded.instance.event_log_storage
    found["check"] = storage.get_latest_asset_check_execution_by_key([check])[check].id
    return found


def test_no_statement_and_no_look_takes_more_than_a_batch(
    lived: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept out: a first pruning of years that reads all runs at once, or locks for minutes."""
    records, year = lived
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(pruning, "_LOG_EVERY", 10)
    monkeypatch.setattr(pruning, "RUNS", 10)
    monkeypatch.setattr(pruning, "ROWS", 50)
    copy_runs(records.tables, [year.second], range(1, 61))
    looked: list[int] = []
    asked = records.instance.get_run_records
    monkeypatch.setattr(
        records.instance, "get_run_records", lambda *a, **k: _noted(looked, asked(*a, **k))
    )
    before = shown(records)
    records.prune()
    assert shown(records) == before
    assert records.runs() == {year.first, year.failed, year.last}
    assert max(looked) <= 10 + 3
    # The log says how far it is, and not of each run.
    assert [m for m in caplog.messages if "so far" in m] == [
        f"{runs} runs pruned so far" for runs in (10, 20, 30, 40, 50, 60)
    ]
    left = records.tables.execute(
        "SELECT count(*) FROM event_logs WHERE run_id NOT IN (SELECT run_id FROM runs)"
    ).fetchone()
    assert left == (0,)


def _noted(looked: list[int], found: Any) -> Any:
    looked.append(len(found))
    return found


def test_storage_that_is_gone_fails_and_deletes_nothing(lived: Any) -> None:
    records, _ = lived
    runs = records.runs()
    nowhere = "postgresql+psycopg2://x@127.0.0.1:9/nothing"
    with pytest.raises(psycopg.OperationalError):
        prune_dagster(
            records.instance, nowhere, records.storage, datetime.now(UTC), logging.getLogger()
        )
    assert records.runs() == runs


def test_many_pruned_runs_take_no_more_room_than_a_few(lived: Any) -> None:
    """PostgreSQL uses again what pruning frees: autovacuum is on, as it is under `atx up`."""
    records, year = lived
    for name in ("autovacuum", "track_counts"):
        assert records.tables.execute(f"SHOW {name}").fetchone() == ("on",)
    sizes = []
    for cycle in range(8):
        numbers = range(1 + 25 * cycle, 26 + 25 * cycle)
        copy_runs(records.tables, [year.first], numbers)
        records.prune()
        # In life a minute passes, and autovacuum does this.
        records.tables.execute("VACUUM")
        size = records.tables.execute("SELECT pg_database_size(current_database())").fetchone()
        sizes.append(size[0])
    assert sizes[-1] < sizes[2] * 1.2, sizes
    assert rows(records.tables)["runs"] == 3


def _job() -> Any:
    @dg.op
    def nothing() -> None:
        pass

    @dg.job
    def one() -> None:
        nothing()

    return one


def test_each_kind_of_what_is_shown_keeps_its_run_by_itself(lived: Any) -> None:
    """A run that made an asset, a later one that was to, an observation, and checks alike."""
    records, _ = lived
    broken = False

    def fail_if_broken() -> None:
        if broken:
            raise ValueError("broken")

    @dg.asset
    def apart() -> None:
        fail_if_broken()

    @dg.asset_check(asset=apart)
    def is_well() -> dg.AssetCheckResult:
        fail_if_broken()
        return dg.AssetCheckResult(passed=True)

    @dg.op
    def observe(context: dg.OpExecutionContext) -> None:
        context.log_event(dg.AssetObservation(["atp", "media"]))

    @dg.job
    def observing() -> None:
        observe()

    making = dg.define_asset_job("making", dg.AssetSelection.assets(apart).without_checks())
    checking = dg.define_asset_job("checking", dg.AssetSelection.checks(is_well))
    defs = dg.Definitions([apart], asset_checks=[is_well], jobs=[making, checking, observing])

    def run(job: str) -> str:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        done = defs.resolve_job_def(job).execute_in_process(
            instance=records.instance, raise_on_error=False, run_config=quiet
        )
        return str(done.run_id)

    older = {run(job) for job in ("making", "checking", "observing")}
    last = {run(job) for job in ("making", "checking", "observing")}
    broken = True
    older |= {run(job) for job in ("making", "checking")}
    last |= {run(job) for job in ("making", "checking")}
    records.let_pass(100)
    before = shown(records)
    records.prune()
    assert shown(records) == before
    assert records.runs() & (older | last) == last
