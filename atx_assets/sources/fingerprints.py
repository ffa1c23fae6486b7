"""Numbers that change when a label, or anything that a model is fed, changes in the database.

Not here: what is done when they change. Each is read in the transaction of the extraction,
so that it is the fingerprint of the very rows that were extracted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg import sql

from atx_assets.sources.layouts import SCHEMA, SourceTable

if TYPE_CHECKING:
    import psycopg

# The hashes of the rows are added up: the order of the rows is nothing to a sum, and 64 bits a
# row make two tables with one sum a matter of 1 in 10^19. Only films count. `updated_at` is
# left out: it moves on any update, even one that changes nothing.
_LABELS = """
    WITH films AS (SELECT {label}::text AS label, ({human}) AS human,
                          hashtextextended(ROW({key}, {label})::text, 0) AS hash
                   FROM {table} WHERE media_type::text = 'movie')
    SELECT count(label), sum(hash) FILTER (WHERE label IS NOT NULL),
           count(label) FILTER (WHERE human), sum(hash) FILTER (WHERE human)
    FROM films
"""
_FILMS = """
    SELECT count(*), sum(hashtextextended(ROW({media})::text, 0))
    FROM {table} WHERE media_type::text = 'movie'
"""

# As in titles.py: 'N/A' and the empty string are unknown, and a film of unknown name goes by the
# name of its release.
_UNKNOWN_REASON = "coalesce(rejection_reason, '') IN ('', 'N/A')"
_RELEASE_NAME = "CASE WHEN coalesce(media_title, '') IN ('', 'N/A') THEN original_title END"
_IMDB_ID = "nullif(nullif(imdb_id, ''), 'N/A')"
_PAIR = f"lower(coalesce({_RELEASE_NAME}, media_title)) || '|' || coalesce(release_year::text, '')"
_MEDIA_LABEL = f"""CASE rejection_status::text
    WHEN 'override' THEN 'keep' WHEN 'accepted' THEN 'accepted'
    WHEN 'rejected' THEN CASE WHEN {_UNKNOWN_REASON} THEN 'skip' ELSE 'rejected' END END"""
_MEDIA_HUMAN = f"""rejection_status::text = 'override'
    OR rejection_status::text = 'rejected' AND {_UNKNOWN_REASON}"""

# A title with a human keep and a human skip goes by the later one, and only there does the time
# of an update decide a label. Only a person's release without an id needs a look at the others.
_MEDIA_CONFLICTS = f"""
    WITH human AS MATERIALIZED (
        SELECT {_IMDB_ID} AS imdb, {_PAIR} AS pair, {_MEDIA_LABEL} AS status, updated_at
        FROM atp.media WHERE media_type::text = 'movie' AND ({_MEDIA_HUMAN})),
    ids AS (
        SELECT {_PAIR} AS pair, min({_IMDB_ID}) AS sole FROM atp.media
        WHERE EXISTS (SELECT FROM human WHERE imdb IS NULL)
          AND media_type::text = 'movie' AND {_IMDB_ID} IS NOT NULL
          AND {_PAIR} IN (SELECT pair FROM human WHERE imdb IS NULL)
        GROUP BY 1 HAVING count(DISTINCT {_IMDB_ID}) = 1)
    SELECT count(*), sum(hashtextextended(ROW(title, latest)::text, 0))
    FROM (SELECT coalesce(imdb, sole, pair) AS title,
                 (array_agg(status ORDER BY updated_at DESC NULLS LAST, status))[1] AS latest
          FROM human LEFT JOIN ids USING (pair)
          GROUP BY 1 HAVING count(DISTINCT status) > 1) conflicts
