"""Users whom PostgreSQL does not take: root that may become nobody else, one without a name."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from atx_assets.home.postgres.cluster import programs
from atx_assets_tests.builders.environment import bare_environment
from atx_assets_tests.builders.program import ATX, Program, end_processes_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes other users")

#: A number that no user has; Docker's `--user 1234` runs as such a one.
NAMELESS = 54321


def atx(user: list[str], program: Program, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["setpriv", *user, *ATX, *words],
        env=program.environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )


def without(*capabilities: str) -> list[str]:
    dropped = ",".join(f"-{name}" for name in capabilities)
    return [f"--bounding-set={dropped}", f"--inh-caps={dropped}"]


def namespaces_are_let(*user: str) -> bool:
    """Whether this machine lets such a user make a user namespace at all."""
    command = ["setpriv", *user, "unshare", "--user", "--map-root-user", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("capability", ["chown", "setuid", "dac_override"])
def test_root_that_may_not_become_another_user_has_a_server_all_the_same(
    program: Program, capability: str
) -> None:
    """Kept out: a PermissionError where a container has taken a capability away."""
    if not namespaces_are_let():
        pytest.skip("no user namespaces here")
    user = without(capability)
    started = atx(user, program, "start")
    assert started.returncode == 0, started.stderr
    assert (program.home / "postgres" / "PG_VERSION").stat().st_uid == 0
    assert atx(user, program, "stop").stdout == "stopped\n"
    # The same data once root has them again, and as they were.
    assert program("start").returncode == 0
    assert program("stop").stdout == "stopped\n"


def test_root_without_any_capability_has_a_server_or_one_line(program: Program) -> None:
    told = atx(without("all"), program, "start")
    if told.returncode:
        line = told.stderr.splitlines()[-1]
        assert line.startswith("atx: PostgreSQL does not run as root, and this root may not run")
        assert line.endswith("run atx as an ordinary user, or set PG_HOST to a server of your own")


def test_data_of_another_user_that_root_may_not_become_are_named(program: Program) -> None:
    assert program("start").returncode == 0
    assert program("stop").returncode == 0
    told = atx(without("setuid"), program, "start")
    assert told.returncode == 1
    assert "belongs to atx_postgres, and this root may not run programs as" in told.stderr
    assert "(it lacks CAP_SETUID): give it these capabilities, or run atx as" in told.stderr


@pytest.fixture
def nameless() -> Iterator[tuple[list[str], Program]]:
    """A user without a name and a home, and a folder of that user's in a way open to all."""
    # It may read what root has here, such as Python itself, and nothing more.
    caps = "-all,+dac_read_search"
    user = [f"--reuid={NAMELESS}", f"--regid={NAMELESS}", "--clear-groups"]
    user += [f"--inh-caps={caps}", f"--ambient-caps={caps}", f"--bounding-set={caps}"]
    plain = ["setpriv", *user[:3], "test", "-x", str(programs() / "initdb")]
    if subprocess.run(plain, check=False).returncode:
        pytest.skip("other users do not reach the programs here")
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="atx-test-") as folder:
        os.chown(folder, NAMELESS, NAMELESS)
        home, data = Path(folder) / "h", Path(folder) / "d"
        environment = bare_environment() | {"ATX_HOME": str(home), "ATX_DATA_DIR": str(data)}
        environment |= {"TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1"}
        del environment["HOME"]
        try:
            yield user, Program(home, data, environment)
        finally:
            end_processes_of(home)


def test_a_user_without_a_name_has_a_server_and_a_library(
    nameless: tuple[list[str], Program], small_library: Path
) -> None:
    """Kept out: "could not look up effective user ID 1234: user does not exist"."""
    user, program = nameless
    export = program.home.parent / "small.parquet"
    export.write_bytes(small_library.read_bytes())
    for words in (("start",), ("load", str(export)), ("doctor",), ("stop",)):
        done = atx(user, program, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    assert (program.home / "postgres" / "PG_VERSION").stat().st_uid == NAMELESS


def test_libraries_that_ask_for_a_home_get_one(nameless: tuple[list[str], Program]) -> None:
    """Kept out: "RuntimeError: Could not determine home directory", in the middle of a run."""
    user, program = nameless
    asked = "from atx_assets.cli.main import main; main(['env']); import pathlib; " + (
        "print(pathlib.Path.home())"
    )
    command = ["setpriv", *user, sys.executable, "-c", asked]
    done = subprocess.run(command, env=program.environment, capture_output=True, text=True)
    assert done.stdout == "/\n", done.stderr
