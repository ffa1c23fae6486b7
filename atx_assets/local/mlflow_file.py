"""The embedded MLflow store as files: copied while it is written to, and moved to another home.

Not here: what is in it (`resources/`), nor its schema (`schema_upgrade.py`).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.local.plain_text import shown

#: Seconds to wait for whoever is writing to it.
_PATIENCE = 60

#: The one trigger of MLflow's own, which refuses changes; in lower case with single blanks.
_TRIGGER = (
    "create trigger prevent_secrets_aad_mutation before update on secrets for each row when "
    "old.secret_id != new.secret_id or old.secret_name != new.secret_name begin select "
    "raise(abort, 'secret_id and secret_name are immutable (used as aad in encryption)'); end"
)


def copy_store(store: Path, copy: Path) -> None:
    """Copy the store's database as it is at one moment; others may go on writing.

    Raises:
        AtxError: it is damaged, or kept locked.
    """
    try:
        with (
            closing(sqlite3.connect(store, timeout=_PATIENCE)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.backup(target)
            found = target.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise AtxError(f"{store} cannot be read ({error}): is it damaged, or in use?") from error
    if found != "ok":
        raise AtxError(
            f"{store} is damaged ({found}): move it away to begin a new one (champion and versions "
            "do not need it), or restore it from an older backup"
        )


def move_store(database: Path, artifacts: Path, before: Path, after: Path) -> int:
    """Make a store that lay in the home `before` one of the home `after`.

    MLflow keeps the place of each artifact as an absolute path, in its database and beside each
    model. Every text that begins with the old home's `mlflow` folder is given the new one.

    Args:
        database: the store's database, which nobody else has open.
        artifacts: the folder of its artifacts, wherever that is now.
        before: the old home.
        after: the home that it will be found in.

    Returns:
        How many values were changed.

    Raises:
        AtxError: the database is damaged, or holds code.
    """
    old, new = before / "mlflow", after / "mlflow"
    pairs = [(old.as_uri(), new.as_uri()), (str(old), str(new))]
    try:
        with closing(sqlite3.connect(database)) as connection, connection:
            # What the schema itself computes may call nothing but SQLite's harmless functions.
            connection.execute("PRAGMA trusted_schema = OFF")
            _refuse_code(connection)
            changed = sum(_moved(connection, *pair) for pair in pairs)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise AtxError(f"MLflow's store in it is damaged ({shown(str(error))})") from error
    for about in artifacts.glob("models/*/artifacts/MLmodel"):
        text = about.read_bytes()
        first, now = (f"artifact_path: {uri}/".encode() for uri in pairs[0])
        if text.startswith(first):
            about.write_bytes(now + text.removeprefix(first))
    return changed


def _refuse_code(connection: sqlite3.Connection) -> None:
    """See that using a store runs nothing but what MLflow's own tables do."""
    found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    for kind, name, statement in found:
        words = " ".join(str(statement).lower().split()).removesuffix(";")
        plain_table = kind == "table" and words.startswith("create table ")
        if not (plain_table or kind == "index" or words == _TRIGGER):
            raise AtxError(f"MLflow's store in it holds code that is not MLflow's: {shown(name)}")


def _moved(connection: sqlite3.Connection, old: str, new: str) -> int:
    changed = 0
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    for (table,) in connection.execute(tables).fetchall():
        columns = connection.execute("SELECT name FROM pragma_table_info(?)", [table])
        for (column,) in columns.fetchall():
            changed += _replaced(connection, table, column, old, new)
    return changed


def _replaced(connection: sqlite3.Connection, table: str, column: str, old: str, new: str) -> int:
    where, named = _quoted(table), _quoted(column)
    # No LIKE: % and _ are in paths, too. Up to a slash, or /home/a would be found in /home/ab.
    statement = (
        f"UPDATE {where} SET {named} = ? || substr({named}, ?) "  # noqa: S608 quoted, and its own
        f"WHERE typeof({named}) = 'text' AND ({named} = ? OR substr({named}, 1, ?) = ?)"
    )
    values = [new, len(old) + 1, old, len(old) + 1, f"{old}/"]
    return connection.execute(statement, values).rowcount


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
