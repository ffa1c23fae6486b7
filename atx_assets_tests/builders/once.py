"""What takes long to make is made once per test run, by whichever process needs it first.

Each test gets a copy of its own: copies never see one another. Not here: what is made.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

#: The variable that names the folder of this test run to the processes that share it.
RUN = "TESTS_MADE_ONCE"


_MEMORY = Path("/dev/shm")
#: Free bytes that a whole run may need.
_ROOM = 6 << 30


def put_temporary_files_in_memory(folder: Path = Path("/dev/shm")) -> None:
    """Let all temporary files of the run lie in memory, where there is room and programs may run.

    A fresh database is 300 files: on a disk, making them takes six times as much of the processor.
    """
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK):
        return
    found = os.statvfs(_MEMORY)
    if found.f_bavail * found.f_frsize > _ROOM and not found.f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(_MEMORY)
        tempfile.tempdir = None  # it is remembered


def begin_run() -> Callable[[], None]:
    """Make the folder for the whole test run; return what removes it.

    Processes that are started after that share it. Where temporary files lie in memory, all of
    them lie in it, and go with it.
    """
    # Not a folder of pytest's: PostgreSQL runs as another user, who could not enter it.
    folder = os.environ[RUN] = tempfile.mkdtemp(prefix="atx-run-")
    Path(folder).chmod(0o755)
    before = os.environ.get("TMPDIR")
    if before == str(_MEMORY):
        os.environ["TMPDIR"] = folder
        tempfile.tempdir = None

    def end() -> None:
        del os.environ[RUN]
        if before is not None:
            os.environ["TMPDIR"] = before
        tempfile.tempdir = None
        shutil.rmtree(folder, ignore_errors=True)

    return end


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` filled; who comes while it is made waits.

    Args:
        name: of what is made, and of its folder.
        make: fills an empty folder. What fails leaves none, and is tried again by the next.
    """
    folder = Path(os.environ[RUN]) / name
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            try:
                make(folder)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
    return folder


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with the owners of its files: PostgreSQL's data are its user's."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)
