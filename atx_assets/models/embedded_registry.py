"""Our names in the embedded MLflow store, read and its aliases moved without MLflow.

Importing MLflow's client and its store takes longer than everything else that `atx promote` and
`atx doctor` do: this module reads and writes the few rows in SQLite directly, and only in tables
that it knows. Not here: what the names mean (`registry.py`), any other change of the store, which
MLflow makes itself.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from atx_assets.models.mlflow_answers import Experiment
from atx_assets.models.registry import (
    CHALLENGER,
    CHAMPION,
    DIGEST,
    MODEL,
    OUR_ALIASES,
    VERSION,
    Held,
)

if TYPE_CHECKING:
    from atx_assets.models.bundle import Bundle

#: The revision of MLflow's tables that is known here; for any other, MLflow itself is asked.
REVISION = "dc11669786a5"
#: Seconds to wait for another writer of the store, as in MLflow.
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


#: What the store holds under the name of the registered model.
_HELD = """
SELECT coalesce(m.description, ''),
  EXISTS (SELECT 1 FROM registered_model_tags AS t WHERE t.workspace = m.workspace
    AND t.name = m.name AND t.key = 'mlflow.prompt.is_prompt' AND lower(t.value) = 'true'),
  EXISTS (SELECT 1 FROM registered_model_tags AS t WHERE t.workspace = m.workspace
    AND t.name = m.name AND t.key = :model),
  EXISTS (SELECT 1 FROM model_version_tags AS t JOIN model_versions AS v
    USING (workspace, name, version) WHERE t.workspace = m.workspace AND t.name = m.name
    AND t.key IN (:digest, :version) AND v.current_stage <> 'Deleted_Internal')
FROM registered_models AS m WHERE m.workspace = 'default' AND m.name = :name
"""
_ALIASES = """
SELECT a.alias, a.version,
  EXISTS (SELECT 1 FROM model_version_tags AS t WHERE t.workspace = a.workspace
    AND t.name = a.name AND t.version = a.version AND t.key IN (:digest, :version))
FROM registered_model_aliases AS a WHERE a.workspace = 'default' AND a.name = :name
"""
_EXPERIMENT = """
SELECT experiment_id, lifecycle_stage FROM experiments
WHERE workspace = 'default' AND name = :name
"""


def read_names(store: Path, experiment: str, model: str) -> tuple[Experiment | None, Held | None]:
    """Read our experiment and what the store holds under the name of the registered model.

    Nothing is known of another release's tables: `home/schema_upgrade.py` upgrades or refuses
    those.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    if not store.exists():
        return None, None
    address = f"file:{quote(str(store))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT)) as connection:
        if not _is_known(connection):
            return None, None
        found = connection.execute(_EXPERIMENT, {"name": experiment}).fetchone()
        ours = Experiment(str(found[0]), found[1] == "deleted") if found else None
        wanted = {"name": model, "model": MODEL, "digest": DIGEST, "version": VERSION}
        row = connection.execute(_HELD, wanted).fetchone()
        if row is None:
            return ours, None
        aliases = {
            alias: (str(version), bool(from_atx))
            for alias, version, from_atx in connection.execute(_ALIASES, wanted)
            if alias in OUR_ALIASES
        }
    description, is_prompt, tagged, has_ours = row
    return ours, Held(bool(is_prompt), bool(tagged), description, bool(has_ours), aliases)


def recorded_home(store: Path, experiment: str) -> Path | None:
    """Return the home that a store was made in, by where our experiment keeps artifacts.

    None if the store does not say: it has no experiment of ours, or somebody made one with another
    place for artifacts.

    Raises:
        sqlite3.Error: the store cannot be read.
    """
    address = f"file:{quote(str(store))}?mode=rw"
    with closing(sqlite3.connect(address, uri=True, timeout=_WAIT)) as connection:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'experiments'"
        if not connection.execute(there).fetchone():
            return None
        asked = "SELECT artifact_location FROM experiments WHERE name = ?"
        found = connection.execute(asked, [experiment]).fetchone()
    url = urlsplit(found[0]) if found and found[0] else None
    if url is None or url.scheme not in ("", "file"):
        return None
    place = Path(unquote(url.path))
    return place.parents[1] if place.parts[-2:] == ("mlflow", "artifacts") else None


def _is_known(connection: sqlite3.Connection) -> bool:
    if not connection.execute(
        "SELECT 1 FROM sqlite_master WHERE name = 'alembic_version'"
    ).fetchone():
        return False
    found = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    return found == [(REVISION,)]


def mirror_embedded(store: Path, name: str, champion: Bundle) -> bool | None:
    """Point the aliases at the champion alone, as `registry.mirror` does.

    Args:
        store: MLflow's file.
        name: of the registered model.
        champion: the version that scores.

    Returns:
        Whether the champion is registered; None, with nothing changed, if MLflow has to be
        asked: its tables are of another release, or the file cannot be used, as MLflow will say.
    """
    if not store.exists():
        return False
    # Not created if it disappears meanwhile: an empty file would be taken for a store.
    address = f"file:{quote(str(store))}?mode=rw"
    try:
        with closing(sqlite3.connect(address, uri=True, timeout=_WAIT)) as connection, connection:
            return _mirrored(connection, name, champion.digest)
    except sqlite3.Error:
        return None


def _mirrored(connection: sqlite3.Connection, name: str, digest: str) -> bool | None:
    """Move the aliases in one transaction, which the caller ends."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    if not _is_known(connection):
        connection.rollback()  # a commit would write into an empty file
        return None
    wanted = {"name": name, "tag": DIGEST, "digest": digest}
    found = connection.execute(_REGISTERED, wanted).fetchone()
    # If a person chose the champion, no challenger is known.
    connection.execute(_TAKE_AWAY, {"name": name, "alias": CHALLENGER})
    if found is None:
        connection.execute(_TAKE_AWAY, {"name": name, "alias": CHAMPION})
        return False
    connection.execute(_POINT, {"name": name, "alias": CHAMPION, "version": found[0]})
    return True
