"""Why a SQLite file cannot be used, from what SQLite says, and how to fix that.

The causes need opposite fixes: a file that another program has locked is whole, and to restore it
from a backup or to move it away would destroy what is in it. Not here: any use of the file.
"""

from __future__ import annotations

import os
from pathlib import Path

from atx_assets.models.mlflow_answers import reason

#: What SQLite says, which is the same in every version and language, and how to fix it.
_FIXES = {
    "disk is full": "make room on its disk",
    "disk I/O error": "its disk fails or is full: look at the system's log and `df`",
    "readonly database": "change its owner, or mount its disk for writing",
    "unable to open database file": "see that it and its folder can be written to",
    "not authorized": "see that it and its folder can be written to",
}
_LOCKED = ("is locked", "locking protocol")
_DAMAGED = ("malformed", "is not a database", "file is encrypted")


def store_fault(store: Path, error: BaseException) -> str:
    """Say in a line, after the store's name, what SQLite found wrong with it and how to fix it.

    Args:
        store: the embedded MLflow store.
        error: of `sqlite3`, or of MLflow or SQLAlchemy with the same text in it.
    """
    told = str(error)
    if any(words in told for words in _LOCKED):
        return f"is locked by {lock_holder(store)}: wait until that is done, or end it"
    if any(words in told for words in _DAMAGED):
        return (
            f"is damaged ({_first_of(told, _DAMAGED)}): restore a backup, or move it away to begin "
            "a new one"
        )
    for words, fix in _FIXES.items():
        if words in told:
            return f"cannot be used ({words}): {fix}"
    return f"cannot be used ({reason(error)}): `atx doctor --deep` tries each step"


def _first_of(told: str, words: tuple[str, ...]) -> str:
    found = next(word for word in words if word in told)
    return {"is not a database": "file is not a database"}.get(found, found)


def lock_holder(store: Path) -> str:
    """Name the programs that have a SQLite file locked, else those that have it open."""
    import psutil

    files = [store, *(store.with_name(f"{store.name}-{end}") for end in ("wal", "shm"))]
    pids = _lockers(files) or _openers(files)
    names = []
    for pid in sorted(pids - {os.getpid()}):
        try:
            names.append(f"{psutil.Process(pid).name()} (process {pid})")
        except psutil.Error:
            names.append(f"process {pid}")
    if names:
        return " and ".join(names)
    if os.getpid() in pids:
        return "this process itself"
    return f"another program (`fuser -v '{store}'`, as root, shows which)"


def _lockers(files: list[Path]) -> set[int]:
    """Return who holds a lock for writing on one of the files, by the kernel's own list (Linux).

    No lock is tried: to close the file afterwards would give up our own locks on it.
    """
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    wanted = {str(file.stat().st_ino) for file in files if file.exists()}
    found = set()
    for line in lines:
        words = line.split()  # 1: POSIX  ADVISORY  WRITE 1234 08:01:5678 0 EOF
        if len(words) >= 6 and words[3] == "WRITE" and words[5].rpartition(":")[2] in wanted:
            found.add(int(words[4]))
    return {pid for pid in found if pid > 0}  # -1: in a container, one that is outside of it


def _openers(files: list[Path]) -> set[int]:
    import psutil

    wanted = {str(file.resolve()) for file in files}
    found = set()
    for process in psutil.process_iter():
        try:
            if any(opened.path in wanted for opened in process.open_files()):
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue
    return found