"""  # noqa: S608  (put together from the constants above)


@dataclass(frozen=True)
class LabelFingerprints:
    """Fingerprints of one moment's labels by a person or a rule, and of those by a person.

    Each reads `<number of rows>-<64-bit sum in hex>`. A verdict that a model gave is none of
    them: nothing learns from it, so it counts as something that is known of a film.
    """

    labels: str
    human_labels: str


@dataclass(frozen=True)
class Fingerprints(LabelFingerprints):
    """Fingerprints of one moment's labels, and of its films with all that scoring reads."""

    media: str


def read_fingerprints(connection: psycopg.Connection, source: SourceTable) -> Fingerprints:
    """Read the fingerprints of the transaction that `connection` is in."""
    labels = read_label_fingerprints(connection, source)
    query = sql.SQL(_FILMS).format(
        table=sql.Identifier(SCHEMA, source.layout.table),
        media=sql.SQL(", ").join(_described(source)),
    )
    return Fingerprints(labels.labels, labels.human_labels, _fingerprint(*_row(connection, query)))


def read_label_fingerprints(
    connection: psycopg.Connection, source: SourceTable
) -> LabelFingerprints:
    """Read the fingerprints of the labels alone, in half the time."""
    label, human = _label_expressions(source)
    query = sql.SQL(_LABELS).format(
        table=sql.Identifier(SCHEMA, source.layout.table),
        key=sql.Identifier(source.layout.key),
        label=label,
        human=human,
    )
    row = _row(connection, query)
    labels, humans = _fingerprint(*row[:2]), _fingerprint(*row[2:])
    if source.layout.name == "media":
        conflicts = _row(connection, sql.SQL(_MEDIA_CONFLICTS))
        if conflicts[0]:
            labels += "+" + _fingerprint(*conflicts)
            humans += "+" + _fingerprint(*conflicts)
    return LabelFingerprints(labels, humans)


def _row(connection: psycopg.Connection, query: sql.SQL | sql.Composed) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  (an aggregate without GROUP BY has one row)
    return row


def _label_expressions(source: SourceTable) -> tuple[sql.Composable, sql.Composable]:
    if source.layout.name == "media":
        return sql.SQL(_MEDIA_LABEL), sql.SQL(_MEDIA_HUMAN)
    human, reviewed, anomalous = _flags(source)
    label = sql.SQL(
        "CASE WHEN label IS NOT NULL AND ({human} OR {reviewed}) THEN label::text || "
        "CASE WHEN {human} THEN ' human' ELSE ' rule' END || "
        "CASE WHEN {anomalous} THEN ' anomalous' ELSE '' END END"
    ).format(human=human, reviewed=reviewed, anomalous=anomalous)
    return label, sql.SQL("label IS NOT NULL AND {}").format(human)


def _flags(source: SourceTable) -> tuple[sql.SQL, sql.SQL, sql.SQL]:
    """human_labeled, reviewed, anomalous; older tables lack them, then as in titles.py."""
    human = sql.SQL("human_labeled" if "human_labeled" in source.columns else "false")
    reviewed = sql.SQL("reviewed" if "reviewed" in source.columns else "true")
    anomalous = sql.SQL("anomalous" if "anomalous" in source.columns else "false")
    return human, reviewed, anomalous


def _described(source: SourceTable) -> list[sql.Composable]:
    """The columns that say which title a row is, and what it is like."""
    named = [source.layout.key, "imdb_id", "media_title", *source.layout.features]
    columns: list[sql.Composable] = [sql.Identifier(name) for name in dict.fromkeys(named)]
    if source.layout.name == "media":
        # The time of its making decides which release stands for a title.
        columns += [sql.SQL(_RELEASE_NAME), sql.SQL("extract(epoch FROM created_at)::text")]
    else:
        human, reviewed, _ = _flags(source)
        by_model = "CASE WHEN NOT {} AND {} IS NOT TRUE THEN label::text END"
        columns.append(sql.SQL(by_model).format(human, reviewed))
    return columns


def _fingerprint(count: int, total: int | None) -> str:
    return f"{count}-{int(total or 0) % 2**64:016x}"
