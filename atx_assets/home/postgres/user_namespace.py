"""Run a program under another user id: `python -I user_namespace.py [PROGRAM WORDS …]`.

PostgreSQL refuses to run as root. In a user namespace of its own, root has the id of a user that
PostgreSQL accepts; nothing else changes, and outside its files stay root's. This is a program of
its own, because only a process without threads may enter such a namespace; it imports only the
standard library.
"""

import ctypes
import os
import pwd
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000


def main() -> None:
    """Enter the namespace and become the program."""
    uid, gid = os.geteuid(), os.getegid()
    named = next((entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0), None)
    if named is None:
        sys.exit("error: /etc/passwd names no user except root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWUSER):
        sys.exit(f"error: no user namespace can be created ({os.strerror(ctypes.get_errno())})")
    mine = Path("/proc/self")
    try:
        # Without it only the real root may map a group.
        (mine / "setgroups").write_text("deny")
        (mine / "uid_map").write_text(f"{named} {uid} 1")
        (mine / "gid_map").write_text(f"{named} {gid} 1")
    except OSError as error:
        sys.exit(f"error: no user namespace can be used ({error.strerror})")
    if program := sys.argv[1:]:  # without one, this only tested whether a namespace can be used
        os.execv(program[0], program)  # noqa: S606  (no shell is wanted)


if __name__ == "__main__":
    main()
