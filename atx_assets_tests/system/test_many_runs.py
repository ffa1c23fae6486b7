"""Many materialisations and runs: what a tick costs then, and what pruning leaves of them.

The materialisations are reported to a real Dagster on PostgreSQL through its own call, and carry
what the real ones tell; the runs with all their events are copies of the rows of real runs
(`benchmarks/history.py`). No clock decides: statements, rows and memory are counted.
"""

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dagster as dg
from sqlalchemy import event
from sqlalchemy.engine import Engine

from atx_assets.automation.decide import decide_films, decide_labels
from atx_assets.automation.results import READ
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.sensors import tick
from atx_assets_tests.builders.scale import times
from benchmarks.history import copy_runs, rows

#: Materialisations, and runs, that are added.
MANY = times(150, 10_000)

SENSORS = {"label_sensor": decide_labels, "film_sensor": decide_films}


@dataclass
class Cost:
    """What was asked of Dagster's storage."""

    statements: int = 0
    rows: int = 0


@contextmanager
def counted() -> Iterator[Cost]:
    """Count what Dagster asks its storage in this process, and the rows of the answers."""
    cost = Cost()

    def note(connection: Any, cursor: Any, *_: Any) -> None:
        cost.statements += 1
        cost.rows += max(cursor.rowcount, 0)

    event.listen(Engine, "after_cursor_execute", note)
    try:
        yield cost
    finally:
        event.remove(Engine, "after_cursor_execute", note)


def looks(records: Any, times: int = 1) -> Cost:
    """Let both sensors tick, and check that they find nothing to do; return what it cost."""
    with counted() as cost:
        for _ in range(times):
            for name, decide in SENSORS.items():
                context = dg.build_sensor_context(records.instance)
                answer = tick(context, CurrentSettings(), name, decide, 2_000_000_000.0)
                assert "the results are up to date" in str(answer.skip_reason.skip_message)
    return cost


@contextmanager
def allocated() -> Iterator[Callable[[], int]]:
    """Yield what tells how many bytes Python has taken within the block and not given back.

    Not the memory of the process: other tests have run in it, and it gives back when it likes.
    """
    tracemalloc.start()
    try:
        yield _held
    finally:
        tracemalloc.stop()


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def read_by_server(records: Any) -> int:
    """The rows that PostgreSQL has read so far, from tables and by indexes."""
    time.sleep(1)  # it counts what a connection has read when that ends
    records.tables.execute("SELECT pg_stat_clear_snapshot()")
    found = records.tables.execute(
        "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))"
        " FROM pg_stat_user_tables"
    ).fetchone()
    return int(found[0])


def rows_of(records: Any, table: str, run: str) -> int:
    """The rows of a run in a table."""
    held = f"SELECT count(*) FROM {table} WHERE run_id = %s"
    found = records.tables.execute(held, (run,)).fetchone()
    return int(found[0])


def test_many_materialisations_leave_ticks_and_memory_as_they_were(lived: Any) -> None:
    records, year = lived
    # As many attempts as a sensor reads, and more.
    copy_runs(records.tables, [year.failed], range(1001, 1031))
    looks(records, 10)
    few = looks(records)
    looks(records, 10)

    fetch = records.instance.fetch_materializations
    made = [fetch(dg.AssetKey(name), limit=1).records[0].asset_materialization for name in READ]
    for _ in range(MANY // len(made)):
        for materialisation in made:
            records.instance.report_runless_asset_event(materialisation)
    copy_runs(records.tables, [year.second, year.failed], range(2001, 2001 + MANY // 2))
    runs = rows(records.tables)["runs"]
    assert runs == MANY + 34

    before = read_by_server(records)
    many = looks(records)
    assert many == few
    # What it reads by an index is some rows a run; the events of a run are some fifty.
    assert read_by_server(records) - before < 10 * runs
    with allocated() as kept:
        looks(records, 15)
        # Ticks that kept what they have seen, 100 kB each, would hold 3 MB by now.
        assert kept() < 1e6

    records.let_pass(100)
    records.prune()
    assert len(records.runs()) == 2 + 20
    for table, without_run in (("event_logs", len(READ)), ("asset_check_executions", 0)):
        once = sum(rows_of(records, table, run) for run in (year.first, year.last))
        attempts = 20 * rows_of(records, table, year.failed)
        assert rows(records.tables)[table] == once + attempts + without_run, table
    orphans = records.tables.execute(
        "SELECT count(*) FROM asset_event_tags t"
        " WHERE NOT EXISTS (SELECT 1 FROM event_logs e WHERE e.id = t.event_id)"
    ).fetchone()
    assert orphans == (0,)
    # It no longer reads more than at the start.
    assert looks(records) == few
