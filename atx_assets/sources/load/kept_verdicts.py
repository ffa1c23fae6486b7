"""The verdicts of people that a load would replace: those newer than the file's stay.

Not here: how rows are written (`staging.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from atx_assets.sources.load.receiving import Receiver

#: How many verdicts are named individually.
NAMED = 20

#: A person's verdict in a row, as text; null if the row holds none. `{name}` is the
#: column of the row in question. As in `sources/titles.py`.
_VERDICT = {
    "media": sql.SQL("""CASE {rejection_status}::text WHEN 'override' THEN 'keep'
        WHEN 'rejected' THEN
            CASE WHEN coalesce({rejection_reason}, '') IN ('', 'N/A') THEN 'skip' END END"""),
    "training": sql.SQL("""CASE WHEN {human_labeled} THEN
        CASE {label}::text WHEN 'would_watch' THEN 'keep' WHEN 'would_not_watch' THEN 'skip' END
        || CASE WHEN {anomalous} THEN ', anomalous' ELSE '' END END"""),
}

#: What belongs to a verdict: the columns written with it, and its exceptions.
_KEPT_WITH_IT = {
    "media": (
        "rejection_status",
        "rejection_reason",
        "error_status",
        "error_condition",
        "pipeline_status",
    ),
    "training": ("label", "human_labeled", "reviewed", "anomalous"),
}

#: The default of a column that a table made from an older file lacks.
_MISSING = {"human_labeled": sql.SQL("false"), "anomalous": sql.SQL("false")}


@dataclass(frozen=True)
class Verdicts:
    """Verdicts of people in the table that the file contradicts: how many, and the first few."""

    count: int = 0
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the names, and how many more there are."""
        more = self.count - len(self.names)
        return "; ".join(self.names) + (f"; and {more:,} more" if more else "")


def keep_newer_verdicts(
    connection: psycopg.Connection, receiver: Receiver, *, overwrite: bool
) -> tuple[Verdicts, Verdicts]:
    """Give incoming rows a person's verdict from the table, if it is newer.

    A row of the file is newer only if its `updated_at` is later and a person gave its label, too:
    any update changes the time, and the label of a rule or a model does not overrule a person's.
    If the file has no times, the table's verdict stays.

    Args:
        connection: in the transaction of the load, with the good rows in `incoming`.
        receiver: the table.
        overwrite: keep none of them.

    Returns:
        The verdicts that stay, and those that the load replaces.
    """
    parts = _parts(receiver)
    columns = {column.name for column in receiver.columns}
    dated = "updated_at" in columns & receiver.present
    later = "new.updated_at > old.updated_at AND {} IS NOT NULL" if dated else "false"
    newer = sql.SQL(later).format(parts["is"])
    kept = Verdicts()
    if not overwrite:
        older = sql.SQL("({}) IS NOT TRUE").format(newer)
        kept = _found(connection, parts, older)
        names = [name for name in _KEPT_WITH_IT[receiver.layout.name] if name in columns]
        if kept.count:
            changes = sql.SQL(", ").join(sql.SQL("{0} = old.{0}").format(_id(n)) for n in names)
            connection.execute(
                sql.SQL(
                    "UPDATE incoming AS new SET {changes} FROM {table} AS old WHERE {differs}"
                    " AND {older}"
                ).format(changes=changes, older=older, **parts)
            )
    return kept, _found(connection, parts, sql.SQL("true"))


def _parts(receiver: Receiver) -> dict[str, sql.Composable]:
    verdict = _VERDICT[receiver.layout.name]
    written = {column.name for column in receiver.columns}
    names = [*_KEPT_WITH_IT[receiver.layout.name], receiver.key]

    def of(row: str) -> sql.Composable:
        # A column that the file lacks stays unchanged in the table.
        columns = {
            name: _MISSING.get(name, sql.SQL("NULL"))
            if name not in receiver.present
            else sql.Identifier(row if name in written else "old", name)
            for name in names
        }
        return verdict.format(**columns)

    key = _id(receiver.key)
    return {
        "table": receiver.table,
        "key": key,
        "was": of("old"),
        "is": of("new"),
        "name": sql.SQL("coalesce(nullif(old.media_title, ''), old.{}::text)").format(key),
        "differs": sql.SQL(
            "old.{0} = new.{0} AND {1} IS NOT NULL AND {1} IS DISTINCT FROM {2}"
        ).format(key, of("old"), of("new")),
    }


def _found(
    connection: psycopg.Connection, parts: dict[str, sql.Composable], which: sql.Composable
) -> Verdicts:
    query = sql.SQL(
        "SELECT count(*), (array_agg({name} || ' (' || old.{key}::text || '): ' || {was}"
        ' ORDER BY old.{key} COLLATE "C"))[1:{named}]'
        " FROM incoming AS new, {table} AS old WHERE {differs} AND {which}"
    ).format(named=sql.Literal(NAMED), which=which, **parts)
    count, names = connection.execute(query).fetchone() or (0, None)
    return Verdicts(count, tuple(names or ()))


def _id(name: str) -> sql.Identifier:
    return sql.Identifier(name)
