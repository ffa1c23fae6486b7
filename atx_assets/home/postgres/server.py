"""The embedded PostgreSQL of one home, shared by all processes that use that home.

Each process holds a lease; the last to leave stops the server. Not here: the data folder and the
server process themselves (`cluster.py`), nor which databases are needed (`home/home.py`).

A lease is a shared lock on a file, and leaving tries to make it exclusive. A killed process loses
its lease, and the server then runs until the next process leaves.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Self

from atx_assets.embedded import PORT
from atx_assets.errors import AtxError
from atx_assets.home.postgres.cluster import USER, Cluster
from atx_assets.storage.locks import locked, made_exclusive, try_lock, unlock


class EmbeddedPostgres:
    """A PostgreSQL server under `home`, on a Unix socket that only its owner can reach.

    Attributes:
        host: the folder of the socket, which every client accepts as a host.
        port: the number in the socket's name.
        user: the database's superuser, who needs no password over the private socket.
    """

    def __init__(self, home: Path) -> None:
        """Compute the paths; nothing is touched before `acquire`."""
        home = home.resolve()
        self._cluster = Cluster(home)
        self._locks = home / "locks"
        self._lease: int | None = None
        self.host = str(self._cluster.socket_folder)
        self.port = PORT
        self.user = USER

    def acquire(self) -> None:
        """Start the server if necessary and hold it until `release`.

        Raises:
            AtxError: it cannot be started, or the home cannot be written.
        """
        if self._lease is not None:
            raise RuntimeError("this EmbeddedPostgres is already held")
        self._make_folders()
        with self._changing():
            lease = try_lock(self._locks / "postgres.lease", shared=True)
            if lease is None:  # it is exclusive only briefly, under the lock that we hold
                raise RuntimeError("the lease of the embedded PostgreSQL is locked")
            try:
                self._cluster.start()
            except BaseException:
                try:
                    self._stop_if_last(lease)
                finally:
                    unlock(lease)
                raise
            self._lease = lease

    def release(self) -> None:
        """Release the lease; stop the server if nobody else holds one and it is not kept."""
        if self._lease is None:
            return
        lease, self._lease = self._lease, None
        try:
            # A process that is starting it for longer has a lease, and stops it on leaving.
            with self._changing(timeout=30):
                self._stop_if_last(lease)
        finally:
            unlock(lease)

    def __enter__(self) -> Self:
        """Acquire the server."""
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release the server."""
        self.release()

    def start_and_keep(self) -> None:
        """Start the server and leave it running until `stop`."""
        self._make_folders()
        with self._changing():
            self._cluster.start()
            self._kept.touch()

    def stop(self) -> bool:
        """Stop the server and no longer keep it; False if another process holds a lease.

        That process stops it on leaving.
        """
        if not self._locks.is_dir():
            return True
        with self._changing():
            self._kept.unlink(missing_ok=True)
            lease = try_lock(self._locks / "postgres.lease")
            if lease is None:
                return False
            try:
                self._cluster.stop()
            finally:
                unlock(lease)
            return True

    def is_running(self) -> bool:
        """Return whether the server accepts connections."""
        return self._cluster.answers()

    def revive(self) -> bool:
        """Restart the server if it is gone, for a caller that holds it; return whether it was.

        A server whose main process was killed is not gone until its last process has ended: they
        still use the memory that a new server would take over.

        Raises:
            AtxError: it cannot be started.
        """
        if self._cluster.lives:
            return False
        with self._changing():
            gone = not self._cluster.lives  # another atx of this home may have been faster
            self._cluster.start()
        return gone

    def address(self, database: str, user: str = USER) -> str:
        """Return libpq's connection string for a database, unaffected by the environment."""
        return self._cluster.address(database, user)

    def ensure_database(self, name: str) -> None:
        """Create the database `name` if it is missing: UTF-8, ordered by code point."""
        import psycopg
        from psycopg import errors, sql

        with psycopg.connect(self.address("postgres"), autocommit=True) as connection:
            exists = "SELECT 1 FROM pg_database WHERE datname = %s"
            if connection.execute(exists, [name]).fetchone():
                return
            statement = sql.SQL(
                "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' "
                "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LOCALE 'C'"
            ).format(sql.Identifier(name))
            try:
                connection.execute(statement)
            except (errors.DuplicateDatabase, errors.UniqueViolation):
                return  # another process of this home was faster

    @property
    def _kept(self) -> Path:
        return self._locks / "postgres.kept"

    def _changing(self, timeout: float | None = None) -> AbstractContextManager[None]:
        """Return a lock: only one process at a time starts or stops the server."""
        return locked(
            self._locks / "postgres.change",
            waiting_for="another atx that is starting or stopping PostgreSQL",
            timeout=timeout,
        )

    def _stop_if_last(self, lease: int) -> None:
        if made_exclusive(lease) and not self._kept.exists():
            self._cluster.stop()

    def _make_folders(self) -> None:
        home = self._cluster.home
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self._locks, self._cluster.log.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise AtxError(
                f"cannot write in {home} ({error.strerror}): set ATX_HOME to a folder of your own"
            ) from error
