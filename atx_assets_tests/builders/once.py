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
_PREFIX = "atx-run-"
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
    _sweep()
    # Not a folder of pytest's: PostgreSQL runs as another user, who could not enter it.
    folder = os.environ[RUN] = tempfile.mkdtemp(prefix=_PREFIX)
    Path(folder).chmod(0o755)
    held = os.open(folder, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
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
        os.close(held)

    return end


def _sweep() -> None:
    """Remove what runs that were killed have left: it would lie in memory until a restart."""
    for left in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        held = os.open(left, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # that run is under way
            continue
        else:
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(held)


def made_once(name: str, make: Callable[[Path], None]) -> Path:
    """Return the folder that `make` filled; who comes while it is made waits.

    Args:
        name: of what is made, and of its folder.
        make: fills an empty folder. If it fails, the next one tries again.
    """
    folder = Path(os.environ[RUN]) / name
    whole = folder.parent / f"{name}.made"  # no renaming: a home knows where it lies
    with (folder.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed meanwhile
            folder.mkdir()
            make(folder)
            whole.touch()
    return folder


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder with the owners of its files: PostgreSQL's data are its user's."""
    subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)
