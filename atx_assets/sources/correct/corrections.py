"""What a person's verdicts change in the owner's table, writing it, and undoing it.

Besides `atx load`, this is the only code that writes to the owner's tables. Not here: which
titles are meant (`targets.py`), wording (`plan.py`), when the transaction
ends, and the record of corrections (`sources/correct/correction.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import errors, sql

from atx_assets.errors import AtxError
from atx_assets.schemas import BOOL
from atx_assets.sources.correct.plan import (
    Plan,
    RowChange,
    Values,
    Verdict,
    label_words,
    written_values,
)
from atx_assets.sources.correct.result import check_labels, timing_note
from atx_assets.sources.correct.targets import Library, chosen, read_library, well_formed
from atx_assets.sources.layouts import SCHEMA, SourceTable

#: Seconds to wait for another program that holds one of the rows.
LOCK_SECONDS = 10


def plan_correction(
    connection: psycopg.Connection,
    source: SourceTable,
    ids: Sequence[str],
    verdict: Verdict,
    *,
    lock: bool,
) -> Plan:
    """Find what a verdict on titles changes. Nothing is written.

    Args:
        connection: not in a transaction, or in one of repeatable-read; it is left in one.
        source: the table.
        ids: hashes of releases (media layout) or IMDb ids; any of them names its whole title.
        verdict: what the person says about all of them.
        lock: keep the rows from others until the transaction ends.

    Raises:
        AtxError: an id cannot be used (all such are listed), the table cannot hold a person's
            verdict, or another program holds the rows.
        psycopg.Error: as any statement (see `explained` in `sources/read/database.py`).
    """
    _check_table(source)
    wanted = well_formed(ids, source)
    with _waiting(connection, source):
        library = read_library(connection, source)
        keys = chosen(library, wanted)
        of_title = library.rows_of(keys)
        now = written_values(source.layout, verdict, source.columns)
        changing = [
            row
            for key in keys
            for row in of_title[key]
            # If a title already has the verdict, only rows that may disagree once they are fixed.
            if row in library.aside_of or not _is(library, key, verdict)
        ]
        was = _values(connection, source, changing, tuple(now), lock=lock)
        if hidden := sorted(set(changing) - was.keys()):
            # They exist at this moment, or they would not have been found.
            raise AtxError(
                f"user {connection.info.user} may not change {len(hidden):,} of these rows of "
                f"{SCHEMA}.{source.layout.table}, and nothing was written "
                f"({', '.join(hidden[:5])}{', …' if len(hidden) > 5 else ''}): fix the table's "
                "row-level security"
            )
    changes = []
    for key in keys:
        rows = [
            library.change(key, row, was[row], now)
            for row in of_title[key]
            if row in was and was[row] != now
        ]
        becomes = label_words(verdict == "keep", "human")
        changes.append(library.title(key, len(of_title[key]), becomes, rows))
    grant = _missing_grant(connection, source, tuple(now))
    return Plan(source.layout, verdict, tuple(changes), grant=grant)


def plan_undo(
    connection: psycopg.Connection,
    source: SourceTable,
    written: Sequence[RowChange],
    number: int,
    *,
    lock: bool,
) -> Plan:
    """Find which rows of a correction are still as it wrote them, and can be restored.

    Only the columns that it wrote are compared. The plan names rows that have changed since or are
    gone, and leaves them alone.

    Args:
        connection, source, lock: as for `plan_correction`.
        written: the rows as the correction recorded them.
        number: its number.
    """
    columns = tuple(dict.fromkeys(name for row in written for name in row.now))
    missing = [name for name in columns if name not in source.columns]
    if missing:
        raise AtxError(
            f"{SCHEMA}.{source.layout.table} no longer has the column {', '.join(missing)}, which "
            f"correction {number} wrote: it cannot be undone"
        )
    with _waiting(connection, source):
        library = read_library(connection, source)
        found = _values(connection, source, [row.key for row in written], columns, lock=lock)
    restored, left, alike = dict[str, list[RowChange]](), list[str](), 0
    for row in written:
        is_now = {n: found[row.key][n] for n in row.now} if row.key in found else None
        if is_now == row.was:
            alike += 1
        elif is_now == row.now and (title := library.title_of_row(row.key)):
            back = replace(row, was=row.now, now=row.was)
            restored.setdefault(title, []).append(back)
        else:
            left.append(_difference(row, is_now, library))
    back_again = [row for rows in restored.values() for row in rows]
    after = library.labels_after(back_again, at_once=False)
    at_once = library.labels_after(back_again, at_once=True)
    of_title = library.rows_of(restored)
    changes = [
        library.title(
            key, len(of_title[key]), after[key], rows, timing_note(after[key], at_once[key])
        )
        for key, rows in restored.items()
    ]
    grant = _missing_grant(connection, source, columns)
    return Plan(source.layout, "undo", tuple(changes), number, tuple(left), alike, grant)


def write(connection: psycopg.Connection, source: SourceTable, plan: Plan) -> None:
    """Write a plan's rows, in the same transaction in which it was made with `lock`.

    Raises:
        AtxError: the table refuses a value, does not keep what was written, or a title's label
            is not what the plan says. The transaction must then be rolled back.
    """
    with _waiting(connection, source), _refused(plan):
        with connection.cursor() as cursor:
            for columns, rows in _by_columns(plan.rows).items():
                cursor.executemany(
                    sql.SQL("UPDATE {} SET {} WHERE {} = %s").format(
                        sql.Identifier(SCHEMA, source.layout.table),
                        sql.SQL(", ").join(
                            sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns
                        ),
                        sql.Identifier(source.layout.key),
                    ),
                    [(*(row.now[name] for name in columns), row.key) for row in rows],
                )
        found = _values(
            connection, source, [row.key for row in plan.rows], plan.columns, lock=False
        )
    for row in plan.rows:
        # A trigger or a rule may have changed the values: then the record would be wrong.
        if any(found.get(row.key, {}).get(name, ...) != value for name, value in row.now.items()):
            raise AtxError(
                f"{plan.table} did not keep what was written to {row.key} ({row.name}), and "
                "nothing was changed: a trigger or rule of the table prevents it"
            )
    with _waiting(connection, source):
        check_labels(connection, source, plan)


def check_correctable(connection: psycopg.Connection, source: SourceTable) -> tuple[str, ...]:
    """Check that the table can hold a person's verdicts, and that the user may write them.

    Returns:
        The columns that are written.

    Raises:
        AtxError: it cannot, or the user may not; the line says how to fix it.
    """
    _check_table(source)
    columns = tuple(written_values(source.layout, "keep", source.columns))
    if grant := _missing_grant(connection, source, columns):
        raise AtxError(grant)
    return columns


def _check_table(source: SourceTable) -> None:
    if source.layout.name == "training" and "human_labeled" not in source.columns:
        table = f"{SCHEMA}.{source.layout.table}"
        raise AtxError(
            f"{table} has no column human_labeled, so a person's verdict cannot be told apart "
            f"from a rule's: ALTER TABLE {table} ADD COLUMN human_labeled bool NOT NULL DEFAULT "
            "false; then correct again"
        )


def _is(library: Library, key: str, verdict: Verdict) -> bool:
    title = library.titles[key]
    return (title["label"], title["label_source"]) == (verdict == "keep", "human")


def _values(
    connection: psycopg.Connection,
    source: SourceTable,
    keys: Sequence[str],
    columns: Sequence[str],
    *,
    lock: bool,
) -> dict[str, Values]:
    """Read columns of rows, by key; in key order, so that two transactions never deadlock."""
    types = {column.name: column.type for column in source.known}
    expressions = [
        sql.SQL("{}" if types.get(name) == BOOL else "{}::text").format(sql.Identifier(name))
        for name in (source.layout.key, *columns)
    ]
    query = sql.SQL("SELECT {} FROM {} WHERE {} = ANY(%s) ORDER BY 1 {}").format(
        sql.SQL(", ").join(expressions),
        sql.Identifier(SCHEMA, source.layout.table),
        sql.Identifier(source.layout.key),
        sql.SQL("FOR UPDATE" if lock else ""),
    )
    if not keys:
        return {}
    if lock and (grant := _missing_grant(connection, source, columns)):
        raise AtxError(grant)
    rows = connection.execute(query, (list(keys),)).fetchall()
    return {row[0]: dict(zip(columns, row[1:], strict=True)) for row in rows}


def _by_columns(rows: Iterable[RowChange]) -> dict[tuple[str, ...], list[RowChange]]:
    grouped: dict[tuple[str, ...], list[RowChange]] = {}
    for row in rows:
        grouped.setdefault(tuple(row.now), []).append(row)
    return grouped


def _difference(row: RowChange, is_now: Mapping[str, Any] | None, library: Library) -> str:
    if is_now is None:
        return f"{row.name}, {row.key}: the row is gone"
    if row.key in library.set_aside:
        return f"{row.name}, {row.key}: set aside: {library.set_aside[row.key]}"
    differences = ", ".join(
        f"{name} is {is_now[name]!r}, but {value!r} was written"
        for name, value in row.now.items()
        if is_now[name] != value
    )
    return f"{row.name}, {row.key}: {differences or 'no longer a film'}"


def _missing_grant(
    connection: psycopg.Connection, source: SourceTable, columns: Sequence[str]
) -> str:
    """Return the GRANT that the user needs to write the columns, or nothing."""
    table, user = f"{SCHEMA}.{source.layout.table}", connection.info.user
    row = connection.execute(
        "SELECT bool_and(has_column_privilege(%s, name, 'UPDATE')) FROM unnest(%s::text[]) name",
        (table, list(columns)),
    ).fetchone()
    if row != (False,):
        return ""
    named = sql.SQL(", ").join(map(sql.Identifier, columns)).as_string(connection)
    return (
        f"user {user} may not change labels in {table}: GRANT SELECT, UPDATE ({named}) ON {table} "
        f"TO {sql.Identifier(user).as_string(connection)}; or name a user who may in "
        "ATX_CORRECTION_PG_USER and ATX_CORRECTION_PG_PASS"
    )


@contextmanager
def _waiting(connection: psycopg.Connection, source: SourceTable) -> Iterator[None]:
    """Limit the wait for a program that holds the rows, and report it.

    Raises:
        AtxError: it still holds them, or has changed one since the transaction began.
    """
    milliseconds = str(LOCK_SECONDS * 1000)
    connection.execute("SELECT set_config('lock_timeout', %s, true)", (milliseconds,))
    try:
        yield
    except errors.LockNotAvailable as error:
        raise AtxError(
            f"another program has held {SCHEMA}.{source.layout.table}, or one of these rows of "
            f"it, for {LOCK_SECONDS} s, and nothing was written: run it again when it has finished"
        ) from error
    except (errors.SerializationFailure, errors.DeadlockDetected) as error:
        raise AtxError(
            f"another program changed one of these rows of {SCHEMA}.{source.layout.table} "
            "meanwhile, and nothing was written: run it again"
        ) from error


@contextmanager
def _refused(plan: Plan) -> Iterator[None]:
    try:
        yield
    except (errors.IntegrityError, errors.DataError, errors.RaiseException) as error:
        raise AtxError(
            f"a rule of {plan.table} refuses the correction "
            f"({error.diag.message_primary}), and nothing was written: fix the rule"
        ) from error
