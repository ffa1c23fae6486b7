"""Numbers that change when a label, or anything that a model sees, changes in the database.

Not here: what happens when they change. Each is read in the transaction of the extraction,
so it is the fingerprint of exactly the rows that were extracted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from atx_assets.sources.layouts import SCHEMA, SourceTable
from atx_assets.sources.observed_labels import can_be_observed
from atx_assets.sources.read.label_rows import hard_labels, surely_known

# The hashes of the rows are added up: a sum does not depend on the order of the rows, and with 64
# bits per row two tables have the same sum once in 10^19. A row's values are the seed of its key's
# hash, and are never added themselves: `hash_record_extended` adds up its columns, so two rows
# that swap values in one of them would leave the sum of all rows unchanged. Only films count.
# `updated_at` is left out: any update changes it, even one that changes nothing.
_ROWS = """
    SELECT count(*), sum(hashtextextended(key, film)),
           count(label), sum(hashtextextended(key, {of_row})),
           count(*) FILTER (WHERE human),
           sum(hashtextextended(key, {of_row})) FILTER (WHERE human),
           min(label) FILTER (WHERE human), max(label) FILTER (WHERE human)
    FROM (SELECT coalesce({key}::text, '') AS key, {label} AS label, {human} AS human,
                 imdb_id, {film} AS film
          FROM {table} WHERE media_type::text = 'movie') films
"""
# A label belongs to its row, and the row to the title with its IMDb id; if that is not so simple,
# label_rows.py says which title it is. In the training layout the id is the key.
_OF_ROW = {
    "media": "hashtextextended(coalesce(imdb_id, ''), label)",
    "training": "label",
}
# Before version 14 a record has no hash, so its text is hashed, which takes 1.5 times as long.
_RECORD, _RECORD_BEFORE_14 = (
    "hash_record_extended(ROW({}), 0)",
    "hashtextextended(ROW({})::text, 0)",
)

# 'N/A' and the empty string are not reasons, as in titles.py.
_UNKNOWN_REASON = "coalesce(rejection_reason, '') IN ('', 'N/A')"
# A person's keep and skip, a rule's keep and skip.
_MEDIA_LABEL = f"""CASE rejection_status::text
    WHEN 'override' THEN 1 WHEN 'accepted' THEN 3
    WHEN 'rejected' THEN CASE WHEN {_UNKNOWN_REASON} THEN 2 ELSE 4 END END"""
_MEDIA_HUMAN = f"""(rejection_status::text = 'override'
    OR rejection_status::text = 'rejected' AND {_UNKNOWN_REASON})"""


@dataclass(frozen=True)
class Fingerprints:
    """Fingerprints of one moment.

    Each is `<number of rows>-<64-bit sum in hex>`. They differ between layouts and versions of
    PostgreSQL; only those of the same database are compared.

    Attributes:
        labels: of the labels by a person or a rule. A model's label is not one of them: nothing
            learns from it, so it counts as part of what is known of a film.
        human_labels: of the labels by a person.
        media: of the films with all that scoring reads.
    """

    labels: str
    human_labels: str
    media: str


def read_fingerprints(connection: psycopg.Connection, source: SourceTable) -> Fingerprints:
    """Read the fingerprints in the current transaction of `connection`.

    One scan adds up the rows. Labels whose row does not show their title are read separately and
    followed to their titles.
    """
    label, human = _label_expressions(source)
    record = _RECORD if connection.info.server_version >= 140_000 else _RECORD_BEFORE_14
    query = sql.SQL(_ROWS).format(
        table=sql.Identifier(SCHEMA, source.layout.table),
        key=sql.Identifier(source.layout.key),
        label=label,
        human=human,
        of_row=sql.SQL(_OF_ROW[source.layout.name]),
        film=sql.SQL(record).format(sql.SQL(", ").join(_described(source))),
    )
    row: tuple[Any, ...] | None = connection.execute(query).fetchone()
    assert row is not None  # noqa: S101  (an aggregate without GROUP BY has one row)
    films, all_films, labels, all_labels, humans, all_humans, lowest, highest = row
    ends = list(
        hard_labels(
            connection,
            source,
            sql.SQL("{} IS NOT NULL").format(label),
            human,
            both_said=lowest != highest,
        )
        if labels
        else ()
    )
    return Fingerprints(
        _fingerprint(labels, all_labels, (end.words for end in ends)),
        _fingerprint(humans, all_humans, (end.words for end in ends if end.human)),
        _fingerprint(films, all_films),
    )


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _label_expressions(source: SourceTable) -> tuple[sql.Composable, sql.Composable]:
    """Return expressions for a row's label, a number or null, and for whether a person gave it."""
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
    """Return human_labeled, reviewed and anomalous; if older tables lack them, as in titles.py.

    A row whose label is a model's anyway counts as not reviewed.
    """
    human = sql.SQL("human_labeled" if "human_labeled" in source.columns else "false")
    reviewed: sql.Composable = sql.SQL("reviewed" if "reviewed" in source.columns else "true")
    if source.by_model:
        # A subquery is hashed once; before version 14 an array would be searched for each row.
        reviewed = sql.SQL(
            "(reviewed AND imdb_id::text NOT IN (SELECT unnest({}::text[])))"
        ).format(sql.Literal(sorted(source.by_model)))
    anomalous = sql.SQL("anomalous" if "anomalous" in source.columns else "false")
    return human, reviewed, anomalous


def _described(source: SourceTable) -> list[sql.Composable]:
    """Return what says which title a row is, and what is known of it."""
    named = ["imdb_id", "media_title", *source.layout.features]
    columns = [_column(source, name) for name in named if name != source.layout.key]
    if source.layout.name == "media":
        # If the film's name is unknown, the release's name replaces it, which SQL cannot decide;
        # the creation time decides which release represents a title.
        release_name = sql.SQL("CASE WHEN NOT {} THEN original_title END")
        columns += [release_name.format(surely_known("media_title")), sql.SQL("created_at")]
    else:
        human, reviewed, _ = _flags(source)
        by_model = "CASE WHEN NOT {} AND {} IS NOT TRUE THEN label::text END"
        if can_be_observed(source):
            # With `reviewed`, unless the label itself shows a change: an extraction must see each
            # step (`sources/observed_labels.py`).
            by_model = """CASE WHEN NOT {} AND (label IS NULL OR {} IS NOT TRUE) THEN nullif(
                coalesce(label::text, '') || CASE WHEN reviewed THEN ' reviewed' ELSE '' END, '')
                END"""
        columns.append(sql.SQL(by_model).format(human, reviewed))
    return columns


def _column(source: SourceTable, name: str) -> sql.Composable:
    # An enum is hashed by the number that its value has in this database only.
    kind = "{}::text" if source.columns.get(name) == "enum" else "{}"
    return sql.SQL(kind).format(sql.Identifier(name))


def _fingerprint(count: int, total: int | None, ends: Iterable[str] = ()) -> str:
    return f"{count}-{(int(total or 0) + sum(map(_hash, ends))) % 2**64:016x}"
