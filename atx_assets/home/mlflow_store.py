"""The files of the embedded MLflow store: copying them while in use, moving them to another home.

MLflow stores the place of each artifact as an absolute path, in its database and with each model.

Not here: what is in it (`defs/resources/`), nor its schema (`schema_upgrade.py`).
"""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote

from atx_assets.errors import AtxError
from atx_assets.models.sqlite_faults import store_fault
from atx_assets.plain_text import shown
from atx_assets.storage.in_one_step import in_one_step

#: Seconds to wait for another writer.
_PATIENCE = 60

#: MLflow's only trigger, which refuses changes; in lower case with single blanks.
_TRIGGER = (
    "create trigger prevent_secrets_aad_mutation before update on secrets for each row when "
    "old.secret_id != new.secret_id or old.secret_name != new.secret_name begin select "
    "raise(abort, 'secret_id and secret_name are immutable (used as aad in encryption)'); end"
)


def copy_store(store: Path, copy: Path) -> None:
    """Copy the store's database as of one moment; others may go on writing.

    Raises:
        AtxError: it is damaged, or stays locked.
    """
    try:
        with (
            closing(sqlite3.connect(store, timeout=_PATIENCE)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            # Reading waits for at most `_PATIENCE` and keeps writers out. The backup itself would
            # wait for a locked store for ever.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(target)
            verdict = target.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise AtxError(f"{store} {store_fault(store, error)}") from error
    if verdict != "ok":
        raise AtxError(
            f"{store} is damaged ({verdict}): move it away to begin a new one (champion and "
            "versions do not need it), or restore it from an older backup"
        )


def refuse_code(store: Path) -> None:
    """Check that a store which anybody may have made runs no code except MLflow's own.

    Raises:
        AtxError: it holds code, or cannot be read.
    """
    try:
        with closing(sqlite3.connect(store)) as connection:
            parts = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise AtxError(f"its MLflow store is damaged ({shown(str(error))})") from error
    for kind, name, statement in parts:
        words = " ".join(str(statement).lower().split()).removesuffix(";")
        plain_table = kind == "table" and words.startswith("create table ")
        if not (plain_table or kind == "index" or words == _TRIGGER):
            raise AtxError(f"its MLflow store holds code that is not MLflow's: {shown(name)}")


def artifact_folders(store: Path, home: Path) -> list[Path]:
    """Return the artifact folders that a store names, relative to the home's folder `mlflow`."""
    prefix = (home / "mlflow").as_uri() + "/"
    with closing(sqlite3.connect(store, timeout=_PATIENCE)) as connection:
        query = (
            "SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, :length) = :prefix "
            "UNION SELECT artifact_location FROM logged_models "
            "WHERE substr(artifact_location, 1, :length) = :prefix"
        )
        rows = connection.execute(query, {"length": len(prefix), "prefix": prefix}).fetchall()
    return [Path(unquote(uri.removeprefix(prefix))) for (uri,) in rows]


def move_store(database: Path, artifacts: Path, before: Path, after: Path) -> int:
    """Change the paths in a store of the home `before` to those of the home `after`.

    Every text that begins with the old home's `mlflow` folder gets the new one: first in the files
    of the models, then in the database, in one transaction, which shows that a move is complete.

    Args:
        database: the store's database, which nobody else has open.
        artifacts: the folder of its artifacts, wherever that is now.
        before: the old home.
        after: the home where it will be used.

    Returns:
        How many values were changed.

    Raises:
        sqlite3.Error: the database is damaged, or cannot be written.
    """
    old, new = before / "mlflow", after / "mlflow"
    pairs = [(old.as_uri(), new.as_uri()), (str(old), str(new))]
    for about in artifacts.glob("models/*/artifacts/MLmodel"):
        text = about.read_bytes()
        first, now = (f"artifact_path: {uri}/".encode() for uri in pairs[0])
        if text.startswith(first):
            with in_one_step(about) as new_file:
                new_file.write_bytes(now + text.removeprefix(first))
                shutil.copymode(about, new_file)
    changed = 0
    with closing(sqlite3.connect(database, timeout=_PATIENCE)) as connection, connection:
        # Expressions in the schema may call only SQLite's harmless functions.
        connection.execute("PRAGMA trusted_schema = OFF")
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in connection.execute(tables).fetchall():
            columns = connection.execute("SELECT name FROM pragma_table_info(?)", [table])
            for (column,) in columns.fetchall():
                changed += sum(_replaced(connection, table, column, *pair) for pair in pairs)
    return changed


def _replaced(connection: sqlite3.Connection, table: str, column: str, old: str, new: str) -> int:
    where, named = _quoted(table), _quoted(column)
    # No LIKE: paths may hold % and _. The slash keeps /home/a from matching /home/ab.
    statement = (
        f"UPDATE {where} SET {named} = ? || substr({named}, ?) "  # noqa: S608 quoted, and its own
        f"WHERE typeof({named}) = 'text' AND ({named} = ? OR substr({named}, 1, ?) = ?)"
    )
    values = [new, len(old) + 1, old, len(old) + 1, f"{old}/"]
    return connection.execute(statement, values).rowcount


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
