"""Extraction of a table of releases to a parquet file: ours against four others.

What: `atp.media`, 1,000,000 rows with all 31 columns, arrays and nulls included, ordered by
key, from the script's own PostgreSQL on this machine. The time is from connecting to closing the
file, including finding the layout, without imports (also of pandas, which pyarrow imports at its
first scalar); the memory is the client's.

Against, each in the fastest form found: pandas `read_sql` in chunks (a server-side cursor),
connectorx (Arrow batches from its stream), ADBC (Arrow batches), polars `read_database_uri`.
The four use `ORDER BY hash` in a database that orders bytewise, as ours does, and connectorx once
more with our sort and our memory for it. Enums are cast to text and the numeric to float8;
otherwise they would fail, or write decimals or text.

To reach: not slower than the fastest of them; peak memory under 500 MB, and flat (within a
tenth) from 1,000,000 to 4,000,000 rows. All files must hold the same rows.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import timing

if TYPE_CHECKING:
    import pyarrow as pa

    from atx_assets.home.postgres.server import EmbeddedPostgres

OURS, TUNED = "atx", "connectorx, our sort"
MOST_MB, MOST_GROWTH = 500, 1.1
BATCH = 65_536


def query(enums_as_text: bool = True) -> str:
    """The columns in the table's order, in types that the peers can read."""
    from atx_assets import schemas

    casts = {c.name: "::text" for c in schemas.MEDIA if c.sql.startswith("atp.") and enums_as_text}
    casts["imdb_rating"] = "::float8"
    columns = ", ".join(f"{c.name}{casts.get(c.name, '')}" for c in schemas.MEDIA)
    return f"SELECT {columns} FROM atp.media ORDER BY hash"


def atx(host: str, database: str, path: Path) -> Callable[[], object]:
    """Ours: as the asset `raw_media` calls it, without fingerprints."""
    # All that is imported on the way, or it would be timed.
    import pandas  # noqa: F401
    import psycopg
    import pyarrow.csv
    import pyarrow.parquet  # noqa: F401

    from atx_assets.sources.layouts import find_source
    from atx_assets.sources.read.extract import extract

    def work() -> None:
        with psycopg.connect(host=host, user="postgres", dbname=database) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            extract(connection, find_source(connection), path, {})

    return work


def connectorx(
    host: str, database: str, path: Path, order: str = "", set_up: str | None = None
) -> Callable[[], object]:
    """connectorx: a stream of Arrow batches, written as they come."""
    import connectorx as cx
    import pandas  # noqa: F401
    import pyarrow as pa
    import pyarrow.parquet

    def work() -> None:
        stream = cx.read_sql(
            uri(host, database),
            query() + order,
            return_type="arrow_stream",
            batch_size=BATCH,
            pre_execution_query=set_up,
        )
        write_batches(pa.RecordBatchReader.from_stream(stream), path)

    return work


def connectorx_sorted(host: str, database: str, path: Path) -> Callable[[], object]:
    """connectorx, with the sort of ours instead of the walk along the index."""
    return connectorx(host, database, path, ' COLLATE "C"', "SET work_mem = '64MB'")


def adbc(host: str, database: str, path: Path) -> Callable[[], object]:
    """ADBC's PostgreSQL driver: a stream of Arrow batches, written as they come."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    from adbc_driver_postgresql import dbapi

    def work() -> None:
        with dbapi.connect(uri(host, database)) as connection, connection.cursor() as cursor:
            cursor.execute(query())
            write_batches(cursor.fetch_record_batch(), path)

    return work


def polars(host: str, database: str, path: Path) -> Callable[[], object]:
    """polars: the whole table, then its own parquet writer; over ADBC it took longer."""
    import polars as pl

    def work() -> None:
        frame = pl.read_database_uri(query(), uri(host, database), engine="connectorx")
        frame.write_parquet(path)

    return work


def pandas(host: str, database: str, path: Path) -> Callable[[], object]:
    """pandas: chunks from a server-side cursor, each written as it comes."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq
    import sqlalchemy

    from atx_assets import schemas

    schema = schemas.arrow_schema(schemas.MEDIA)

    def work() -> None:
        url = f"postgresql+psycopg2://postgres@/{database}?host={quote(host, safe='')}"
        engine = sqlalchemy.create_engine(url)
        with (
            engine.connect().execution_options(stream_results=True) as connection,
            pq.ParquetWriter(path, schema) as writer,
        ):
            statement = sqlalchemy.text(query(enums_as_text=False).replace("::", "\\:\\:"))
            for chunk in pd.read_sql(statement, connection, chunksize=50_000):
                writer.write_table(pa.Table.from_pandas(chunk, schema, preserve_index=False))

    return work


