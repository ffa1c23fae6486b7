"""The record of what was seen of labels: a file in the home, and what follows for the source.

Not here: what follows from one extraction to the next (`sources/observed_labels.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError
from atx_assets.resources.checksums import is_damaged
from atx_assets.resources.data_folder import replacing, why_unreadable
from atx_assets.sources.layouts import SourceTable
from atx_assets.sources.observed_labels import (
    State,
    States,
    can_be_observed,
    models_labels,
    observe,
    read_states,
)

if TYPE_CHECKING:
    import psycopg

FILE = "observed_labels.parquet"

_FIELDS = tuple(field.name for field in fields(State))


@dataclass(frozen=True)
class ObservedRecord:
    """The file in a home. `raw_media` writes it, with its own file; whoever looks at labels reads.

    A row a title: `imdb_id`, `media_title` (where the label is a model's), and the attributes of
    `State`.
    """

    home: Path

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.home / FILE

    def read(self) -> States:
        """Return what was seen, by IMDb id; nothing before the first extraction.

        Raises:
            AtxError: the file is damaged, or may not be read.
        """
        return {
            row["imdb_id"]: State(**{name: row[name] for name in _FIELDS}) for row in self._rows()
        }

    def names(self) -> dict[str, str]:
        """Return the titles that were written down, by IMDb id.

        Raises:
            AtxError: see `read`.
        """
        return {row["imdb_id"]: row["media_title"] for row in self._rows() if row["media_title"]}

    def write(self, states: Mapping[str, State], names: Mapping[str, str]) -> None:
        """Replace the file in one step; the same states and names make the same bytes.

        Raises:
            AtxError: it cannot be written.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

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
        with replacing(self.path, "ATX_HOME") as beside:
            pq.write_table(pa.Table.from_pylist(rows, schema), beside, compression="zstd")

    def _rows(self) -> list[dict[str, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            if not self.path.exists():
                return []
            if not is_damaged(self.path):
                with pq.ParquetFile(self.path) as file:
                    rows: list[dict[str, Any]] = file.read().to_pylist()
                    return rows
        except (pa.ArrowException, OSError) as error:
            # Arrow's own errors of a damaged file are some of them, and carry no number.
            if isinstance(error, OSError) and error.errno:
                raise AtxError(f"{self.path} cannot be read: {why_unreadable(error)}") from error
        raise AtxError(
            f"{self.path} is damaged: put back the one of a backup, or move it away, and labels "
            "that the downloader gave to reviewed rows are learned from again"
        )


def observed(
    connection: psycopg.Connection, source: SourceTable, home: Path
) -> tuple[SourceTable, States]:
    """Look at the labels, and return the table with what is known of them; nothing is written.

    Args:
        connection: in the transaction in which the table is read.
        source: the table.
        home: it holds the record of what was seen before.

    Returns:
        The table, with the keys of the reviewed rows whose label is a model's; and what is to be
        recorded once an extraction of this moment is in its place: nothing of a table that cannot
        be observed.

    Raises:
        AtxError: the record is damaged.
    """
    if not can_be_observed(source):
        return source, {}
    states = observe(read_states(connection, source), ObservedRecord(home).read())
    return replace(source, by_model=models_labels(states)), states
