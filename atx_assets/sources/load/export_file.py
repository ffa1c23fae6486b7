"""A parquet export as a file: opened, its layout recognised by its columns, read in batches.

Not here: what its rows hold (`row_values.py`, `sources/rules.py`), the database.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pyarrow.types as t

from atx_assets.errors import AtxError
from atx_assets.schemas import BOOL, FLOAT, INT, STRING, STRINGS, TIME, Column
from atx_assets.sources.layouts import LAYOUTS, Layout
from atx_assets.sources.load.row_values import MOST_BYTES, text_bytes

# Small enough that a batch and its copies stay under about 200 MB, whatever the file's size.
_BATCH = 65_536
# Decoded bytes of its values: a file of a few kilobytes can repeat one long text in each row.
_BATCH_BYTES = 2**26
# How much of a file an error line quotes: this many columns, this many characters of each.
_NAMED, _LONGEST = 10, 200


@dataclass(frozen=True)
class Export:
    """An open export: its layout, and the layout's columns that it has, in the file's order."""

    path: Path
    layout: Layout
    columns: tuple[Column, ...]
    file: pq.ParquetFile

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows.

        Raises:
            AtxError: a later part of the file is damaged.
        """
        try:
            # Where memory is limited, a thread that cannot be started would end the process.
            for batch in self.file.iter_batches(_BATCH, use_threads=False):
                yield from _pieces(batch)
        except MemoryError:
            raise  # Arrow raises it, too: it says nothing about the file
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, OSError) and error.errno:  # a system error: the file may be whole
                raise AtxError(
                    f"{self.path} cannot be read ({error.strerror}); nothing was loaded: check "
                    "its disk and its owner"
                ) from error
            raise AtxError(
                f"{self.path} is damaged ({_first_line(error)}); nothing was loaded: export it "
                "again"
            ) from error


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Halve a batch until its decoded values fit into memory several times."""
    if batch.num_rows < 2 or sum(map(_bytes, batch.columns)) <= _BATCH_BYTES:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _pieces(batch.slice(0, half))
    yield from _pieces(batch.slice(half))


def _bytes(values: pa.Array) -> int:
    """Return the size of a column in bytes, decoded, without the values that will be refused."""
    if t.is_list(values.type) or t.is_large_list(values.type):
        return _bytes(pc.list_flatten(values)) + 8 * len(values)
    if t.is_dictionary(values.type) and _usable(values.type, STRING):
        words = text_bytes(values.dictionary)
        words = pc.if_else(pc.less_equal(words, MOST_BYTES), words, 0)
        written = pc.sum(words.take(values.indices)).as_py() or 0
        # Arrow allocates for this many words of the mean length, even if few are long.
        return max(int(written), int((pc.mean(words).as_py() or 0) * len(values)))
    return int(values.nbytes)


@contextmanager
def open_export(path: Path) -> Iterator[Export]:
    """Open an export and find its layout.

    Raises:
        AtxError: it cannot be read, is not parquet, has no rows, or has neither layout.
    """
    with _opened(path) as file:
        layout, columns = _recognised(path, file.schema_arrow)
        if not file.metadata.num_rows:
            raise AtxError(f"{path} has the columns of the {layout.name} layout, but no rows")
        yield Export(path, layout, columns, file)


def _opened(path: Path) -> pq.ParquetFile:
    if path.is_dir():
        raise AtxError(f"{path} is a folder: name one parquet file in it")
    # Pipes and devices are not files either: parquet is read from its end.
    if not path.is_file():
        raise AtxError(f"there is no file {path}: check its name")
    try:
        if not path.stat().st_size:
            raise AtxError(f"{path} is empty (0 bytes): export it again")
        return pq.ParquetFile(path)
    except PermissionError as error:
        raise AtxError(f"you may not read {path}: check its owner and mode") from error
    except MemoryError:
        raise
    # UnicodeDecodeError: from the name of a column.
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise AtxError(
            f"{path} is not a whole parquet file ({_first_line(error)}): export it again as parquet"
        ) from error


def _recognised(path: Path, schema: pa.Schema) -> tuple[Layout, tuple[Column, ...]]:
    """Find the layout that has these columns, and check that each column has a usable type."""
    names = schema.names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise AtxError(f"{path} repeats the column {_few(repeated)}: leave one of each")
    layout = _nearest(path, names)
    known = {column.name: column for column in layout.columns}
    strange = [name for name in names if name not in known]
    if strange:
        raise AtxError(
            f"{path} has columns that the {layout.name} layout does not know: "
            f"{_few(strange)}; leave them out of the export"
        )
    for field in schema:
        wanted = known[field.name].type
        if not _usable(field.type, wanted):
            raise AtxError(
                f"{path}: column {field.name} has type {_short(field.type)}, but the "
                f"{layout.name} layout needs {wanted}: export it as that"
            )
    return layout, tuple(known[name] for name in names)


def _nearest(path: Path, names: list[str]) -> Layout:
    lacking = {
        layout.name: [c.name for c in layout.columns if c.required and c.name not in names]
        for layout in LAYOUTS.values()
    }
    nearest = min(lacking, key=lambda name: len(lacking[name]))
    if lacking[nearest]:
        raise AtxError(
            f"{path} has neither layout of atx; it is nearest to the {nearest} layout, but lacks "
            f"the column {', '.join(lacking[nearest])}"
        )
    return LAYOUTS[nearest]


def _usable(found: pa.DataType, wanted: str) -> bool:
    """Return whether values of an Arrow type can be converted to ours without loss."""
    if t.is_dictionary(found):
        found = found.value_type
    if t.is_null(found):  # a column without any known value
        return True
    if wanted == STRINGS:
        lists = t.is_list(found) or t.is_large_list(found) or t.is_fixed_size_list(found)
        return bool(lists and _usable(found.value_type, STRING))
    if wanted == STRING:
        text = t.is_string(found) or t.is_large_string(found) or t.is_string_view(found)
        # Some writers do not mark text as such.
        return bool(text or t.is_binary(found) or t.is_large_binary(found))
    if wanted in (INT, FLOAT):
        return bool(t.is_integer(found) or t.is_floating(found) or t.is_decimal(found))
    return bool({BOOL: t.is_boolean, TIME: t.is_timestamp}[wanted](found))


def _few(names: list[str]) -> str:
    """Name some columns; a file may have thousands, with any names."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(map(_short, names[:_NAMED])) + more


def _short(what: object) -> str:
    text = str(what)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _first_line(error: BaseException) -> str:
    # Arrow starts some messages with a path, and ends others with advice that does not fit here.
    lines = str(error).strip().splitlines() or ["unknown"]
    return _short(lines[0].removesuffix("."))
