"""The aliases of the registered model in the embedded MLflow store, turned without MLflow.

Importing MLflow's client and its store takes longer than all else that `atx promote` does: this
reads and writes the few rows in SQLite itself, and only in tables that it knows. Not here: what the
aliases mean (`registry.py`), any other change of the store, which is MLflow's own.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from atx_assets.resources.registry import CHALLENGER, CHAMPION, DIGEST

if TYPE_CHECKING:
    from atx_assets.resources.bundle import Bundle

#: The revision of MLflow's tables that is known here; in any other, MLflow itself is asked.
REVISION = "dc11669786a5"
#: Seconds to wait for somebody who writes to the store, as MLflow does.
_WAIT = 20

#: What `registry.registered` looks for, the newest first.
_REGISTERED = """
SELECT v.version FROM model_versions AS v
JOIN model_version_tags AS t USING (workspace, name, version)
JOIN runs AS r ON r.run_uuid = v.run_id
WHERE v.workspace = 'default' AND v.name = :name AND v.current_stage <> 'Deleted_Internal'
  AND t.key = :tag AND t.value = :digest AND r.lifecycle_stage = 'active'
ORDER BY v.last_updated_time DESC, v.version DESC LIMIT 1
"""
_TAKE_AWAY = """
DELETE FROM registered_model_aliases
WHERE workspace = 'default' AND name = :name AND alias = :alias
"""
_POINT = """
INSERT INTO registered_model_aliases (workspace, name, alias, version)
VALUES ('default', :name, :alias, :version)
ON CONFLICT (workspace, name, alias) DO UPDATE SET version = excluded.version
"""


def mirror_embedded(store: Path, name: str, champion: Bundle) -> bool | None:
    """Point the aliases at the champion alone, as `registry.mirror` does.

    Args:
        store: MLflow's file.
        name: of the registered model.
        champion: the version that scores.

    Returns:
        Whether the champion is registered; None, and nothing is changed, where MLflow has to be
        asked: its tables are of another release, or the file cannot be used, of which it tells.
    """
    if not store.exists():
        return False
    # Not made if it goes meanwhile: an empty file would be taken for a store.
    address = f"file:{quote(str(store))}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_WAIT)) as connection, connection:
            return _mirrored(connection, name, champion.digest)
    except sqlite3.Error:
        return None


def _mirrored(connection: sqlite3.Connection, name: str, digest: str) -> bool | None:
    """Do it in one transaction, which the caller ends."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    if connection.execute("SELECT version_num FROM alembic_version").fetchall() != [(REVISION,)]:
        return None
    wanted = {"name": name, "tag": DIGEST, "digest": digest}
    found = connection.execute(_REGISTERED, wanted).fetchone()
    # Of the model that did not take the champion's place nothing is known to a person's choice.
    connection.execute(_TAKE_AWAY, {"name": name, "alias": CHALLENGER})
    if found is None:
        connection.execute(_TAKE_AWAY, {"name": name, "alias": CHAMPION})
        return False
    connection.execute(_POINT, {"name": name, "alias": CHAMPION, "version": found[0]})
    return True
