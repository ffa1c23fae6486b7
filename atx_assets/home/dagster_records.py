"""Reads Dagster's records from their tables, without Dagster, for `atx doctor`.

Importing Dagster and opening its storage takes longer than all other checks. Not here: what the
records mean (`automation/results.py`, `automation/dead_runs.py`), anything that writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atx_assets.automation.results import Made
from atx_assets.home.dagster_storage import connect_storage
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import psycopg

_LATEST = """
SELECT id, run_id, event FROM event_logs
WHERE dagster_event_type = 'ASSET_MATERIALIZATION' AND asset_key = %s ORDER BY id DESC LIMIT 1
"""
_DETAILS = "SELECT asset_details FROM asset_keys WHERE asset_key = %s"
_UNDER_WAY = """
SELECT run_id, run_body FROM runs WHERE status IN ('STARTED', 'CANCELING') ORDER BY id DESC
"""
_BEGAN = """
SELECT event FROM event_logs
WHERE dagster_event_type = 'PIPELINE_START' AND run_id = %s ORDER BY id LIMIT 1
"""


@dataclass(frozen=True)
class UnderWay:
    """A run that Dagster believes to be running, with the process and time of its start event."""

    run_id: str
    tags: Mapping[str, str]
    began: tuple[int, float] | None


class DagsterRecords:
    """The records of one storage, whose tables are up to date."""

    def __init__(self, connection: psycopg.Connection) -> None:
        """Read over an open connection, which the caller closes."""
        self._connection = connection

    def latest(self, asset: str) -> Made | None:
        """Return the last materialisation of an asset; None if there is none since a wipe."""
        key = json.dumps([asset])
        row = self._connection.execute(_LATEST, [key]).fetchone()
        if row is None:
            return None
        number, run_id, event = row[0], row[1], json.loads(row[2])
        details = self._connection.execute(_DETAILS, [key]).fetchone()
        wiped = json.loads(details[0])["last_wipe_timestamp"] if details and details[0] else None
        if wiped and event["timestamp"] <= wiped:
            return None
        made = event["dagster_event"]["event_specific_data"]["materialization"]
        return Made(number, run_id, event["timestamp"], _own_texts(made["metadata_entries"]))

    def under_way(self) -> Iterator[UnderWay]:
        """Yield the runs that have started and not ended, the newest first."""
        for run_id, body in self._connection.execute(_UNDER_WAY).fetchall():
            row = self._connection.execute(_BEGAN, [run_id]).fetchone()
            event = json.loads(row[0]) if row else None
            pid = event["dagster_event"]["pid"] if event else None
            began = (pid, event["timestamp"]) if event and pid is not None else None
            yield UnderWay(run_id, json.loads(body)["tags"], began)


@contextmanager
def dagster_records(settings: Settings) -> Iterator[DagsterRecords]:
    """Yield the records in Dagster's storage."""
    with connect_storage(settings) as connection:
        yield DagsterRecords(connection)


def _own_texts(entries: list[dict[str, Any]]) -> dict[str, str]:
    """Return the texts of atx's own metadata, by label."""
    return {
        entry["label"]: str(entry["entry_data"].get("text", ""))
        for entry in entries
        if entry["label"].startswith("atx/")
    }
