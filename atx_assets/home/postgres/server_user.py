"""Whom the PostgreSQL server runs as, and what that user must be able to reach.

PostgreSQL refuses to run as root. Started by root it runs as the owner of its data, at first
the system user `atx_postgres`; where root may not become another user, as in a container without
capabilities, as root in a user namespace.
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
#: What root needs to run programs as another user, and to reach what is theirs, by Linux's numbers.
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
        """Say whether /etc/passwd, or what stands for it, names this user."""
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
    """Return the user for the server of `data`, making the system user for a first start by root.

    Raises:
        AtxError: the data belongs to somebody as whom we cannot run, or there is no such user
            and none can be made.
    """
    me = os.geteuid()
    owner = data.stat() if data.exists() else None
    if owner and me not in (0, owner.st_uid):
        raise AtxError(
            f"{data} belongs to {user_name(owner.st_uid)} and not to {user_name(me)}: run atx as "
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
            f"{data} belongs to root, as whom PostgreSQL refuses to run: give it to its own user "
            f"with `chown -R {SYSTEM_USER}: '{data}'`"
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
    """Name what root usually may and this one may not; nothing where the system has no such."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return []
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    held = int(found[1], 16) if found else -1
    return [f"CAP_{name}" for name, bit in _CAPABILITIES.items() if not held >> bit & 1]


def _is_wholly_roots(data: Path) -> bool:
    """Whether root made the data, and has not merely taken the folder of another user's."""
    try:
        return (data / "PG_VERSION").stat().st_uid == 0
    except OSError:
        return False


def _no_namespace() -> str:
    """Say why no user namespace can be used; nothing where one can."""
    done = subprocess.run(_IN_NAMESPACE, capture_output=True, text=True, check=False)
    told = (done.stderr.strip().splitlines() or ["it failed"])[-1].removeprefix("error: ")
    return told if done.returncode else ""


def user_name(uid: int) -> str:
    """Return the name of the user `uid`, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def open_way(target: Path, user: ServerUser) -> None:
    """Let `user` search (not read) each folder on the way to `target`; done by root alone.

    Only o+x is added, and only where it is missing: an ancestor made readable would show the
    names of everything that lies in somebody's home.

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
                f"the PostgreSQL server runs as {user_name(user.uid)}, who cannot pass through "
                f"{folder} ({error.strerror}): run atx as an ordinary user, or set ATX_HOME to a "
                "folder that everybody can pass through"
            ) from error
        logger.info(
            "added search permission (o+x) to %s, so that %s can reach %s",
            folder,
            user_name(user.uid),
            target,
        )


def _ancestors(target: Path) -> list[Path]:
    """Return the folders above `target`, as it is written and as its links resolve."""
    ways = [*target.absolute().parents, *target.resolve().parents]
    return sorted(set(ways), key=lambda folder: len(folder.parts))


def _system_user() -> pwd.struct_passwd:
    error = ""
    for _ in range(5):
        try:
            return pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            error = _add_system_user()
            # Another program may hold the lock of /etc/passwd, or just have made the user.
            time.sleep(0.3 if error else 0)
    raise AtxError(
        f"PostgreSQL does not run as root, and the system user {SYSTEM_USER} for it cannot be "
        f"made ({error}): run atx as an ordinary user, or make that user yourself"
    )


def _add_system_user() -> str:
    command = ["useradd", "--system", "--user-group", "--no-create-home"]
    command += ["--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is no program useradd"
    return "" if done.returncode == 0 else " ".join(done.stderr.split()) or "useradd failed"
