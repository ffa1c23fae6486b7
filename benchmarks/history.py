"""Makes a long Dagster history from a short real one, by copying the rows of real runs.

Runs, their tags, events, tags of events and evaluations of checks are copied in PostgreSQL under
another run id, each run a minute older than the previous one. Asset keys go on naming the real
runs, which stay the newest. Not here: what is measured on it (`ticks.py`, tests of pruning).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg

#: The id of a copy: that of the real run with a number in place of its last twelve digits.
_ID = "left(run_id, 24) || lpad(to_hex(n), 12, '0')"
_AGE = "make_interval(mins => %(first)s::int + n)"
_SERIES = "generate_series(%(from)s::int, %(to)s::int) AS n"

#: By table, the columns but for `id` with what each holds in a copy.
_COPIED: dict[str, dict[str, str]] = {
    "runs": {
        "run_id": _ID,
        "snapshot_id": "snapshot_id",
        "pipeline_name": "pipeline_name",
        "status": "status",
        "run_body": f"replace(run_body, run_id, {_ID})",
        "create_timestamp": f"create_timestamp - {_AGE}",
        "update_timestamp": f"update_timestamp - {_AGE}",
        "start_time": "start_time - 60 * (%(first)s::int + n)",
        "end_time": "end_time - 60 * (%(first)s::int + n)",
    },
    "run_tags": {"run_id": _ID, "key": "key", "value": "value"},
    "event_logs": {
        "run_id": _ID,
        "event": f"replace(event, run_id, {_ID})",
        "dagster_event_type": "dagster_event_type",
        "timestamp": f"timestamp - {_AGE}",
        "step_key": "step_key",
        "asset_key": "asset_key",
    },
    "asset_check_executions": {
        "asset_key": "asset_key",
        "check_name": "check_name",
        "run_id": _ID,
        "execution_status": "execution_status",
        "evaluation_event": f"replace(evaluation_event, run_id, {_ID})",
        "evaluation_event_timestamp": f"evaluation_event_timestamp - {_AGE}",
        "evaluation_event_storage_id": "evaluation_event_storage_id",
        "create_timestamp": f"create_timestamp - {_AGE}",
    },
}

#: A new row has a higher id than every row before it, and ids tell what is latest. So the ids of
#: copies are below zero: older than anything that is real.
_INSERT = """
    INSERT INTO {table} (id, {columns})
    SELECT (SELECT least(min(id), 0) FROM {table}) - row_number() OVER (ORDER BY n, id DESC),
        {values}
    FROM {table}, {series} WHERE run_id = ANY(%(runs)s)
"""

_EVENT_TAGS = """
    INSERT INTO asset_event_tags (event_id, asset_key, key, value, event_timestamp)
    SELECT c.id, t.asset_key, t.key, t.value, c.timestamp
    FROM asset_event_tags t JOIN event_logs e ON e.id = t.event_id
    JOIN event_logs c ON c.dagster_event_type = e.dagster_event_type
        AND c.asset_key = e.asset_key AND c.id < 0 AND left(c.run_id, 24) = left(e.run_id, 24)
    WHERE e.run_id = ANY(%(runs)s) AND NOT EXISTS (
        SELECT 1 FROM asset_event_tags o WHERE o.event_id = c.id)
"""


def copy_runs(
    tables: psycopg.Connection[Any],
    runs: Sequence[str],
    numbers: range,
    days_old: float = 0,
) -> None:
    """Copy each of the real runs once for every number; a number is given only once.

    Args:
        tables: Dagster's database.
        runs: ids of runs that have ended.
        numbers: of the copies; the higher, the older, by a minute each.
        days_old: how much older than the real ones the first of them is.
    """
    values = {
        "runs": list(runs),
        "from": numbers.start,
        "to": numbers.stop - 1,
        "first": int(days_old * 24 * 60),
    }
    with tables.transaction():
        for table, columns in _COPIED.items():
            statement = _INSERT.format(
                table=table,
                columns=", ".join(columns),
                values=", ".join(columns.values()),
                series=_SERIES,
            )
            tables.execute(statement, values)
        tables.execute(_EVENT_TAGS, values)
    tables.execute("ANALYZE")


def rows(tables: psycopg.Connection[Any]) -> dict[str, int]:
    """Count the rows of each of Dagster's tables that has any."""
    named = tables.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    counts = {}
    for (name,) in named.fetchall():
        found = tables.execute(f'SELECT count(*) FROM "{name}"').fetchone()
        if found and found[0]:
            counts[name] = int(found[0])
    return counts
