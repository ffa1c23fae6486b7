"""The record of observed labels: a file in the home, and what it means for the source.

Not here: comparing one extraction with the next (`sources/observed_labels.py`).
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq

from atx_assets.errors import DamagedError, FileError, MissingError
from atx_assets.schemas import IMDB_ID
from atx_assets.sources.layouts import SourceTable
from atx_assets.sources.models_labels import models_labels_in
from atx_assets.sources.observed_labels import (
    CHANGED,
    State,
    States,
    can_be_observed,
    first_seen,
    models_labels,
    observe,
    read_states,
)
from atx_assets.storage.checksums import is_damaged
from atx_assets.storage.data_folder import DataFolder
from atx_assets.storage.disk_errors import why_unreadable
from atx_assets.storage.replacing import replacing

FILE = "observed_labels.parquet"

_FIELDS = tuple(field.name for field in fields(State))
_EXTRACTED = ("imdb_id", "label", "human_labeled", "reviewed", "created_at")
_SAID = {"would_watch": True, "would_not_watch": False}

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ObservedRecord:
    """The file in a home. `raw_media` writes it with its own file; all others only read it.

    One row per title: `imdb_id`, `media_title` (if the label is a model's), and the attributes of
    `State`.
    """

    home: Path

    @property
    def path(self) -> Path:
        """The file's path."""
        return self.home / FILE

    def read(self) -> States | None:
        """Return what was seen, by IMDb id; None if there is no record.

        Raises:
            AtxError: the file is damaged, or may not be read.
        """
        rows = self._rows()
        if rows is None:
            return None
        return {row["imdb_id"]: State(**{name: row[name] for name in _FIELDS}) for row in rows}

    def names(self) -> dict[str, str]:
        """Return the recorded titles, by IMDb id.

        Raises:
            AtxError: see `read`.
        """
        return {
            row["imdb_id"]: row["media_title"] for row in self._rows() or () if row["media_title"]
        }

    def write(self, states: Mapping[str, State], names: Mapping[str, str]) -> None:
        """Replace the file in one step; the same states and names give the same bytes.

        Raises:
            AtxError: it cannot be written.
        """
        schema = pa.schema(
            {
                "imdb_id": pa.string(),
                "media_title": pa.string(),
                "label": pa.bool_(),
                "human": pa.bool_(),
                "reviewed": pa.bool_(),
                "created": pa.int64(),
                "reason": pa.string(),
                "given": pa.bool_(),
                "was": pa.bool_(),
                "last": pa.bool_(),
                "present": pa.bool_(),
            }
        )
        rows = [
            {
                "imdb_id": key,
                "media_title": names.get(key) if state.by_model else None,
                **asdict(state),
            }
            for key, state in sorted(states.items())
        ]
        with replacing(self.path, "ATX_HOME") as new_file:
            pq.write_table(pa.Table.from_pylist(rows, schema), new_file, compression="zstd")

    def _rows(self) -> list[dict[str, Any]] | None:
        try:
            if not self.path.exists():
                return None
            if not is_damaged(self.path):
                with pq.ParquetFile(self.path) as file:
                    rows: list[dict[str, Any]] = file.read().to_pylist()
                    return rows
        except (pa.ArrowException, OSError) as error:
            # Arrow's own errors about damaged files are among them, without an errno.
            if isinstance(error, OSError) and error.errno:
                raise FileError(f"{self.path} cannot be read: {why_unreadable(error)}") from error
        raise DamagedError(
            f"{self.path} is damaged: restore it from a backup, or move it away: then atx "
            "uses what the last extraction knew"
        )


def observed(
    connection: psycopg.Connection, source: SourceTable, home: Path, folder: Path
) -> tuple[SourceTable, States]:
    """Observe the labels, and return the table with what is known about them; writes nothing.

    Args:
        connection: in the transaction in which the table is read.
        source: the table.
        home: it holds the record of what was seen before.
        folder: the data folder. If the record is gone, the last extraction there replaces it.

    Returns:
        The table, with the keys of the reviewed rows whose label is a model's; and what to
        record once an extraction of this moment is in place: nothing if the table cannot be
        observed.

    Raises:
        AtxError: the record is damaged; or it is gone, and the extracted rows cannot be read.
    """
    if not can_be_observed(source):
        return source, {}
    before = ObservedRecord(home).read()
    if before is None:
        before = _as_extracted(folder)
    states = observe(read_states(connection, source), before)
    return replace(source, by_model=models_labels(states)), states


def _as_extracted(folder: Path) -> States:
    """Return what the last extraction knew of the rows; nothing if there is none.

    Its file says which labels are a model's, but not which labels were there before.
    """
    files = DataFolder(folder)
    if not files.path("raw_media").exists():
        return {}
    try:
        rows = files.read_table("raw_media", _EXTRACTED)
    except (MissingError, DamagedError) as error:
        # The caller makes that extraction anew.
        _logger.warning("the record of observed labels is gone, and so are the rows: %s", error)
        return {}
    if set(rows.column_names) != set(_EXTRACTED):
        return {}  # it has the other layout
    rows = rows.set_column(
        rows.schema.get_field_index("created_at"), "created_at", rows["created_at"].cast(pa.int64())
    )
    # As in `read_states`: without malformed ids, and without those of two rows.
    often = Counter(rows["imdb_id"].to_pylist())
    given = models_labels_in(rows)
    states = {}
    for row in rows.to_pylist():
        key, label = row["imdb_id"], _SAID.get(row["label"])
        if key is None or often[key] > 1 or not re.fullmatch(IMDB_ID, key):
            continue
        said = bool(row["human_labeled"]), bool(row["reviewed"]), row["created_at"]
        state = first_seen(State(label, *said))
        states[key] = replace(state, reason=CHANGED, given=label) if key in given else state
    return states
