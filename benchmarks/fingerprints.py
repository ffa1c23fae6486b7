"""What one look of a sensor at the database costs over 1,000,000 films.

What: `read_fingerprints`, which the sensors call every 5 and 30 s, from connecting to the three
fingerprints (labels, a person's labels, everything that scoring reads of the films), including
finding the layout, without imports. From the script's own PostgreSQL on this machine, on three
tables: `atp.media` where a person gave only keeps, the same with keeps and skips (the later one may
decide, so that the rows of both are read once more), and `atp.training`.

Against: what a sensor could do instead: COPY the key and the label of every film and hash them in
Python (only labels: it sees neither the films' metadata nor which label is later). A plain
`SELECT count(*)`, which sees no change at all, is printed for information.

To reach: under 2 s for a look. Ours and the peer must count the same labels, and both must notice
when two films swap labels.
"""

from __future__ import annotations

import argparse
import hashlib
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import extract
import timing

if TYPE_CHECKING:
    import psycopg

OURS, PEER, COUNT = "atx", "hashed in Python", "count(*)"
MEDIA, BOTH, TRAINING = "media", "media, with a person's skips", "training"
LIMIT = 2.0

#: Key and label of every film that has one, a person's skip told from a rule's.
LABELS = {
    "media": """
        SELECT hash, rejection_status, coalesce(rejection_reason, '') IN ('', 'N/A')
        FROM atp.media WHERE media_type = 'movie' AND rejection_status <> 'unfiltered'""",
    "training": """
        SELECT imdb_id, label, human_labeled, anomalous
        FROM atp.training
        WHERE media_type = 'movie' AND label IS NOT NULL AND (human_labeled OR reviewed)""",
}
EXCHANGED = {
    "media": """
        UPDATE atp.media m SET rejection_status = o.rejection_status,
                               rejection_reason = o.rejection_reason
        FROM (SELECT min(hash) FILTER (WHERE rejection_status = 'override') AS one,
                     min(hash) FILTER (WHERE rejection_status = 'accepted') AS other
              FROM atp.media WHERE media_type = 'movie') p, atp.media o
        WHERE (m.hash, o.hash) IN ((p.one, p.other), (p.other, p.one))""",
    "training": """
        UPDATE atp.training m SET label = o.label
        FROM (SELECT min(imdb_id) FILTER (WHERE label = 'would_watch') AS one,
                     min(imdb_id) FILTER (WHERE label = 'would_not_watch') AS other
              FROM atp.training WHERE media_type = 'movie' AND human_labeled) p, atp.training o
        WHERE (m.imdb_id, o.imdb_id) IN ((p.one, p.other), (p.other, p.one))""",
}


def atx(connection: psycopg.Connection) -> tuple[int, str]:
    """Ours: how many labels there are, and all fingerprints."""
    from atx_assets.sources.layouts import find_source
    from atx_assets.sources.read.fingerprints import read_fingerprints

    found = read_fingerprints(connection, find_source(connection))
    return int(found.labels.partition("-")[0]), str(found)


def hashed_here(connection: psycopg.Connection) -> tuple[int, str]:
    """The peer: the sum of 64-bit hashes of the rows of a COPY."""
    from atx_assets.sources.layouts import find_source

    layout = find_source(connection).layout
    count = total = 0
    with connection.cursor().copy(f"COPY ({LABELS[layout.name]}) TO STDOUT".encode()) as copy:
        for row in copy:  # a row a block
            count += 1
            total += int.from_bytes(hashlib.blake2b(row, digest_size=8).digest())
    return count, f"{total % 2**64:016x}"


def counted(connection: psycopg.Connection) -> tuple[int, str]:
    """A count of all rows."""
    from atx_assets.sources.layouts import find_source

    table = find_source(connection).layout.table
    row = connection.execute(f"SELECT count(*) FROM atp.{table}".encode()).fetchone()
    assert row
    return int(row[0]), ""


CONTENDERS = {OURS: atx, PEER: hashed_here, COUNT: counted}


def look(name: str, host: str, database: str) -> Callable[[], tuple[int, str]]:
    """Connect as the sensors do, and let a contender look."""
    # All that is imported on the way, or it would be timed.
    import psycopg  # noqa: F401

    from atx_assets.settings import Database
    from atx_assets.sources.read.database import connect

    where = Database(host, name=database)

    def work() -> tuple[int, str]:
        with connect(where, statement_timeout=60, read_only=True) as connection:
            return CONTENDERS[name](connection)

    return work


