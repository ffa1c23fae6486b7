"""Prepares the folder ATX_HOME: its parts, its servers and databases, its environment.

Not here: how the server is run (`home/postgres/server.py`), nor the processes of the UI
(`web/up.py`).
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from atx_assets.errors import AtxError, MlflowError
from atx_assets.home.moved_home import follow_home
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.libpq import unasked
from atx_assets.settings import ROOT, Settings
from atx_assets.storage.disk_errors import why_unusable
from atx_assets.storage.in_one_step import replace_file

#: Dagster's own storage is in a database of its own, not in that of the media.
DAGSTER_DATABASE = "dagster"

#: The folders of the home, except PostgreSQL's data (which `home/postgres/cluster.py` closes to
#: other users).
_PARTS = ("dagster", "dagster/storage", "dagster/history", "locks", "logs", "mlflow")

logger = logging.getLogger(__name__)


@contextmanager
def open_home(settings: Settings) -> Iterator[Settings]:
    """Prepare the home, hold its embedded server, and yield the settings to work with.

    The server is started only if it serves the media or Dagster's storage, and is released at
    the end. Missing databases are created.

    Raises:
        AtxError: the home cannot be written, or the server cannot be started.
    """
    prepare(settings)
    server = EmbeddedPostgres(settings.home)
    if not _needs_server(settings, server):
        yield _filled(settings, server)
        return
    with server:
        _ensure_databases(settings, server)
        yield _filled(settings, server)


def start_servers(settings: Settings) -> Settings:
    """Prepare the home and leave its embedded server running until `stop_servers`."""
    prepare(settings)
    try:
        follow_home(settings)
    except MlflowError as error:  # PostgreSQL can be used without MLflow
        logger.warning("%s", error)
    server = EmbeddedPostgres(settings.home)
    if _needs_server(settings, server):
        server.start_and_keep()
        _ensure_databases(settings, server)
    return _filled(settings, server)


def stop_servers(settings: Settings) -> bool:
    """Stop the embedded server; False if another atx uses it and will stop it when it ends."""
    return EmbeddedPostgres(settings.home).stop()


def running_home(settings: Settings) -> Settings:
    """Return the settings that reach the servers of a home that is already running.

    Raises:
        AtxError: the embedded server is needed but not running.
    """
    server = EmbeddedPostgres(settings.home)
    if _needs_server(settings, server) and not server.is_running():
        raise AtxError(
            f"the embedded PostgreSQL of {settings.home} is not running: start it with `atx start`"
        )
    return _filled(settings, server)


def revive_server(settings: Settings) -> bool:
    """Restart the embedded server of an open home if it is gone; return whether it was.

    Raises:
        AtxError: it cannot be started.
    """
    server = EmbeddedPostgres(settings.home)
    return _needs_server(settings, server) and server.revive()


def exports(settings: Settings) -> dict[str, str]:
    """Return the environment in which any process reaches the servers of `settings`."""
    return {
        "ATX_HOME": str(settings.home),
        "ATX_DATA_DIR": str(settings.data_dir),
        "DAGSTER_HOME": str(settings.dagster_home),
        "DAGSTER_POSTGRES_URL": settings.dagster_postgres_url,
        "PG_HOST": settings.pg_host,
        "PG_PORT": str(settings.pg_port),
        "PG_DB": settings.pg_db,
        "PG_USER": settings.pg_user,
        "PG_PASS": settings.pg_pass,
        # Empty ones as well: they override `.env` in processes that use another home.
        "ATX_SOURCE": settings.source,
        "MLFLOW_HOST": settings.mlflow_host,
        "MLFLOW_PORT": str(settings.mlflow_port),
        "ATX_UI_PORT": str(settings.ui_port),
        "ATX_REPORT_PORT": str(settings.report_port),
    }


def secret_exports(settings: Settings) -> dict[str, str]:
    """Return the names in `exports` that hold a password, each with what the password opens."""
    url = settings.dagster_postgres_url
    user = url.partition("://")[2].rpartition("@")[0]
    secret = {
        "PG_PASS": (settings.pg_pass, "the media database"),
        "DAGSTER_POSTGRES_URL": (":" in user or "password" in url, "Dagster's storage"),
        "MLFLOW_HOST": ("@" in settings.mlflow_host, "MLflow"),
    }
    return {name: of for name, (holds, of) in secret.items() if holds}


def prepare(settings: Settings) -> None:
    """Create the home and Dagster's folder in it, with the repository's `dagster.yaml`.

    Raises:
        AtxError: they cannot be written.
    """
    try:
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.dagster_home.mkdir(mode=0o700, exist_ok=True)
        _close_to_others(settings.home)
        _copy_changed(ROOT / "dagster.yaml", settings.dagster_home / "dagster.yaml")
    except OSError as error:
        raise AtxError(
            f"cannot prepare {settings.home} ({error.strerror}: {error.filename}): {_fix_of(error)}"
        ) from error


def _fix_of(error: OSError) -> str:
    """Return the fix. Another home begins empty: it is advised first only for another user's."""
    if error.errno in (errno.EACCES, errno.EPERM):
        return "change its owner, or set ATX_HOME to a folder of your own"
    return f"{why_unusable(error)}, or set ATX_HOME to another folder, which begins empty"


