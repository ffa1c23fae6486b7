"""One correction of labels from start to end: connection, transaction, record.

`atx correct` and the jobs in Dagster both call this. Not here: what is written
(`sources/correct/corrections.py`), and how it is shown.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass

import psycopg

from atx_assets.errors import AtxError, DatabaseError, FileError
from atx_assets.settings import Settings
from atx_assets.sources.correct import corrections
from atx_assets.sources.correct.corrections import check_correctable, plan_correction, plan_undo
from atx_assets.sources.correct.plan import Plan, Verdict
from atx_assets.sources.correct.record import (
    COMMITTED,
    ROLLED_BACK,
    UNKNOWN,
    CorrectionRecord,
    Entry,
    Journal,
)
from atx_assets.sources.layouts import SourceTable, find_source
from atx_assets.sources.observed_record import observed
from atx_assets.sources.read.database import connect, explained
from atx_assets.sources.read.rights import find_visible_source, more_than_needed

Planned = Callable[[psycopg.Connection, SourceTable], Plan]


@dataclass(frozen=True)
class Corrected:
    """A correction's plan, and its number in the record if anything was written."""

    plan: Plan
    number: int | None = None


def correct(
    settings: Settings, ids: Sequence[str], verdict: Verdict, *, write: bool, via: str
) -> Corrected:
    """Give titles a person's verdict: all of them in one transaction, or none.

    Args:
        settings: they name the database, and the home that holds the record.
        ids: hashes of releases or IMDb ids of titles.
        verdict: keep or skip.
        write: write it; otherwise only find out what would change.
        via: which program made the correction, for the record.

    Raises:
        AtxError: an id, the database or the record cannot be used. Nothing has changed, unless
            the line says that this is not known.
    """

    def plan(connection: psycopg.Connection, source: SourceTable) -> Plan:
        return plan_correction(connection, source, ids, verdict, lock=write)

    return _carried_out(settings, plan, write=write, via=via)


def undo(settings: Settings, number: int, *, write: bool, via: str) -> Corrected:
    """Restore the rows of a recorded correction, except those that have changed since.

    Raises:
        AtxError: there is no such correction, it was made in another database or rolled back, or
            every row has changed since; and as for `correct`.
    """
    record = CorrectionRecord(settings.home)

    def plan(connection: psycopg.Connection, source: SourceTable) -> Plan:
        # Read while the record is locked: the correction may have been under way until then.
        entry = record.entry(number)
        _check_same(entry, connection.info.dbname, source)
        made = plan_undo(connection, source, entry.rows, number, lock=write)
        if write and made.left and not made.rows:
            raise AtxError(
                f"nothing of correction {number} can be undone, and nothing was written: "
                f"{len(made.left):,} of its {len(entry.rows):,} rows have changed since "
                f"({'; '.join(made.left[:5])}{'; …' if len(made.left) > 5 else ''})"
            )
        return made

    return _carried_out(settings, plan, write=write, via=via)


def check_permission(settings: Settings) -> tuple[str, str]:
    """Check that the user for corrections may make them.

    Returns:
        Who that user is, and what else that user may do (empty if nothing).

    Raises:
        AtxError: the user cannot connect or may not, or the table cannot hold a person's verdict.
    """
    database = settings.correction_database
    with explained(database), closing(_connect(settings, write=False)) as connection:
        source = find_source(connection, settings.source)
        columns = check_correctable(connection, source)
        more = more_than_needed(connection, source.layout.table, columns)
    return f"{database.user} may change labels", more


def _carried_out(settings: Settings, planned: Planned, *, write: bool, via: str) -> Corrected:
    with ExitStack() as held:
        # Locked first, until the last line is written: two processes never mix their lines.
        record = CorrectionRecord(settings.home)
        journal = held.enter_context(record.writing()) if write else None
        connection = held.enter_context(closing(_connect(settings, write=write)))
        held.enter_context(explained(settings.correction_database))
        found = find_visible_source(connection, settings.source)
        source, _ = observed(connection, found, settings.home, settings.data_dir)
        plan = planned(connection, source)
        if journal is None or not plan.rows:
            return Corrected(plan)
        corrections.write(connection, source, plan)
        number = journal.intend(plan, database=connection.info.dbname, who=_who(), via=via)
        _commit(connection, journal, number)
        return Corrected(plan, number)


def _connect(settings: Settings, *, write: bool) -> psycopg.Connection:
    """Connect as the user of corrections, in transactions that see one moment."""

    try:
        connection = connect(
            settings.correction_database,
            statement_timeout=settings.statement_timeout,
            read_only=not write,
        )
    except DatabaseError as error:
        if not settings.correction_user:
            raise
        # Name the settings that were used.
        message = re.sub(r"\bPG_(USER|PASS)\b", r"ATX_CORRECTION_PG_\1", str(error))
        raise DatabaseError(message) from error
    # The server refuses rows that others change between our reading and our locking them.
    connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    return connection


def _commit(connection: psycopg.Connection, journal: Journal, number: int) -> None:
    """Commit, and record the outcome: done, refused, or not known."""
    try:
        connection.commit()
    except psycopg.Error as error:
        state = error.sqlstate or ""
        # A server that answers has rolled back; one that is gone may have committed before.
        if state and not state.startswith(("08", "57P")):
            message = error.diag.message_primary or str(error)
            with suppress(FileError):  # an undo that compares the rows finds the same
                journal.tell(number, ROLLED_BACK, message)
            raise AtxError(
                f"the database refused correction {number} at the commit ({message}), and nothing "
                "was changed: fix the rule that refuses it"
            ) from error
        with suppress(FileError):
            journal.tell(number, UNKNOWN, str(error))
        raise AtxError(
            f"the connection was lost while correction {number} was committed: it may be in the "
            f"database or not; `atx correct undo {number}` shows which rows it has changed"
        ) from error
    except BaseException as error:  # Ctrl-C, or the process ends: the server may have committed
        with suppress(FileError):
            journal.tell(number, UNKNOWN, type(error).__name__)
        raise
    try:
        journal.tell(number, COMMITTED)
    except FileError as error:
        raise AtxError(
            f"correction {number} is in the database, but atx could not record that ({error}); "
            "you can undo it all the same"
        ) from error


def _check_same(entry: Entry, database: str, source: SourceTable) -> None:
    if entry.outcome == ROLLED_BACK:
        raise AtxError(
            f"correction {entry.number} was rolled back ({entry.why}): there is nothing to undo"
        )
    if entry.database != database:
        raise AtxError(
            f"correction {entry.number} was made in the database {entry.database}, but this is "
            f"{database}: check PG_DB"
        )
    if entry.layout != source.layout.name:
        raise AtxError(
            f"correction {entry.number} was made in the {entry.layout} layout, and the database "
            f"is read as {source.layout.name}: set ATX_SOURCE={entry.layout} to undo it"
        )


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in some containers
        user = f"user {os.getuid()}"
    return f"{user}@{socket.gethostname()}"
