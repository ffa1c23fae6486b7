"""Disks that are full or read-only, and a data folder that goes away.

A full disk is a small one where this machine lets us mount it (as root, mostly), and elsewhere a
limit to the size of files, which needs no permission.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from atx_assets.commands.doctor.doctor import _writable as doctors_line
from atx_assets.commands.score import score
from atx_assets.errors import AtxError
from atx_assets.models.bundles import Bundles, Place
from atx_assets.models.integrity import check_models, check_results
from atx_assets.settings import ROOT, Settings, read_settings
from atx_assets.storage.data_folder import FILES
from atx_assets_tests.builders.failures import failure
from atx_assets_tests.builders.program import end_processes_of

ALONE = {"ATX_MLFLOW": "off", "ATX_SEARCH": "off"}


class SmallDisk:
    """A mounted disk in memory."""

    full = "the disk is full: make room"
    files = (*FILES,)

    def __init__(self, folder: Path, size: str) -> None:
        self.folder, self._filler = folder, folder / "filler"
        options = f"size={size},mode=755"
        command = ["mount", "-t", "tmpfs", "-o", options, "none", str(folder)]
        subprocess.run(command, check=True, capture_output=True)

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while file.write(b"\0" * 4096):
                pass

    def make_room(self) -> None:
        self._filler.unlink(missing_ok=True)

    def forbid_writing(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(self.folder)], check=True)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class SmallFiles:
    """Any folder, in which no file of this process may grow beyond a few lines."""

    full = "a file may not become that large: raise the limit (`ulimit -f`)"
    #: Those that a smaller disk stops in another way than a small one, if there is any such.
    files = ("raw_media", "tuned_classifier")

    def __init__(self, folder: Path, _size: str) -> None:
        self.folder = folder
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, self._before[1]))

    def make_room(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)

    close = make_room


def may_mount() -> bool:
    """Try it once: as root it is allowed on most machines, and not in every container."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            SmallDisk(Path(folder), "64k").close()
        except (OSError, subprocess.CalledProcessError):
            return False
        return True


MAY_MOUNT = may_mount()
Disk = SmallDisk | SmallFiles


@contextlib.contextmanager
def opened(kind: type[Disk], size: str) -> Iterator[Disk]:
    """Yield a disk in a folder that PostgreSQL's own user can reach as well."""
    folder = Path(tempfile.mkdtemp(prefix="atx-disk-"))
    folder.chmod(0o755)
    try:
        disk = kind(folder, size)
        try:
            yield disk
        finally:
            disk.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(params=[SmallDisk if MAY_MOUNT else SmallFiles])
def disk(request: pytest.FixtureRequest, copied: Any) -> Iterator[Disk]:
    """A disk that holds the data folder of the finished workplace, and little more."""
    with opened(request.param, "8m") as disk:
        shutil.copytree(copied.home / "data", disk.folder / "data")
        yield disk


def contents(data: Path) -> dict[str, bytes]:
    """All that lies there, with sums and what may have been left half-written."""
    there = (p for p in data.rglob("*") if p.is_file() and p.name != ".writer.lock")
    return {str(p.relative_to(data)): p.read_bytes() for p in there}


def of(data: Path) -> Settings:
    return read_settings({"ATX_DATA_DIR": str(data), "ATX_HOME": str(data.parent / "h")})


# -- the data folder


def test_a_full_disk_is_one_line_whatever_is_made_and_room_heals_it(disk, copied):
    data = disk.folder / "data"
    before = contents(data)
    (data / ".writer.lock").write_text("the last one")
    disk.fill()
    for asset in disk.files:
        result = copied.run(assets=[dg.AssetKey(asset)], ATX_DATA_DIR=str(data), **ALONE)
        line = failure(result)
        assert line.startswith(str(data))
        assert f"cannot be written ({disk.full}, or set ATX_DATA_DIR)" in line
        assert line.endswith("what was there stays in place")
    disk.make_room()
    assert contents(data) == before
    assert copied.run("full_rebuild", ATX_DATA_DIR=str(data), **ALONE).success
    assert "all readable" in check_results(of(data))
    assert "scores" in check_models(of(data))


