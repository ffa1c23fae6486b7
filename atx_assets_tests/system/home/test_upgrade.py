"""Homes, data folders and backups of earlier releases go on: the first run, and the way back."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atx_assets.models.bundles import Bundles
from atx_assets.storage.data_folder import DataFolder
from atx_assets_tests.builders.environment import bare_environment
from atx_assets_tests.builders.program import end_processes_of, run_here

EARLIER = Path(__file__).parents[2] / "earlier"
RELEASES = sorted(path.name for path in EARLIER.iterdir() if path.is_dir())


class Home:
    """A place for a home of an earlier release, and the program of this one."""

    def __init__(self, folder: Path) -> None:
        self.home, self.data = folder / "h", folder / "data"
        self.environment = bare_environment() | {
            "ATX_HOME": str(self.home),
            "ATX_DATA_DIR": str(self.data),
            "ATX_SEARCH": "off",
        }

    def __call__(self, *words: str, status: int = 0, **settings: str) -> str:
        done = run_here(self.environment | settings, *words)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stderr if status else done.stdout

    @property
    def bundles(self) -> Bundles:
        return Bundles(DataFolder(self.data))

    def scored_by(self) -> int:
        results = DataFolder(self.data).read_table("scored_results")
        return int(results["model_version"][0].as_py())


@pytest.fixture
def atx(server_folder: Path) -> Iterator[Home]:
    made = Home(server_folder)
    yield made
    end_processes_of(made.home)


@pytest.mark.parametrize("release", RELEASES)
def test_a_home_of_an_earlier_release_goes_on_from_its_backup(release: str, atx: Home) -> None:
    atx("restore", str(EARLIER / release / "backup.tar.gz"))
    before = DataFolder(atx.data).read_table("scored_results").to_pylist()
    film = next(row for row in before if row["cm_value"] == "fp")
    atx("doctor")
    # What needs a file that is not there yet says in a line what makes it; lists can be read.
    line = atx("explain", film["imdb_id"], status=1)
    assert line.startswith("atx: ")
    assert line.count("\n") == 1
    assert "atx run" in line
    assert film["media_title"] in atx("show", "errors")

    atx("run", "--job", "score", "--quiet")
    assert DataFolder(atx.data).read_table("scored_results").to_pylist() == before
    assert film["media_title"] in atx("explain", film["imdb_id"])

    # A label of a person's: the next version meets the champion of before, and takes its place.
    atx("correct", "keep", film["imdb_id"], "--write")
    atx("run", "--job", "refresh", "--quiet")
    champion = atx.bundles.champion()
    assert champion.version == 2
    assert champion.judged["champion"] == 1
    assert "the first model" not in champion.judged["reason"]
    assert atx.scored_by() == 2

    assert "version 1" in atx("rollback")
    atx("run", "--job", "score", "--quiet")
    assert atx.scored_by() == 1
    atx("doctor")


@pytest.mark.parametrize("release", RELEASES)
def test_the_model_of_an_earlier_data_folder_answers_as_it_did(release: str, atx: Home) -> None:
    with tarfile.open(EARLIER / release / "data.tar.xz") as packed:
        packed.extractall(atx.data.parent, filter="data")
    results = DataFolder(atx.data).read_table("scored_results").to_pylist()
    rows = DataFolder(atx.data).read_table("raw_media").to_pylist()
    known = {row["imdb_id"]: row for row in rows}
    titles = [known[row["imdb_id"]] for row in results]
    asked = atx.data.parent / "titles.json"
    asked.write_text(json.dumps(titles, default=str))
    answers = json.loads(atx("score", str(asked)))
    assert [a["probability"] for a in answers] == [row["probability"] for row in results]
    assert json.loads(atx("show", "queue", "--json"))
