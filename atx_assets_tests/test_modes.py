"""Who may read what atx writes: its owner, and nobody else on the machine."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from atx_assets.commands.doctor.doctor import _writable
from atx_assets.defs.resources.files import DataFiles
from atx_assets.home.home import prepare
from atx_assets.models.mlflow_server import reach
from atx_assets.settings import read_settings

_READ_OR_WRITE = 0o066


def readable_by_others(folder: Path) -> Iterator[str]:
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if (
            mode & _READ_OR_WRITE
            and not path.is_symlink()
            and not stat.S_ISSOCK(path.stat().st_mode)
        ):
            yield f"{path.relative_to(folder)} {mode:03o}"


@pytest.mark.slow
@pytest.mark.xdist_group("demo")
def test_nothing_that_the_program_leaves_can_be_read_by_others(demo: Any) -> None:
    assert list(readable_by_others(demo.home)) == []
    assert list(readable_by_others(demo.data)) == []
    assert len(list(demo.data.rglob("*"))) > 30, "there must be something to look at"
    # The server's own user passes through a home of root's, and sees no names in it.
    searchable = [p for p in demo.home.rglob("*") if p.is_dir() and p.stat().st_mode & 0o011]
    assert searchable == []
    assert stat.S_IMODE(demo.home.stat().st_mode) == (0o701 if os.geteuid() == 0 else 0o700)


@pytest.mark.slow
def test_what_a_run_without_the_program_leaves_is_closed_by_its_folders(
    finished: Any,
) -> None:
    data = finished.home / "data"
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    # Everything that lies in it, but for what is in a version's folder, which is closed itself.
    for path in data.iterdir():
        assert not stat.S_IMODE(path.stat().st_mode) & _READ_OR_WRITE, path
    for version in (data / "models").iterdir():
        assert not stat.S_IMODE(version.stat().st_mode) & _READ_OR_WRITE, version
    assert stat.S_IMODE((finished.home / "mlflow").stat().st_mode) == 0o700


def test_a_file_is_closed_from_its_first_byte_and_closes_an_open_one(tmp_path: Path) -> None:
    files = DataFiles(directory=str(tmp_path))
    path = files.path("raw_media")
    path.write_text("of an older release")
    path.chmod(0o644)
    left = path.with_name(f".{path.name}.new")
    left.write_text("of a process that was killed")
    left.chmod(0o644)
    with files.replacing(path) as beside:
        assert stat.S_IMODE(beside.stat().st_mode) == 0o600
        beside.write_text("new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == "new"


def test_a_home_that_an_older_release_left_open_is_closed(tmp_path: Path) -> None:
    home, shared = tmp_path / "home", tmp_path / "shared"
    for folder in (home / "dagster", home / "logs", shared):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    (home / "mlflow").symlink_to(shared)
    home.chmod(0o755)
    prepare(read_settings({"ATX_HOME": str(home)}))
    # Root's stays searchable, for the user that PostgreSQL runs as.
    closed = 0o701 if os.geteuid() == 0 else 0o700
    modes = [stat.S_IMODE(f.stat().st_mode) for f in (home, home / "dagster", home / "logs")]
    assert modes == [closed] * 3
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755, "a link may lead to what others use"


def test_the_whole_home_of_a_user_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.setenv("HOME", str(tmp_path))
    prepare(read_settings({"ATX_HOME": str(tmp_path)}))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "dagster").stat().st_mode) == 0o700


def test_an_open_data_folder_is_left_open_and_told_of(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o755)
    assert "other users can list it" in _writable(data, "ATX_DATA_DIR")
    assert stat.S_IMODE(data.stat().st_mode) == 0o755
    data.chmod(0o700)
    assert "other users" not in _writable(data, "ATX_DATA_DIR")


def test_the_folder_of_the_mlflow_store_is_closed_without_the_program(tmp_path: Path) -> None:
    reach(read_settings({"ATX_HOME": str(tmp_path)}))
    assert stat.S_IMODE((tmp_path / "mlflow").stat().st_mode) == 0o700
