"""A file that is replaced in one step, and a lock that is waited for."""

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from atx_assets.storage.in_one_step import in_one_step, replace_file
from atx_assets.storage.locks import locked, try_lock, unlock, wait_for_lock


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("alone", [True, False])
class TestReplacing:
    def test_a_reader_sees_the_old_file_until_the_block_ends(
        self, tmp_path: Path, alone: bool
    ) -> None:
        path = tmp_path / "a"
        path.write_text("old")
        with in_one_step(path, alone=alone) as beside:
            beside.write_text("new")
            assert path.read_text() == "old"
        assert path.read_text() == "new"
        assert names(tmp_path) == ["a"]

    def test_a_block_that_fails_leaves_what_was_there_and_nothing_beside(
        self, tmp_path: Path, alone: bool
    ) -> None:
        path = tmp_path / "a"
        path.write_text("old")
        with pytest.raises(FileNotFoundError), in_one_step(path, alone=alone) as beside:
            beside.write_text("half") and (tmp_path / "nothing").read_text()
        assert path.read_text() == "old"
        assert names(tmp_path) == ["a"]

    def test_nobody_else_may_read_it_whatever_the_umask_is(
        self, tmp_path: Path, alone: bool
    ) -> None:
        os.umask(0)  # put back by `_as_before`
        left = tmp_path / ".a.new"  # of a process that was killed
        left.touch(mode=0o666)
        replace_file(tmp_path / "a", b"new", alone=alone)
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600


def test_two_that_hold_no_lock_do_not_write_into_one_another(tmp_path: Path) -> None:
    """Kept out: the second start of a home that put half of `dagster.yaml` in its place."""
    path = tmp_path / "dagster.yaml"
    with in_one_step(path, alone=False) as first, in_one_step(path, alone=False) as second:
        first.write_text("first")
        second.write_text("second")
        assert first.read_text() == "first"
    assert path.read_text() == "first"


def test_a_hidden_file_is_written_under_a_name_that_a_run_sweeps(tmp_path: Path) -> None:
    with in_one_step(tmp_path / ".media.parquet.sha256") as beside:
        assert beside.name == ".media.parquet.sha256.new"


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    """An open file whose lock somebody else holds."""
    held = try_lock(tmp_path / "lock")
    opened = os.open(tmp_path / "lock", os.O_RDWR)
    yield opened
    os.close(opened)
    if held is not None:
        unlock(held)


def test_a_lock_that_others_hold_is_given_up_after_a_while_and_told_of_once(
    tmp_path: Path, fd: int
) -> None:
    told: list[None] = []
    lock = tmp_path / "lock"
    assert not wait_for_lock(fd, lock, seconds=0.1, pause=0.01, waiting=lambda: told.append(None))
    assert len(told) == 1
    assert not wait_for_lock(
        fd, lock, seconds=0.1, pause=0.01, patience=60, waiting=lambda: told.append(None)
    )
    assert len(told) == 1


def test_a_lock_is_taken_once_its_holder_lets_go(tmp_path: Path) -> None:
    held = try_lock(tmp_path / "lock")
    assert held is not None
    threading.Timer(0.1, unlock, [held]).start()
    with locked(tmp_path / "lock", waiting_for="the test", timeout=60):
        assert try_lock(tmp_path / "lock") is None
    again = try_lock(tmp_path / "lock")
    assert again is not None
    unlock(again)
