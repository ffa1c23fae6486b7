"""Locks on files: whoever takes one says in a line where the disk has none, as some shares."""

import errno
import fcntl
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atx_assets.alerts.file import AlertFile
from atx_assets.commands.doctor.files import check_writer
from atx_assets.errors import AtxError
from atx_assets.home.backup.archive import work_folder
from atx_assets.settings import read_settings
from atx_assets.sources.correct.record import CorrectionRecord
from atx_assets.storage.locks import try_lock
from atx_assets.storage.writer_lock import only_writer


def enter(manager: object) -> None:
    with manager:  # type: ignore[attr-defined]
        pass


def take_locks_away(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)


TAKERS: dict[str, Callable[[Path], object]] = {
    "the home": lambda folder: try_lock(folder / "postgres.lease"),
    "the data folder": lambda folder: enter(only_writer(folder, "run", logging.getLogger())),
    "the record of corrections": lambda folder: enter(CorrectionRecord(folder).writing()),
    "alerts": lambda folder: enter(AlertFile(folder).changing(logging.getLogger())),
    "a backup's folder": lambda folder: enter(work_folder(folder / ".b.new")),
    "doctor": lambda folder: check_writer(
        read_settings({"ATX_HOME": str(folder), "ATX_DATA_DIR": str(folder)})
    ),
}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
# An alert that cannot be recorded is sent all the same, with a warning.
@pytest.mark.parametrize("taker", sorted(TAKERS.keys() - {"alerts"}))
def test_a_disk_without_locks_is_one_line(
    taker: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: "[Errno 37] No locks available", and no word of where or what to do."""
    (tmp_path / ".writer.lock").touch()
    take_locks_away(monkeypatch, number)
    with pytest.raises(AtxError, match=r"cannot be locked.*mount that share with locks"):
        TAKERS[taker](tmp_path)


@pytest.mark.parametrize("taker", TAKERS)
def test_each_lock_is_one_that_nfs_can_hold(
    taker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: "Bad file descriptor" of a backup, whose folder NFS does not lock.

    A client of NFS asks its server for the lock of fcntl(2) in place of flock(2).
    """
    (tmp_path / ".writer.lock").touch()
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    TAKERS[taker](tmp_path)


def test_who_is_refused_leaves_what_another_is_at_work_on(tmp_path: Path) -> None:
    """Kept out: a second `atx restore`, or a backup of the same minute, deleted the first one's."""
    folder = tmp_path / ".b.new"
    with work_folder(folder) as work:
        (work / "half").write_text("x")
        with pytest.raises(AtxError, match="another atx is using"):
            enter(work_folder(folder))
        assert (work / "half").read_text() == "x"
    assert not folder.exists()
    # What one has left that was killed goes.
    folder.mkdir()
    (folder / "half").write_text("x")
    with work_folder(folder) as work:
        assert not (work / "half").exists()


def test_a_disk_without_locks_keeps_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_locks_away(monkeypatch, errno.ENOLCK)
    for left in ([], ["half"]):
        folder = tmp_path / ".b.new"
        for name in left:
            folder.mkdir()
            (folder / name).write_text("x")
        with pytest.raises(AtxError, match="cannot be locked"):
            enter(work_folder(folder))
        assert folder.exists() == bool(left)
