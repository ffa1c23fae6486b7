"""Which programs hold a SQLite file. Not here: how to fix that (`sqlite_faults.py`)."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def lock_holder(store: Path) -> str:
    """Name the programs that have a SQLite file locked, or else those that have it open."""
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

    No lock is tried: closing the file afterwards would release our own locks on it.
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
    return {pid for pid in found if pid > 0}  # -1: in a container, a process outside of it


def _openers(files: list[Path]) -> set[int]:
    wanted = {str(file.resolve()) for file in files}
    found = set()
    for process in psutil.process_iter():
        try:
            if any(opened.path in wanted for opened in process.open_files()):
                found.add(process.pid)
        except (psutil.Error, OSError):
            continue
    return found
