"""Numbers that change when a label, or anything that a model is fed, changes in the database.

Not here: what is done when they change. Each is read in the transaction of the extraction,
so that it is the fingerprint of the very rows that were extracted.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from atx_assets.sources.layouts import SCHEMA, SourceTable
from atx_assets.sources.observed_labels import can_be_observed

if TYPE_CHECKING:
    import psycopg

# The hashes of the rows are added up: the order of the rows is nothing to a sum, and 64 bits a
# row make two tables with one sum a matter of 1 in 10^19. What is known of a row is the seed of
# its key's hash, never a hash that is added itself: `hash_record_extended` adds up its columns,
# and two rows that change places in one of them would leave the sum of all rows as it was. Only
# films count. `updated_at` is left out: it moves on any update, even one that changes nothing.
_ROWS = """
    SELECT count(*), sum(hashtextextended(key, film)),
           count(label), sum(hashtextextended(key, label)),
           count(*) FILTER (WHERE human), sum(hashtextextended(key, label)) FILTER (WHERE human),
           min(label) FILTER (WHERE human), max(label) FILTER (WHERE human)
    FROM (SELECT coalesce({key}::text, '') AS key, {label} AS label, {human} AS human,
                 {film} AS film
          FROM {table} WHERE media_type::text = 'movie') films
"""
# Before version 14 a record has no hash, and its text, which takes 1.5 times as long, stands in.
_RECORD, _RECORD_BEFORE_14 = (
    "hash_record_extended(ROW({}), 0)",
    "hashtextextended(ROW({})::text, 0)",
)

# As in titles.py: 'N/A' and the empty string are unknown, and a film of unknown name goes by the
# name of its release; as in mends.py, without the blanks around them (older servers take \v for v).
_UNKNOWN_REASON = "coalesce(rejection_reason, '') IN ('', 'N/A')"
_TITLE, _IMDB = r"btrim(media_title, E' \t\n\x0b\f\r')", r"btrim(imdb_id, E' \t\n\x0b\f\r')"
_RELEASE_NAME = f"CASE WHEN coalesce({_TITLE}, '') IN ('', 'N/A') THEN original_title END"
# Compared by their hashes: a database of encoding SQL_ASCII may hold bytes that it cannot hand out.
_IMDB_ID = f"hashtextextended(nullif(nullif({_IMDB}, ''), 'N/A'), 0)"
_PAIR = f"""hashtextextended(
    lower(coalesce({_RELEASE_NAME}, {_TITLE})) || '|' || coalesce(release_year::text, ''), 0)"""
# A person's keep and skip, a rule's keep and skip.
_MEDIA_LABEL = f"""CASE rejection_status::text
    WHEN 'override' THEN 1 WHEN 'accepted' THEN 3
    WHEN 'rejected' THEN CASE WHEN {_UNKNOWN_REASON} THEN 2 ELSE 4 END END"""
_MEDIA_HUMAN = f"""(rejection_status::text = 'override'
    OR rejection_status::text = 'rejected' AND {_UNKNOWN_REASON})"""

_HUMAN_ROWS = f"""
    SELECT {_IMDB_ID}, {_PAIR}, rejection_status::text,
           extract(epoch FROM updated_at)::double precision
    FROM atp.media WHERE media_type::text = 'movie' AND {_MEDIA_HUMAN}
"""  # noqa: S608  (put together from the constants above)
_SOLE_IDS = f"""
    SELECT {_PAIR}, min({_IMDB_ID}) FROM atp.media
    WHERE media_type::text = 'movie' AND {_IMDB_ID} IS NOT NULL AND {_PAIR} = ANY (%s)
    GROUP BY 1 HAVING min({_IMDB_ID}) = max({_IMDB_ID})
"""  # noqa: S608  (put together from the constants above)


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of one moment.

    Each reads `<number of rows>-<64-bit sum in hex>`. They are numbers of their own for each
    layout and version of PostgreSQL; compared are those of one database.

    Attributes:
        labels: of the labels by a person or a rule. A verdict that a model gave is none of them:
            nothing learns from it, so it counts as something that is known of a film.
        human_labels: of the labels by a person.
        media: of the films with all that scoring reads.
    """

    labels: str
    human_labels: str
    media: str


def read_fingerprints(connection: psycopg.Connection, source: SourceTable) -> Fingerprints:
    """Read the fingerprints of the transaction that `connection` is in, in one scan if it can be.

    Only where a person has given keeps and skips both are their rows looked at once more.
    """
    label, human = _label_expressions(source)
    record = _RECORD if connection.info.server_version >= 140_000 else _RECORD_BEFORE_14
    query = sql.SQL(_ROWS).format(
        table=sql.Identifier(SCHEMA, source.layout.table),
        key=sql.Identifier(source.layout.key),
        label=label,
        human=human,
        film=sql.SQL(record).format(sql.SQL(", ").join(_described(source))),
    )
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  (an aggregate without GROUP BY has one row)
    media, labels, humans = (_fingerprint(*row[at : at + 2]) for at in (0, 2, 4))
    lowest, highest = row[6:]
    if source.layout.name == "media" and lowest != highest:
        conflicts = list(_conflicts(connection))
        if conflicts:
            later = "+" + _fingerprint(len(conflicts), sum(map(_hash, conflicts)))
            labels, humans = labels + later, humans + later
    return Fingerprints(labels, humans, media)