CONTENDERS = {
    OURS: atx,
    "connectorx": connectorx,
    TUNED: connectorx_sorted,
    "adbc": adbc,
    "polars": polars,
    "pandas": pandas,
}


def uri(host: str, database: str) -> str:
    """The address of a database on a Unix socket, in the form that all take."""
    return f"postgresql://postgres@localhost/{database}?host={quote(host, safe='')}"


def write_batches(batches: pa.RecordBatchReader, path: Path) -> None:
    """Write a stream of batches to parquet, one in memory at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, batches.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def same_rows(paths: list[Path]) -> int:
    """Make sure that all files hold the same rows, up to the width of types; return how many."""
    import pyarrow.parquet as pq

    from atx_assets import schemas

    schema = schemas.arrow_schema(schemas.MEDIA)
    first, *others = paths
    for column in schema:
        wanted = pq.read_table(first, columns=[column.name])[0].cast(column.type)
        for other in others:
            found = pq.read_table(other, columns=[column.name])[0].cast(column.type)
            if not found.equals(wanted):
                raise SystemExit(f"{other.stem} and {first.stem} differ in {column.name}")
    return int(pq.read_metadata(first).num_rows)


@contextmanager
def server() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that is gone afterwards."""
    from atx_assets.home.postgres.server import EmbeddedPostgres

    with tempfile.TemporaryDirectory(prefix="atx-bench-") as home:
        postgres = EmbeddedPostgres(Path(home))
        postgres.acquire()
        try:
            yield postgres
        finally:
            postgres.release()


def fill(host: str, database: str, rows: int) -> None:
    """Fill a database, in a process of its own: the memory for it is gone afterwards."""
    import library
    import psycopg

    with psycopg.connect(host=host, user="postgres", dbname=database) as connection:
        library.fill_database(connection, rows)


def main() -> None:
    """Run all contenders on one table, then ours on a larger one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--more-rows", type=int, default=4_000_000, help="for memory; 0: skip")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, host, database, extra = options.child
        if task == "fill":
            timing.report(lambda: fill(host, database, int(extra)))
        else:
            timing.report(CONTENDERS[task](host, database, Path(extra)))
        return

    # So that the server is stopped and removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with server() as postgres, tempfile.TemporaryDirectory(prefix="atx-bench-") as folder:

        def child(task: str, database: str, extra: Any) -> timing.Run:
            return timing.in_process(__file__, "--child", task, postgres.host, database, str(extra))

        def made(rows: int) -> str:
            print(f"making {rows:,} releases ...", file=sys.stderr)
            database = f"rows_{rows}"
            postgres.ensure_database(database)
            child("fill", database, rows)
            return database

        database = made(options.rows)
        paths = {name: Path(folder, f"{name}.parquet") for name in options.only}
        found = timing.take_turns(
            options.only, options.runs, lambda name: child(name, database, paths[name])
        )
        rows = same_rows(list(paths.values()))
        print(f"\n{rows:,} rows to parquet, ordered by key; all files hold the same rows")
        base = found.get(OURS, next(iter(found.values()))).seconds
        timing.print_table(
            ("", "seconds", "times ours", "peak MB", "file MB"),
            (
                (
                    name,
                    f"{one.seconds:.2f}",
                    f"{one.seconds / base:.2f}",
                    f"{one.peak_mb:.0f}",
                    f"{paths[name].stat().st_size / 1e6:.0f}",
                )
                for name, one in sorted(found.items(), key=lambda item: item[1].seconds)
            ),
        )
        plain = [one.seconds for name, one in found.items() if name not in (OURS, TUNED)]
        if OURS in found and plain:
            print(timing.verdict("ours / fastest peer, ORDER BY hash", base / min(plain), 1))
        if OURS in found and TUNED in found:
            tuned = base / found[TUNED].seconds
            print(timing.verdict("ours / connectorx with the sort of ours", tuned, 1))
        if OURS in found and options.more_rows:
            for path in paths.values():
                path.unlink()
            large = child(OURS, made(options.more_rows), Path(folder, "large.parquet"))
            small_mb = found[OURS].peak_mb
            print(f"\nours, {options.more_rows:,} rows: {large.seconds:.2f} s")
            print(timing.verdict("peak memory", large.peak_mb, MOST_MB, " MB"))
            growth = large.peak_mb / small_mb
            print(timing.verdict(f"of that at {rows:,} rows", growth, MOST_GROWTH, " times"))


if __name__ == "__main__":
    main()