def _close_to_others(home: Path) -> None:
    """Close the home to other users: an older atx, or `cp`, may have left it readable.

    Root's home keeps its search permission: the server's own user needs it, and it shows no names
    (`home/postgres/server_user.py`). The data folder stays as it is, because it may be open on
    purpose. So does a home that is the user's whole home folder.
    """
    if home.resolve() == Path(os.environ.get("HOME", "/")).resolve():
        return
    kept = stat.S_IXOTH if os.geteuid() == 0 else 0
    for folder in (home, *(home / part for part in _PARTS)):
        if folder.is_symlink() or not folder.is_dir():
            continue
        status = folder.stat()
        mode = stat.S_IMODE(status.st_mode)
        if status.st_uid == os.geteuid() and mode & 0o077 & ~kept:
            folder.chmod(mode & ~0o077 | mode & kept)
            logger.info("closed %s to other users of this machine (%03o)", folder, mode)
    # Whoever can pass through root's home can open files in it by their known names.
    for file in home.iterdir():
        with suppress(FileNotFoundError):  # another atx has just renamed it
            status = file.lstat()
            ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
            if ours and status.st_mode & 0o077:
                file.chmod(status.st_mode & 0o700)


def _copy_changed(source: Path, target: Path) -> None:
    content = source.read_bytes()
    if not target.exists() or target.read_bytes() != content:
        replace_file(target, content, alone=False)


def _dagster_url(server: EmbeddedPostgres) -> str:
    # Bare postgresql:// means psycopg 3 to SQLAlchemy, and dagster-postgres works with psycopg2.
    where = {"host": server.host, "port": server.port, **unasked(server.host)}
    return f"postgresql+psycopg2://{server.user}@/{DAGSTER_DATABASE}?{urlencode(where, safe='/')}"


def _serves_media(settings: Settings, server: EmbeddedPostgres) -> bool:
    # In a shell that has evaluated `atx env`, PG_HOST names our own server, which we still hold.
    return settings.pg_host in ("", server.host)


def _serves_dagster(settings: Settings, server: EmbeddedPostgres) -> bool:
    return not settings.dagster_postgres_url or _is_own(settings.dagster_postgres_url, server)


def _is_own(url: str, server: EmbeddedPostgres) -> bool:
    """Return whether `_dagster_url` makes this address, here or in another environment."""
    try:
        parts = urlsplit(url)
    except ValueError:  # not an address; connecting to it reports that
        return False
    where = (parts.netloc, parts.path, parse_qs(parts.query).get("host"))
    return where == (f"{server.user}@", f"/{DAGSTER_DATABASE}", [server.host])


def uses_own_servers(settings: Settings) -> bool:
    """Return whether media and Dagster's storage are both on the embedded server of the home."""
    return all(own_databases(settings))


def own_databases(settings: Settings) -> tuple[bool, bool]:
    """Return whether media, and whether Dagster's storage, are on the home's embedded server."""
    server = EmbeddedPostgres(settings.home)
    return _serves_media(settings, server), _serves_dagster(settings, server)


def _needs_server(settings: Settings, server: EmbeddedPostgres) -> bool:
    return _serves_media(settings, server) or _serves_dagster(settings, server)


def _ensure_databases(settings: Settings, server: EmbeddedPostgres) -> None:
    if _serves_media(settings, server):
        server.ensure_database(settings.pg_db)
    if _serves_dagster(settings, server):
        server.ensure_database(DAGSTER_DATABASE)


def _filled(settings: Settings, server: EmbeddedPostgres) -> Settings:
    own = _serves_dagster(settings, server)
    url = _dagster_url(server) if own else settings.dagster_postgres_url
    for bare in ("postgres://", "postgresql://"):
        if url.startswith(bare):
            url = "postgresql+psycopg2://" + url.removeprefix(bare)
    filled = replace(settings, dagster_postgres_url=url)
    if not _serves_media(settings, server):
        return filled
    return replace(
        filled, pg_host=server.host, pg_port=server.port, pg_user=server.user, pg_pass=""
    )
