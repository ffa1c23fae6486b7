"""The embedded MLflow store as files: copied while it is written to, and moved to another home.

MLflow keeps the place of each artifact as an absolute path, in its database and beside each model.

Not here: what is in it (`resources/`), nor its schema (`schema_upgrade.py`).
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
            # Read first, which waits for `_PATIENCE` alone and keeps writers out: the copying waits
            # for ever for a store that is locked.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_master").fetchone()
            source.backup(target)
            found = target.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise AtxError(f"{store} {store_fault(store, error)}") from error
    if found != "ok":
        raise AtxError(
            f"{store} is damaged ({found}): move it away to begin a new one (champion and versions "
            "do not need it), or restore it from an older backup"
        )


def refuse_code(store: Path) -> None:
    """See that using a store which somebody else may have made runs nothing but MLflow's own.

    Raises:
        AtxError: it holds code, or cannot be read.
    """
    try:
        with closing(sqlite3.connect(store)) as connection:
            found = connection.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise AtxError(f"MLflow's store in it is damaged ({shown(str(error))})") from error
    for kind, name, statement in found:
        words = " ".join(str(statement).lower().split()).removesuffix(";")
        plain_table = kind == "table" and words.startswith("create table ")
        if not (plain_table or kind == "index" or words == _TRIGGER):
            raise AtxError(f"MLflow's store in it holds code that is not MLflow's: {shown(name)}")


def artifact_folders(store: Path, home: Path) -> list[Path]:
    """Return the folders of artifacts that a store names, relative to `mlflow` of the home."""
    prefix = (home / "mlflow").as_uri() + "/"
    with closing(sqlite3.connect(store, timeout=_PATIENCE)) as connection:
        asked = (
            "SELECT artifact_uri FROM runs WHERE substr(artifact_uri, 1, :length) = :prefix "
            "UNION SELECT artifact_location FROM logged_models "
            "WHERE substr(artifact_location, 1, :length) = :prefix"
        )
        rows = connection.execute(asked, {"length": len(prefix), "prefix": prefix}).fetchall()
    return [Path(unquote(uri.removeprefix(prefix))) for (uri,) in rows]


def move_store(database: Path, artifacts: Path, before: Path, after: Path) -> int:
    """Make a store that lay in the home `before` one of the home `after`.

    Every text that begins with the old home's `mlflow` folder is given the new one: beside the
    models first, and in the database at once, by which a move is seen to be done.

    Args:
        database: the store's database, which nobody else has open.
        artifacts: the folder of its artifacts, wherever that is now.
        before: the old home.
        after: the home that it will be found in.

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
            with in_one_step(about) as beside:
                beside.write_bytes(now + text.removeprefix(first))
                shutil.copymode(about, beside)
    changed = 0
    with closing(sqlite3.connect(database, timeout=_PATIENCE)) as connection, connection:
        # What the schema itself computes may call nothing but SQLite's harmless functions.
        connection.execute("PRAGMA trusted_schema = OFF")
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
        for (table,) in connection.execute(tables).fetchall():
            columns = connection.execute("SELECT name FROM pragma_table_info(?)", [table])
            for (column,) in columns.fetchall():
                changed += sum(_replaced(connection, table, column, *pair) for pair in pairs)
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