# Where nothing can be mounted there is no such disk; limits and permissions are tried anyway.
if MAY_MOUNT:

    def test_a_disk_without_a_byte_left_and_one_that_is_read_only_are_each_a_line(copied):
        """Kept out: a bare OSError, as there was no room to note down who writes."""
        with opened(SmallDisk, "8m") as disk:
            data = disk.folder / "data"
            shutil.copytree(copied.home / "data", data)
            (data / ".writer.lock").unlink(missing_ok=True)
            before, titles = contents(data), '{"imdb_id": "tt9999991", "genre": ["Drama"]}'
            disk.fill()
            told = failure(copied.run(assets=[dg.AssetKey("raw_media")], ATX_DATA_DIR=str(data)))
            assert told.startswith(f"{data} cannot be written (the disk is full: make room")
            with pytest.raises(AtxError, match="has 0 MB free, and a run needs 1,024: make room"):
                doctors_line(data, "ATX_DATA_DIR")
            disk.make_room()
            disk.forbid_writing()
            told = failure(copied.run(assets=[dg.AssetKey("raw_media")], ATX_DATA_DIR=str(data)))
            assert told.startswith(f"{data} cannot be written (the disk is read-only: mount it")
            with pytest.raises(AtxError, match="mount its disk for writing, or set ATX_DATA_DIR"):
                doctors_line(data, "ATX_DATA_DIR")
            assert "probability" in score(of(data), titles)  # what only reads goes on
            assert contents(data) == before


