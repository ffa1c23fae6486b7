"""What a command imports: its own file and what it needs, and nothing that takes seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import atx_assets.cli
from atx_assets.cli.main import COMMANDS, cli, main

#: What is imported by a command that needs it alone; each takes from a tenth of a second to two.
HEAVY = {
    "alembic",
    "dagster",
    "matplotlib",
    "mlflow",
    "numpy",
    "pandas",
    "psycopg",
    "pyarrow",
    "requests",
    "rich",
    "scipy",
    "sklearn",
    "sqlalchemy",
    "xgboost",
}


def imported(*words: str, given: str = "", **settings: str) -> tuple[set[str], str]:
    """Run a command in a fresh interpreter; return what modules there are then, and its output."""
    code = (
        "import json, sys\n"
        "from atx_assets.cli.main import main\n"
        f"status = main({list(words)!r})\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | settings,
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1])), done.stdout


def heavy(modules: set[str]) -> set[str]:
    return HEAVY & modules


@pytest.fixture(scope="module")
def learning() -> set[str]:
    """What importing XGBoost brings by itself, in the environment that the tests have."""
    code = "import json, sys, xgboost; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return heavy(set(json.loads(told.stdout)))


def test_every_file_of_a_command_is_a_command_and_the_other_way_round() -> None:
    files = {path.stem for path in Path(atx_assets.cli.__file__).parent.glob("[!_]*.py")}
    assert files - {"invocation", "main", "options", "stopping", "surroundings"} == set(COMMANDS)
    for name in COMMANDS:
        assert cli.commands[name].name == name


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_a_help_imports_nothing_heavy(name: str) -> None:
    modules, told = imported(*filter(None, [name]), "--help")
    assert told.startswith(f"Usage: atx {name}".rstrip())
    assert heavy(modules) == set()


def test_a_command_imports_the_file_of_no_other() -> None:
    modules, _ = imported("score", "--help")
    files = {name for name in COMMANDS if f"atx_assets.cli.{name}" in modules}
    assert files == {"score"}


def test_the_help_of_a_group_imports_nothing_heavy() -> None:
    group = cli.commands["show"]
    assert isinstance(group, click.Group)
    for name in group.commands:
        modules, _ = imported("show", name, "--help")
        assert heavy(modules) == set()


def test_a_mistyped_command_is_told_with_those_that_are_like_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Kept out: commands that are not imported yet, and so are like nothing."""
    assert main(["scor"]) == 2
    assert "No such command 'scor'. (Did you mean one of: 'doctor', 'score'?)" in (
        capsys.readouterr().err
    )


@pytest.mark.slow
class TestOnAHome:
    """Commands on a home that was trained; the MLflow store that training told is beside it."""

    @pytest.fixture
    def settings(self, finished) -> dict[str, str]:
        nowhere = {"PG_HOST": "nowhere.invalid", "DAGSTER_POSTGRES_URL": ""}
        home = {"ATX_HOME": str(finished.home), "ATX_DATA_DIR": str(finished.home / "data")}
        return home | nowhere | {"MLFLOW_HOST": "", "ATX_MLFLOW": "on"}

    @pytest.mark.parametrize("name", ["errors", "queue", "recommendations"])
    def test_a_list_is_read_and_printed_and_no_more(self, settings, name: str) -> None:
        modules, told = imported("show", name, **settings)
        assert told
        assert heavy(modules) == {"rich"}  # how wide a character is

    def test_what_is_set_aside_needs_arrow(self, settings) -> None:
        modules, told = imported("show", "quarantine", **settings)
        assert "set aside" in told
        assert heavy(modules) <= {"numpy", "pyarrow", "rich"}

    def test_a_title_is_scored_by_what_learns_alone(self, settings, learning) -> None:
        modules, told = imported("score", given='{"imdb_id": "tt0133093"}', **settings)
        assert json.loads(told)["key"] == "tt0133093"
        assert heavy(modules) <= learning

    def test_a_film_is_explained_by_what_learns_alone(self, settings, finished, learning) -> None:
        key = finished.files.read_records("review_queue")[0]["key"]
        modules, told = imported("explain", key, **settings)
        assert "because" in told
        assert heavy(modules) <= learning

    def test_a_champion_is_changed_without_mlflow_in_its_embedded_store(
        self, settings, copied
    ) -> None:
        own = {"ATX_HOME": str(copied.home), "ATX_DATA_DIR": str(copied.home / "data")}
        (copied.home / "data" / "models" / "1").rename(copied.home / "data" / "models" / "2")
        pointer = copied.home / "data" / "models" / "champion.json"
        pointer.write_text('{"version": 1}')
        pointer.with_name(".champion.json.sha256").unlink(missing_ok=True)
        modules, told = imported("promote", "2", **settings | own)
        assert "version 2 is champion" in told
        assert heavy(modules) <= {"numpy", "pyarrow"}
