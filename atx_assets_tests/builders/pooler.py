"""A transaction pooler between a client and the tests' PostgreSQL: real PgBouncer."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psycopg

from atx_assets.home.postgres.server_user import ServerUser
from atx_assets.settings import Database
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.environment import require, unused_port
from atx_assets_tests.builders.postgres import new_server_folder
from atx_assets_tests.programs import path_of

# One connection to the server for all clients: whatever one leaves in it, the next one gets.
_SETTINGS = """
[databases]
* = host={host} port={port} pool_size=1

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {pooler}
unix_socket_dir =
pool_mode = transaction
auth_type = trust
auth_file = {folder}/users
logfile = {folder}/log
"""


@contextmanager
def pooled(database: Database, *users: str) -> Iterator[Database]:
    """The same database by way of a pooler, which lets some users in."""
    require("pgbouncer")
    found = Path(database.host).stat()
    owner = ServerUser(found.st_uid, found.st_gid)  # who alone reaches the socket; never root
    with new_server_folder() as folder:
        port = unused_port()
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            _SETTINGS.format(host=database.host, port=database.port, pooler=port, folder=folder)
        )
        if _follows_prepared_statements():
            with settings.open("a") as file:
                file.write("max_prepared_statements = 0\n")
        known = (database.user, *users)
        (folder / "users").write_text("".join(f'"{user}" ""\n' for user in known))
        for path in (folder, *folder.iterdir()):
            owner.own(path)
        command = [str(path_of("pgbouncer")), "-q", str(settings)]
        bouncer = subprocess.Popen(command, start_new_session=True, cwd="/", **owner.popen)
        try:
            through = replace(database, host="127.0.0.1", port=port)
            _wait(through, bouncer, folder / "log")
            yield through
        finally:
            os.killpg(bouncer.pid, signal.SIGKILL)
            bouncer.wait(20)


def _follows_prepared_statements() -> bool:
    """Whether this PgBouncer would rename a client's prepared statements, as since 1.21."""
    told = subprocess.check_output([str(path_of("pgbouncer")), "--version"], text=True)
    major, minor = re.findall(r"\d+", told)[:2]
    return (int(major), int(minor)) >= (1, 21)


def _wait(through: Database, bouncer: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            opened(through).close()
        except psycopg.OperationalError:
            assert bouncer.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        else:
            return
