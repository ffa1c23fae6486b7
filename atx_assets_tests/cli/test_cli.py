"""The program `atx`: what it prints, its exit status, and how failures look."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from atx_assets.cli import main as cli


@pytest.fixture
def environment(home: Path, bare_environment: dict[str, str]) -> dict[str, str]:
    return bare_environment | {"ATX_HOME": str(home)}


def atx(*words: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "atx_assets.cli", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_help_imports_nothing_heavy(environment: dict[str, str]) -> None:
    code = (
        "import sys; from atx_assets.cli.main import main; main(['--help'])\n"
        "heavy = {'dagster', 'mlflow', 'pandas', 'psycopg', 'rich', 'sqlalchemy', 'xgboost'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "up" in done.stdout


@pytest.mark.slow
def test_start_env_stop_in_a_shell(home: Path, environment: dict[str, str]) -> None:
    started = atx("start", environment=environment)
    assert started.returncode == 0, started.stderr
    printed = atx("env", environment=environment)
    assert printed.returncode == 0
    assert printed.stderr == ""
    connect = (
        "import os, psycopg; psycopg.connect(host=os.environ['PG_HOST'], "
        "port=os.environ['PG_PORT'], dbname=os.environ['PG_DB'], user=os.environ['PG_USER'])"
    )
    shell = f'{printed.stdout}\nexec "{sys.executable}" -c "{connect}"'
    subprocess.run(["sh", "-c", shell], env=environment, check=True)
    assert atx("stop", environment=environment).stdout == "stopped\n"
    ended = atx("env", environment=environment)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"atx: the embedded PostgreSQL of {home} is not running: start it with `atx start`\n"
    )


def test_exports_are_quoted_and_passwords_are_pointed_out(environment: dict[str, str]) -> None:
    own = environment | {"PG_HOST": "db", "PG_PASS": "it's; $HOME", "DAGSTER_POSTGRES_URL": "x"}
    printed = atx("env", environment=own)
    assert printed.stderr == "atx: these lines hold passwords: of the media database\n"
    shell = f'{printed.stdout}\nprintf %s "$PG_PASS"'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout == "it's; $HOME"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value", "of"),
    [
        ("PG_PASS", "s3cret", "the media database"),
        ("DAGSTER_POSTGRES_URL", "postgresql://me:s3cret@db/dagster", "Dagster's storage"),
        ("DAGSTER_POSTGRES_URL", "postgresql://me@db/dagster?password=s3cret", "Dagster's storage"),
        ("MLFLOW_HOST", "http://me:s3cret@tracker", "MLflow"),
    ],
)
def test_a_password_goes_to_whoever_reads_the_exports_and_to_no_terminal(
    name: str, value: str, of: str, environment: dict[str, str], on_terminal: Any
) -> None:
    """Kept out: a password in the scrollback, for all who walk by."""
    own = environment | {"PG_HOST": "db", "DAGSTER_POSTGRES_URL": "postgresql://me@db/dagster"}
    printed = atx("env", environment=own | {name: value})
    assert "s3cret" in printed.stdout
    assert f"passwords: of {of}\n" in printed.stderr
    status, told = on_terminal("env", width=200, **(own | {name: value}))
    assert status == 0
    assert "s3cret" not in told
    assert f"# {name} holds a password" in told
    assert "export PG_DB=" in told
    assert atx("env", environment=own).stderr == ""


@pytest.mark.parametrize("words", [("--verbose", "env"), ("env", "--verbose")])
def test_verbose_shows_the_traceback_wherever_it_stands(
    words: tuple[str, ...], environment: dict[str, str]
) -> None:
    done = atx(*words, environment=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert done.stderr.splitlines()[-1].startswith("atx: the embedded PostgreSQL")


def test_a_setting_that_cannot_be_used_is_one_line(environment: dict[str, str]) -> None:
    done = atx("up", environment=environment | {"ATX_UI_PORT": "many"})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "atx: ATX_UI_PORT must be a whole number from 1 to 65535\n"


def test_an_unknown_command_is_told_with_the_usage(environment: dict[str, str]) -> None:
    done = atx("bogus", environment=environment)
    assert done.returncode == 2
    assert "No such command 'bogus'" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--quiet", "--json"),
        ("demo", "--quiet", "--json"),
        ("run", "--figures", "--json"),
        ("run", "--figures", "--quiet"),
        ("show", "errors", "--kind", "tp"),
        ("show", "queue", "--limit", "0"),
        ("explain",),
    ],
)
def test_what_does_not_go_together_is_told_with_the_usage(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("Usage: atx")


@pytest.mark.parametrize(
    ("failure", "status", "told"),
    [
        (ValueError("two\nlines"), 1, "atx: ValueError: two lines (use --verbose for the"),
        (KeyboardInterrupt(), 130, "atx: stopped; what was there before stays in place"),
    ],
)
def test_what_nobody_expected_is_one_line_too(
    failure: BaseException, status: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @cli.cli.command("broken")
    def broken() -> None:
        raise failure

    try:
        assert cli.main(["broken"]) == status
    finally:
        del cli.cli.commands["broken"]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip().startswith(told)
    assert len(captured.err.strip().splitlines()) == (1 if told else 0)
    assert isinstance(cli.cli, click.Group)