def _conflicts(connection: psycopg.Connection) -> Iterator[str]:
    """Number the titles of which a person has said both, each with the later word.

    Such a title goes by the later one, and only there does the time of an update decide a label.
    """
    rows = connection.execute(sql.SQL(_HUMAN_ROWS)).fetchall()
    # Only a person's release without an id needs a look at the others.
    pairs = list({pair for imdb, pair, _, _ in rows if imdb is None})
    found = connection.execute(sql.SQL(_SOLE_IDS), (pairs,)).fetchall() if pairs else []
    sole: dict[Any, int] = dict(found)
    latest: dict[Any, dict[str, float]] = {}
    for imdb, pair, status, updated in rows:
        title = sole.get(pair, pair) if imdb is None else imdb
        times = latest.setdefault(title, {})
        time = -math.inf if updated is None else updated
        times[status] = max(time, times.get(status, time))
    for title, times in latest.items():
        if len(times) > 1:
            # At one instant, the keep, as in titles.py.
            keep = times["override"] >= times["rejected"]
            yield f"{'keep' if keep else 'skip'} {title}"


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _label_expressions(source: SourceTable) -> tuple[sql.Composable, sql.Composable]:
    """What stands for a row's label, a number or null, and whether a person gave it."""
    if source.layout.name == "media":
        return sql.SQL(_MEDIA_LABEL), sql.SQL(_MEDIA_HUMAN)
    human, reviewed, anomalous = _flags(source)
    label = sql.SQL(
        "CASE WHEN label IS NOT NULL AND ({human} OR {reviewed}) THEN "
        "hashtextextended(label::text || CASE WHEN {human} THEN ' human' ELSE ' rule' END || "
        "CASE WHEN {anomalous} THEN ' anomalous' ELSE '' END, 0) END"
    ).format(human=human, reviewed=reviewed, anomalous=anomalous)
    return label, sql.SQL("(label IS NOT NULL AND {})").format(human)


def _flags(source: SourceTable) -> tuple[sql.SQL, sql.Composable, sql.SQL]:
    """human_labeled, reviewed, anomalous; older tables lack them, then as in titles.py.

    A row whose label is a model's all the same counts as one that is not reviewed.
    """
    human = sql.SQL("human_labeled" if "human_labeled" in source.columns else "false")
    reviewed: sql.Composable = sql.SQL("reviewed" if "reviewed" in source.columns else "true")
    if source.by_model:
        # A subquery is hashed once; an array would be searched for each row before version 14.
        reviewed = sql.SQL(
            "(reviewed AND imdb_id::text NOT IN (SELECT unnest({}::text[])))"
        ).format(sql.Literal(sorted(source.by_model)))
    anomalous = sql.SQL("anomalous" if "anomalous" in source.columns else "false")
    return human, reviewed, anomalous


def _described(source: SourceTable) -> list[sql.Composable]:
    """What says which title a row is, and what it is like."""
    named = ["imdb_id", "media_title", *source.layout.features]
    columns = [_column(source, name) for name in named if name != source.layout.key]
    if source.layout.name == "media":
        # The time of its making decides which release stands for a title.
        columns += [sql.SQL(_RELEASE_NAME), sql.SQL("created_at")]
    else:
        human, reviewed, _ = _flags(source)
        by_model = "CASE WHEN NOT {} AND {} IS NOT TRUE THEN label::text END"
        if can_be_observed(source):
            # With `reviewed`, wherever the label itself does not show that it changes: an
            # extraction must see each step (`observed_labels.py`).
            by_model = """CASE WHEN NOT {} AND (label IS NULL OR {} IS NOT TRUE) THEN nullif(
                coalesce(label::text, '') || CASE WHEN reviewed THEN ' reviewed' ELSE '' END, '')
                END"""
        columns.append(sql.SQL(by_model).format(human, reviewed))
    return columns


def _column(source: SourceTable, name: str) -> sql.Composable:
    # An enum is hashed by the number that its value got in this database, and in no other.
    kind = "{}::text" if source.columns.get(name) == "enum" else "{}"
    return sql.SQL(kind).format(sql.Identifier(name))


def _fingerprint(count: int, total: int | None) -> str:
    return f"{count}-{int(total or 0) % 2**64:016x}"
