"""Runs at the same time: on one home, and of two homes on one data folder.

Not here: `atx run` beside `atx up` (`test_killed_runs_under_up.py`), two `atx up`
(`system/up/test_up.py`).
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.settings import Database
from atx_assets_tests.builders.homes import Home, bare
from atx_assets_tests.builders.program import end_processes_of
from atx_assets_tests.system.faults.conftest import held_up


@pytest.fixture
def homes(server_folder: Path, small_library: Path) -> Iterator[tuple[Home, Home]]:
    """Two homes with servers of their own; data folder and media are those of the first."""
    one = Home(server_folder / "1", bare())
    two = Home(server_folder / "2", bare(), ATX_DATA_DIR=str(one.data))
    try:
        loaded = one.run("load", str(small_library))
        assert loaded.returncode == 0, loaded.stderr
        yield one, two
    finally:
        end_processes_of(one.home)
        end_processes_of(two.home)


def test_runs_at_once_wait_for_each_other_say_so_and_damage_nothing(
    homes: tuple[Home, Home],
) -> None:
    one, two = homes
    words = ("run", "--select", "+key:training_table")
    with EmbeddedPostgres(one.home) as server:
        media = Database(server.host, server.port, "media", server.user)
        with held_up(media) as wait_for_reader:
            first = one.begin(*words)
            wait_for_reader()  # it holds the data folder, and waits for the table
            others = [one.begin(*words), two.begin(*words, PG_HOST=server.host)]
            for other in others:
                other.tells("waiting for run ")
        assert first.end() == 0, first.lines
        for other in others:
            assert other.end() == 0, other.lines
            (line,) = (line for line in other.lines if "waiting for run " in line)
            assert line.endswith(f", which is writing to {one.data}")
    assert {"media.parquet", "feature_encoding.json"} <= set(one.contents())
    assert not one.damaged()
    assert not one.left_over()