def fill(table: str, host: str, database: str, rows: int) -> None:
    """Fill a database so that it holds `rows` films, and series besides."""
    import library
    import psycopg

    with psycopg.connect(host=host, user="postgres", dbname=database) as connection:
        library.fill_database(connection, rows * 100 // 92)
        if table == BOTH:
            connection.execute(
                "UPDATE atp.media SET rejection_status = 'rejected', rejection_reason = NULL "
                "WHERE rejection_status = 'override' AND hash < '8'"
            )
        if table == TRAINING:
            make_training(connection)
        connection.execute(f"VACUUM (FULL, ANALYZE) atp.{table.partition(',')[0]}".encode())
        connection.execute("CHECKPOINT")


def make_training(connection: psycopg.Connection) -> None:
    """Make `atp.training` of the releases in `atp.media`, each a title of its own."""
    from atx_assets import schemas

    values = {
        "imdb_id": "'tt' || lpad((row_number() OVER ())::text, 8, '0')",
        "label": """(CASE rejection_status WHEN 'rejected' THEN 'would_not_watch'
            WHEN 'unfiltered' THEN NULL ELSE 'would_watch' END)::atp.label""",
        "human_labeled": "hash < '2'",
        "anomalous": "hash > 'fe'",
        "reviewed": "hash < 'c'",
        "spoken_languages": "ARRAY['en', 'fr']",
        "origin_country": "ARRAY['US']",
        "production_countries": "ARRAY['US', 'GB']",
        "production_companies": "ARRAY['Company ' || left(hash, 3), 'Company ' || right(hash, 2)]",
        "budget": "imdb_votes::bigint * 1000",
        "runtime": "90 + metascore / 2",
        "original_language": "'en'",
        "tmdb_rating": "imdb_rating / 10",
    }
    has = {column.name for column in schemas.MEDIA}
    columns = [c for c in schemas.TRAINING if c.name in values or c.name in has]
    connection.execute(
        "CREATE TYPE atp.label AS ENUM ('would_watch', 'would_not_watch');"
        f"CREATE UNLOGGED TABLE atp.training "
        f"({', '.join(f'{c.name} {c.sql}' for c in schemas.TRAINING)});"
        f"INSERT INTO atp.training ({', '.join(c.name for c in columns)}) "
        f"SELECT {', '.join(values.get(c.name, c.name) for c in columns)} FROM atp.media;"
        "ALTER TABLE atp.training ADD PRIMARY KEY (imdb_id)".encode()
    )


def main() -> None:
    """Let all look at each table in turns, then let two films exchange their labels."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="films")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--only", nargs="+", choices=(MEDIA, BOTH, TRAINING))
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        task, host, database, table = options.child
        if task == "fill":
            timing.report(lambda: fill(table, host, database, options.rows))
        else:
            timing.report(look(task, host, database))
        return

    # So that the server is stopped and removed then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    verdicts = []
    with extract.server() as postgres:
        for at, table in enumerate(options.only or (MEDIA, BOTH, TRAINING)):
            print(f"making {table} ...", file=sys.stderr)
            database = f"looked_at_{at}"
            postgres.ensure_database(database)
            verdicts.append(measure(table, postgres.host, database, options.rows, options.runs))
    print("\n" + "\n".join(verdicts))


def measure(table: str, host: str, database: str, rows: int, runs: int) -> str:
    """Fill a table, compare the contenders on it, and return the verdict on ours."""
    import psycopg

    def child(task: str) -> timing.Run:
        words = ["--rows", str(rows), "--child", task, host, database, table]
        return timing.in_process(__file__, *words)

    child("fill")
    for name in CONTENDERS:
        child(name)  # brings the table into memory
    found = timing.take_turns(CONTENDERS, runs, child)
    with psycopg.connect(host=host, user="postgres", dbname=database) as connection:
        changed = connection.execute(EXCHANGED[table.partition(",")[0]].encode()).rowcount
    assert changed == 2, changed
    labels = {name: tuple(found[name].runs[0].said) for name in (OURS, PEER)}
    if labels[OURS][0] != labels[PEER][0]:
        raise SystemExit(f"other numbers of labels: {labels}")
    for name in (OURS, PEER):
        if child(name).said[1] == labels[name][1]:
            raise SystemExit(f"{name} has not seen that two films exchanged their labels")
    print(f"\n{table}: {found[COUNT].runs[0].said[0]:,} rows, {labels[OURS][0]:,} labels")
    timing.print_table(
        ("", "seconds", "times ours", "peak MB"),
        (
            (
                name,
                f"{one.seconds:.2f}",
                f"{one.seconds / found[OURS].seconds:.2f}",
                f"{one.peak_mb:.0f}",
            )
            for name, one in found.items()
        ),
    )
    ratio = found[OURS].seconds / found[PEER].seconds
    return timing.verdict(f"{table}, {ratio:.2f} of the peer", found[OURS].seconds, LIMIT, " s")


if __name__ == "__main__":
    main()
