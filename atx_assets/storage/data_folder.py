"""The files in the data folder: where each is, what it was made from, reading and writing them.

Not here: their content, who may write (`writer_lock.py`), the resource that gives them to assets
(`defs/resources/files.py`). Knows no Dagster.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError, DamagedError, FileError, MissingError
from atx_assets.schemas import EARLIER_TASKS
from atx_assets.storage.checksums import is_damaged, made_from, sum_of
from atx_assets.storage.disk_errors import why_unreadable, writable
from atx_assets.storage.parts import parts_of, with_parts
from atx_assets.storage.replacing import replacing

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

#: The file of each asset, by the asset's name.
FILES = {
    "raw_media": "media.parquet",
    "quarantine": "quarantine.parquet",
    "titles": "titles.parquet",
    "feature_encoding": "feature_encoding.json",
    "training_table": "binomial_classifier_training_data.parquet",
    "hyperparameters": "grid_search_results.parquet",
    "tuned_classifier": "binomial_classifier.ubj",
    "scored_results": "binomial_classifier_results.parquet",
    "false_positives": "false_positives.json",
    "false_negatives": "false_negatives.json",
    "review_queue": "review_queue.json",
    "analysis_report": "report.html",
}

#: Rows that are read and written in one step; reading parts takes memory for this many.
ROWS_A_GROUP = 131_072

#: How to rebuild the chain of files if two parts of it do not belong together.
REBUILD = "run `atx run --job refresh`"


#: How the name of a folder of scratch ends. A backup leaves out what ends in .new.
SCRATCH = ".scratch.new"


def damaged(path: Path, asset: str) -> str:
    """Say that a file of an asset is damaged, and how to make it again."""
    return f"{path} is damaged: materialise {asset} again (`atx run --select key:{asset}`)"


class DataFolder:
    """The folder that every asset reads from and writes to, and most commands read."""

    def __init__(self, folder: Path) -> None:
        """Set the folder; nothing is touched yet."""
        self._folder = folder

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self._folder

    def path(self, asset: str) -> Path:
        """Return the path of an asset's file."""
        return self.folder / FILES[asset]

    @contextmanager
    def replacing(self, path: Path, made_from: Mapping[str, str] | None = None) -> Iterator[Path]:
        """Yield a path beside `path` to write to, see `replacing`."""
        with replacing(path, "ATX_DATA_DIR", made_from) as new_file:
            yield new_file

    def write_table(
        self, asset: str, table: pa.Table, made_from: Mapping[str, str] | None = None
    ) -> Path:
        """Write an asset's table as parquet; the same rows give the same bytes.

        Args:
            asset: its name.
            table: the rows.
            made_from: the fingerprints of what they were made from (`fingerprints`).
        """
        with self.writing_table(asset, table.schema, made_from) as writer:
            writer.write_table(table, ROWS_A_GROUP)
        return self.path(asset)

    @contextmanager
    def writing_table(
        self, asset: str, schema: pa.Schema, made_from: Mapping[str, str] | None = None
    ) -> Iterator[pq.ParquetWriter]:
        """Yield a writer for an asset's table, part by part; see `write_table`."""
        import pyarrow.parquet as pq

        carried = with_parts(schema, made_from or {})
        with (
            self.replacing(self.path(asset)) as new_file,
            pq.ParquetWriter(new_file, carried, compression="zstd") as writer,
        ):
            yield writer

    @contextmanager
    def scratch(self, asset: str) -> Iterator[Path]:
        """Yield the path of a folder for what does not fit in memory.

        Whoever needs it makes it, and it is removed when the block ends. It is on the disk of the
        data folder: the system's temporary folder is often in memory.
        """
        folder = self.folder / f".{asset}{SCRATCH}"
        with writable(folder):
            shutil.rmtree(folder, ignore_errors=True)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def write_text(self, asset: str, text: str, made_from: Mapping[str, str] | None = None) -> Path:
        """Write an asset's text in UTF-8; see `write_table`."""
        path = self.path(asset)
        with self.replacing(path, made_from) as new_file:
            new_file.write_text(text, encoding="utf-8")
        return path

    def write_records(
        self,
        asset: str,
        records: list[dict[str, Any]],
        made_from: Mapping[str, str] | None = None,
    ) -> Path:
        """Write an asset's records as JSON that a person can read; see `write_table`."""
        text = json.dumps(records, indent=2, ensure_ascii=False) + "\n"
        return self.write_text(asset, text, made_from)

    def fingerprints(self, *assets: str) -> dict[str, str]:
        """Return the fingerprint of each asset's file, by the asset's name.

        Raises:
            MissingError: a file is missing.
        """
        found = {}
        for asset in assets:
            try:
                found[asset] = sum_of(self.path(asset))
            except FileNotFoundError as error:
                raise self._missing(asset) from error
            except OSError as error:
                raise _unreadable(self.path(asset), error) from error
        return found

    def made_from(self, asset: str) -> dict[str, str]:
        """Return the fingerprints of what an asset's file was made from, by name.

        A table holds them itself; for other files they are in the file of sums beside it.

        Raises:
            MissingError: the file is missing.
            DamagedError: it is not as it was written.
            FileError: it cannot be read.
        """
        if self.path(asset).suffix == ".parquet":
            return parts_of(self.read_table(asset, ()))
        path = self._whole(asset)
        try:
            return made_from(path)
        except OSError as error:
            raise _unreadable(path, error) from error

    def require(self, asset: str, *parts: str) -> None:
        """Require that an asset's file was made from the current files.

        Code that joins two parts of a chain calls this first: joined by name alone, an encoding
        could be used with a table that was made with another one.

        Args:
            asset: whose file it is.
            parts: the assets that it was made from.

        Raises:
            AtxError: it was made from another file of one of them, or does not say from which.
        """
        said = self.made_from(asset)
        for part, now in self.fingerprints(*parts).items():
            if part not in said:
                raise AtxError(
                    f"{FILES[asset]} does not say which {part} it was made from: an earlier atx "
                    f"made it; {REBUILD}"
                )
            if said[part] != now:
                raise AtxError(
                    f"{FILES[asset]} was made from another {part} than the current {FILES[part]}: "
                    f"{REBUILD}"
                )

    def read_table(self, asset: str, columns: Collection[str] | None = None) -> pa.Table:
        """Read an asset's table, all columns or only the named ones.

        Raises:
            MissingError: it is missing.
            DamagedError: it is not as it was written.
            FileError: it cannot be read.
        """
        with self._table(asset) as file:
            if columns is None:
                return file.read()
            wanted = _there(file, columns)
            # Select by name again: "a" also reads a column "a.b" of somebody's table.
            return file.read(columns=wanted).select(wanted)

    def read_parts(self, asset: str, columns: Collection[str] | None = None) -> Iterator[pa.Table]:
        """Read an asset's table, all columns or only the named ones, one row group at a time.

        There is at least one part, which may be empty.

        Raises:
            MissingError, DamagedError, FileError: see `read_table`.
        """
        with self._table(asset) as file:
            wanted = file.schema_arrow.names if columns is None else _there(file, columns)
            if not file.num_row_groups:
                yield file.schema_arrow.empty_table().select(wanted)
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=wanted).select(wanted)

    def read_text(self, asset: str) -> str:
        """Read an asset's text.

        Raises:
            MissingError: it is missing.
            DamagedError: it is not as it was written.
            FileError: it cannot be read.
        """
        try:
            return self._whole(asset).read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise self._missing(asset) from error
        except UnicodeDecodeError as error:
            raise self._damaged(asset) from error

    def read_records(self, asset: str) -> list[dict[str, Any]]:
        """Read an asset's records, with today's names for the tasks of an earlier review queue.

        Raises:
            MissingError, DamagedError, FileError: see `read_text`.
        """
        try:
            hook = _rename_task if asset == "review_queue" else None
            records: list[dict[str, Any]] = json.loads(self.read_text(asset), object_hook=hook)
        except (ValueError, RecursionError) as error:  # a number too long, lists too deep
            raise self._damaged(asset) from error
        return records

    @contextmanager
    def _table(self, asset: str) -> Iterator[pq.ParquetFile]:
        """Open an asset's table; errors while it is read name the file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            # Not pq.read_table: it imports Arrow's datasets, and these pandas, for half a second.
            with pq.ParquetFile(self._whole(asset)) as file:
                yield file
        except FileNotFoundError as error:  # it was removed since the check
            raise self._missing(asset) from error
        except (pa.ArrowException, OSError) as error:  # OSError: from its thrift or compression
            if isinstance(error, OSError) and error.errno:  # a system error: the file may be whole
                raise _unreadable(self.path(asset), error) from error
            raise self._damaged(asset) from error

    def _whole(self, asset: str) -> Path:
        path = self.path(asset)
        try:
            if not path.exists():
                raise self._missing(asset)
            if is_damaged(path):
                raise self._damaged(asset)
        except FileNotFoundError as error:
            raise self._missing(asset) from error
        except OSError as error:
            raise _unreadable(path, error) from error
        return path

    def _missing(self, asset: str) -> MissingError:
        return MissingError(
            f"{self.path(asset)} is missing: materialise {asset} first, or run full_rebuild "
            "(`atx run`)"
        )

    def _damaged(self, asset: str) -> DamagedError:
        return DamagedError(damaged(self.path(asset), asset))


def _there(file: pq.ParquetFile, columns: Collection[str]) -> list[str]:
    """Return which of the named columns a file has, in its order."""
    return [name for name in file.schema_arrow.names if name in columns]


def _rename_task(record: dict[str, Any]) -> dict[str, Any]:
    task = record.get("task")
    now = EARLIER_TASKS.get(task) if isinstance(task, str) else None
    return {**record, "task": now} if now else record


def _unreadable(path: Path, error: OSError) -> FileError:
    return FileError(f"{path} cannot be read: {why_unreadable(error)}")
