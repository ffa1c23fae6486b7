"""`atx run` killed while it writes the file of each asset, one after the other, in one home.

The killed program is the real one; a hook that Python itself calls (`sys.addaudithook`) sends it
SIGKILL at the chosen moment, which no look from outside would meet.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from atx_assets.local.home import DAGSTER_DATABASE
from atx_assets.local.postgres import EmbeddedPostgres
from atx_assets.resources.checksums import is_damaged
from atx_assets.resources.database import connect
from atx_assets.resources.files import FILES
from atx_assets.settings import Database
from atx_assets.sources.load import load_file
from atx_assets_tests.house import ATX

pytestmark = [pytest.mark.slow, pytest.mark.faults]

#: Ends the process at a moment in the life of a file: when half of it is written, when it is
#: about to take the place of the old one, and when it just has.
DIES = """
import os, signal, sys
name, moment = os.environ["TEST_DIES_AT"].split()
new, replaced = f".{name}.new", False
def look(event, about):
    global replaced
    if event not in ("open", "os.rename", "os.remove") or not isinstance(about[0], (str, bytes)):
        return
    folder, _, file = os.fsdecode(about[0]).rpartition("/")
    if event == "open" and moment == "half" and file == f".{name}.sha256.new":
        os.truncate(f"{folder}/{new}", os.path.getsize(f"{folder}/{new}") // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    if event == "os.rename" and file == new:
        if moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        replaced = True
    if event == "os.remove" and file == new and replaced:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(look)
"""
MOMENTS = ("half", "before", "after")


class Home:
    """A home with its data folder, on a database; `atx run` on it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.data = folder / "data"
        self._dies = folder / "dies"
        self._environment = {
            **environment,
            "ATX_HOME": str(folder / "home"),
            "ATX_DATA_DIR": str(self.data),
            "ATX_MLFLOW": "off",
            "ATX_SEARCH": "off",
            "OMP_NUM_THREADS": "1",
        }

    def run(self, dies_at: str = "") -> subprocess.CompletedProcess[str]:
        environment = self._environment
        if dies_at:
            self._dies.mkdir(exist_ok=True)
            (self._dies / "sitecustomize.py").write_text(DIES)
            environment = environment | {"PYTHONPATH": str(self._dies), "TEST_DIES_AT": dies_at}
        return subprocess.run(
            [*ATX, "run", "--json"], env=environment, capture_output=True, text=True, check=False
        )

    def contents(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.data)): path.read_bytes()
            for path in sorted(self.data.rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }

    def left_over(self) -> set[str]:
        return {path.name for path in self.data.rglob(".*") if path.suffix == ".new"} | {
            path.name for path in self.data.rglob(".new-*")
        }

    def damaged(self) -> list[str]:
        return [name for name in self.contents() if is_damaged(self.data / name)]


@pytest.fixture
def where(postgres: EmbeddedPostgres, database: Database) -> dict[str, str]:
    """The environment in which a home uses the server of the tests."""
    postgres.ensure_database(DAGSTER_DATABASE)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PG_", "ATX_", "MLFLOW_"))}
    return kept | {
        "PG_HOST": database.host,
        "PG_PORT": str(database.port),
        "PG_DB": database.name,
        "PG_USER": database.user,
        "PG_PASS": "",
        "DAGSTER_POSTGRES_URL": (
            f"postgresql+psycopg2://{database.user}@/{DAGSTER_DATABASE}"
            f"?host={database.host}&port={database.port}"
        ),
    }


def test_a_run_killed_in_any_asset_leaves_whole_files_and_the_next_makes_the_same(
    tmp_path: Path, where: dict[str, str], database: Database, small_library: Path
) -> None:
    with connect(database, statement_timeout=60) as connection:
        load_file(connection, small_library)
    home, never_killed = Home(tmp_path / "a", where), Home(tmp_path / "b", where)
    home.data.parent.mkdir()
    first = home.run()
    assert first.returncode == 0, first.stderr
    old = home.contents()
    shutil.copytree(home.data, never_killed.data)
    with connect(database, statement_timeout=60) as connection:  # so that every file changes
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL,"
            " imdb_votes = 9999999 WHERE hash IN (SELECT hash FROM atp.media"
            " WHERE rejection_status = 'rejected' ORDER BY rt_score DESC NULLS LAST, hash LIMIT 20)"
        )
    made = never_killed.run()
    assert made.returncode == 0, made.stderr
    order = list(json.loads(made.stdout)["assets"])
    new = never_killed.contents()
    assert sorted(order) == sorted(FILES)
    assert not [name for name in FILES.values() if old[name] == new[name]]

    for number, asset in enumerate(order):
        moment = MOMENTS[number % len(MOMENTS)]
        killed = home.run(f"{FILES[asset]} {moment}")
        assert killed.returncode == -signal.SIGKILL, (asset, killed.stderr)
        found = home.contents()
        torn = [n for n, content in found.items() if content not in (old.get(n), new.get(n))]
        assert not torn, (asset, moment)
        assert not home.damaged(), (asset, moment)
        # Those before it were made, over what the kills before had left; those after it were not.
        for earlier in order[:number]:
            assert found[FILES[earlier]] == new[FILES[earlier]], (asset, earlier)
        for later in order[number + (moment == "after") :]:
            assert found[FILES[later]] == old[FILES[later]], (asset, later)
        assert home.left_over() <= {f".{FILES[asset]}.new"}, (asset, moment)

    last = home.run()
    assert last.returncode == 0, last.stderr
    assert home.contents() == new
    assert not home.left_over()
    assert not home.damaged()
