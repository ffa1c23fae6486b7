"""Which user runs the PostgreSQL server, and which folders that user must be able to reach.

PostgreSQL refuses to run as root. If root starts it, it runs as the owner of its data, which is the
system user `atx_postgres` for new data. If root may not become another user, as in a container
without capabilities, it runs as root in a user namespace.
"""

import logging
import os
import pwd
import re
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atx_assets.errors import AtxError

SYSTEM_USER = "atx_postgres"

_IN_NAMESPACE = (sys.executable, "-I", str(Path(__file__).with_name("user_namespace.py")))
#: The capabilities that root needs to run programs as another user and to reach their files, with
#: Linux's numbers.
_CAPABILITIES = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "KILL": 5, "SETGID": 6, "SETUID": 7}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServerUser:
    """The user and group that own the data and run the server."""

    uid: int
    gid: int

    def command(self, *words: str) -> list[str]:
        """Return the command of a program (its path and arguments) as this user can run it."""
        return [*_IN_NAMESPACE, *words] if self.uid == 0 else list(words)

    @property
    def has_name(self) -> bool:
        """Whether /etc/passwd, or another user database, names this user."""
        try:
            return bool(pwd.getpwuid(self.uid))
        except KeyError:
            return False

    @property
    def popen(self) -> dict[str, Any]:
        """The arguments with which `subprocess` starts a program as this user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give `path` to this user."""
        if path.lstat().st_uid != self.uid:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def server_user(data: Path) -> ServerUser:
    """Return the user for the server of `data`; for a first start by root, create the system user.

    Raises:
        AtxError: the data belong to a user as which we cannot run, or the system user is missing
            and cannot be created.
    """
    me = os.geteuid()
    owner = data.stat() if data.exists() else None
    if owner and me not in (0, owner.st_uid):
        raise AtxError(
            f"{data} belongs to {user_name(owner.st_uid)}, not to {user_name(me)}: run atx as "
            "its owner, or set ATX_HOME to a folder of your own"
        )
    own = ServerUser(me, os.getegid())
    if me != 0:
        return own
    missing = ", ".join(_missing_capabilities())
    if owner and owner.st_uid != 0:
        if missing:
            raise AtxError(
                f"{data} belongs to {user_name(owner.st_uid)}, and this root may not run programs "
                f"as another user (it lacks {missing}): give it these capabilities, or run atx as "
                f"the user {owner.st_uid}"
            )
        return ServerUser(owner.st_uid, owner.st_gid)
    if owner and not _is_wholly_roots(data):
        raise AtxError(
            f"{data} belongs to root, and PostgreSQL refuses to run as root: give it to its own "
            f"user with `chown -R {SYSTEM_USER}: '{data}'`"
        )
    if owner or missing:
        if why := _no_namespace():
            raise AtxError(
                "PostgreSQL does not run as root, and this root may not run programs as another "
                f"user (it lacks {missing or 'nothing, but the data are its own'}; {why}): run atx "
                "as an ordinary user, or set PG_HOST to a server of your own"
            )
        return own
    entry = _system_user()
    return ServerUser(entry.pw_uid, entry.pw_gid)


def _missing_capabilities() -> list[str]:
    """Name the capabilities that this root lacks; none if the system has no capabilities."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return []
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    held = int(found[1], 16) if found else -1
    return [f"CAP_{name}" for name, bit in _CAPABILITIES.items() if not held >> bit & 1]


def _is_wholly_roots(data: Path) -> bool:
    """Return whether root created the data, and did not just take another user's folder."""
    try:
        return (data / "PG_VERSION").stat().st_uid == 0
    except OSError:
        return False


def _no_namespace() -> str:
    """Return why no user namespace can be used; empty if one can."""
    done = subprocess.run(_IN_NAMESPACE, capture_output=True, text=True, check=False)
    reason = (done.stderr.strip().splitlines() or ["it failed"])[-1].removeprefix("error: ")
    return reason if done.returncode else ""


def user_name(uid: int) -> str:
    """Return the name of the user `uid`, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def open_way(target: Path, user: ServerUser) -> None:
    """Let `user` search (not read) each folder above `target`; only root does this.

    Only o+x is added, and only where it is missing: a readable ancestor would show the names of
    everything in a person's home folder.

    Raises:
        AtxError: a folder stays closed.
    """
    if os.geteuid() != 0 or user.uid == 0:
        return
    for folder in _ancestors(target):
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode & stat.S_IXOTH:
            continue
        try:
            folder.chmod(mode | stat.S_IXOTH)
        except OSError as error:
            raise AtxError(
                f"the PostgreSQL server runs as {user_name(user.uid)}, which cannot pass through "
                f"{folder} ({error.strerror}): run atx as an ordinary user, or set ATX_HOME to a "
                "folder that every user can pass through"
            ) from error
        logger.info(
            "added search permission (o+x) to %s, so that %s can reach %s",
            folder,
            user_name(user.uid),
            target,
        )


def _ancestors(target: Path) -> list[Path]:
    """Return the folders above `target`, both as written and with links resolved."""
    ways = [*target.absolute().parents, *target.resolve().parents]
    return sorted(set(ways), key=lambda folder: len(folder.parts))


def _system_user() -> pwd.struct_passwd:
    error = ""
    for _ in range(5):
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            error = _add_system_user()
            # Another program may hold the lock of /etc/passwd, or have just created the user.
            time.sleep(0.3 if error else 0)
    raise AtxError(
        f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} for it cannot be "
        f"created ({error}): run atx as an ordinary user, or create that user yourself"
    )


def _add_system_user() -> str:
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no program useradd"
    return "" if done.returncode == 0 else " ".join(done.stderr.split()) or "useradd failed"