def test_a_folder_that_may_not_be_written_to_is_one_line_and_stays_as_it_was(copied):
    """As any user; root is held to what the folder says by giving up one right."""
    data = copied.home / "data"
    before = contents(data)
    folders = [data, *(p for p in data.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    (data / ".writer.lock").touch()
    (data / ".writer.lock").chmod(0o444)
    setting = {"ATX_DATA_DIR": str(data), "ATX_HOME": str(copied.home / "h"), "ATX_MLFLOW": "off"}
    code = "import sys; from pathlib import Path; from atx_assets.errors import AtxError;"
    code += "from atx_assets.commands.doctor.doctor import _writable\n"
    code += "try: _writable(Path(sys.argv[1]), 'ATX_HOME')"
    code += "\nexcept AtxError as error: print(error)"
    try:
        told = as_a_user("-m", "atx_assets.cli", "rollback", **setting)
        doctor = as_a_user("-c", code, str(data))
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert told.returncode == 1
    assert told.stderr.startswith(f"atx: {data} cannot be written (permission denied: change the")
    assert told.stderr.count("\n") == 1
    assert doctor.stdout == f"{data} cannot be written to: change its owner, or set ATX_HOME\n"
    assert contents(data) == before


def as_a_user(*words: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run Python as this user, as whom permissions count even if it is root."""
    command = [sys.executable, *words]
    if os.geteuid() == 0:
        command = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override", *command]
    return subprocess.run(
        command, env=os.environ | settings, cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_file_in_the_place_of_the_folder_is_one_line_and_stays(copied, tmp_path):
    (tmp_path / "data").write_text("somebody's notes")
    where = {"ATX_DATA_DIR": str(tmp_path / "data")}
    told = failure(copied.run(assets=[dg.AssetKey("raw_media")], **where))
    assert told.startswith(f"{tmp_path / 'data'} cannot be written (a file is in the place of its")
    with pytest.raises(AtxError, match="cannot be"):
        doctors_line(tmp_path / "data", "ATX_DATA_DIR")
    assert (tmp_path / "data").read_text() == "somebody's notes"


def test_a_data_folder_that_is_removed_in_the_middle_of_a_run_is_made_anew_by_the_next(copied):
    data = copied.home / "data"
    table = data / FILES["training_table"]
    made, over = table.stat().st_mtime_ns, threading.Event()

    def remove_it() -> None:
        while not over.is_set() and table.stat().st_mtime_ns == made:
            time.sleep(0.005)
        shutil.rmtree(data, ignore_errors=True)

    remover = threading.Thread(target=remove_it)
    remover.start()
    try:
        line = failure(copied.run("full_rebuild", **ALONE))
    finally:
        over.set()
        remover.join(60)
    # Whichever file it was that somebody was about to read, was reading, or to write.
    said = ("is missing: materialise", "its folder is gone: run it again", "cannot be read (")
    assert any(f in line for f in said), line
    assert str(data) in line, line
    assert not data.exists() or list(data.rglob("*.new")) == []
    assert copied.run("full_rebuild", **ALONE).success
    assert "all readable" in check_results(of(data))
    assert Bundles(copied.files).place() == Place(1)


# -- the home: PostgreSQL's data and logs, and Dagster's records in it


def test_a_home_whose_disk_is_full_is_one_line_and_goes_on_once_there_is_room(
    small_library: Path, bare_environment: dict[str, str]
) -> None:
    """Before PostgreSQL starts, and in the middle of a run, whose events then find no place."""
    with opened(SmallDisk if MAY_MOUNT else SmallFiles, "160m") as disk:
        home, data = disk.folder / "h", Path(tempfile.mkdtemp(prefix="atx-data-"))
        settings = {"ATX_HOME": str(home), "ATX_DATA_DIR": str(data), **ALONE}
        atx = Atx(bare_environment | settings)
        try:
            told = atx.run("load", str(small_library))
            assert told.returncode == 0, told.stderr
            told = atx.run("run", filled=lambda: fill(disk, home))
            assert told.returncode == 1
            line = told.stderr.splitlines()[-1]
            assert line.startswith("atx: Dagster's storage (")
            assert "during the run (" in line
            assert line.endswith("what was there before stays in place")
            if MAY_MOUNT:
                assert "No space left on device): make room on its disk" in line
                disk.fill()  # its end has freed some
                told = atx.run("run")
                assert told.returncode == 1
                line = told.stderr.splitlines()[-1]
                assert line.startswith("atx: PostgreSQL did not start: could not write"), line
                assert "make room on the disk" in line
            make_room(disk, home)
            told = atx.run("run")
            assert told.returncode == 0, told.stderr
            assert "all readable" in check_results(of(data))
        finally:
            make_room(disk, home)
            end_processes_of(home)
            shutil.rmtree(data, ignore_errors=True)


class Atx:
    """The program in an environment of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment

    def run(
        self, *words: str, filled: Callable[[], None] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        """Run it to its end; `filled` is called when the films have been read."""
        command = [sys.executable, "-m", "atx_assets.cli", *words]
        process = subprocess.Popen(
            command,
            env=self._environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        told = ""
        try:
            assert process.stdout is not None
            if filled:
                while line := process.stdout.readline():
                    told += line
                    if "raw_media" in line:
                        filled()
                        break
            rest, errors = process.communicate(timeout=500)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        return subprocess.CompletedProcess(command, process.returncode, told + rest, errors)


def fill(disk: Disk, home: Path) -> None:
    """Let nothing in the home grow any more."""
    if isinstance(disk, SmallDisk):
        disk.fill()
    else:
        _limit(home, "8192")


def make_room(disk: Disk, home: Path) -> None:
    if isinstance(disk, SmallDisk):
        disk.make_room()
    else:
        _limit(home, "unlimited")


def _limit(home: Path, size: str) -> None:
    try:
        pid = int((home / "postgres" / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
    except (OSError, psutil.Error):
        return  # it does not run, and the next one has no limit
    for process in (server, *server.children(recursive=True)):
        command = ["prlimit", f"--pid={process.pid}", f"--fsize={size}:"]
        with contextlib.suppress(psutil.NoSuchProcess):
            if os.geteuid() == 0:  # which may not be allowed to limit another user's processes
                user, group = process.uids().real, process.gids().real
                command = [
                    "setpriv",
                    f"--reuid={user}",
                    f"--regid={group}",
                    "--clear-groups",
                    *command,
                ]
            subprocess.run(command, check=False, capture_output=True)
