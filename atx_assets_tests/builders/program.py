"""The program `atx` as a person runs it, in homes of its own; all that it starts ends with them."""

import io
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest

from atx_assets.cli.main import main
from atx_assets.home.postgres.cluster import Cluster
from atx_assets_tests.builders.connections import opened
from atx_assets_tests.builders.environment import (
    as_settings,
    bare_environment,
    own_logging,
    unused_port,
)
from atx_assets_tests.builders.postgres import (
    PASSWORD,
    READER,
    new_server_folder,
    new_tcp_server,
    run_sql_script,
)
from atx_assets_tests.builders.scale import soaking

ATX = [sys.executable, "-m", "atx_assets.cli"]


def end_processes_of(home: Path) -> None:
    """End every process group of a home and its PostgreSQL server, however the test went."""
    cluster = Cluster(home.resolve())
    if cluster.lives:
        cluster.stop()
    for process in _processes_of(home):
        try:
            if os.getpgid(process.pid) != os.getpgid(0):
                os.killpg(os.getpgid(process.pid), signal.SIGKILL)
        except ProcessLookupError:
            continue


def _processes_of(home: Path) -> list[psutil.Process]:
    """The processes that have `home` in their command or as ATX_HOME in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            ours = str(home) in " ".join(process.cmdline())
            ours = ours or process.environ().get("ATX_HOME") == str(home)
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclass(frozen=True)
class Program:
    """`atx` in a home of its own, as a person runs it, and what its first run there has told."""

    home: Path
    data: Path
    environment: dict[str, str]
    told: subprocess.CompletedProcess[str] | None = None

    def __call__(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ATX, *words],
            env=self.environment | settings,
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            umask=0o022,  # that of most systems: what is written must close itself
        )


def run_here(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program in this process, which has imported it all; keep what it and others write.

    What is written past Python stands at the end of stderr.
    """
    before, mask = dict(os.environ), os.umask(0o022)
    handlers = {sent: signal.getsignal(sent) for sent in (signal.SIGTERM, signal.SIGHUP)}
    out, err = io.StringIO(), io.StringIO()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as beneath:
        os.environ.clear()
        os.environ.update(environment)
        os.dup2(beneath.fileno(), 1)
        os.dup2(beneath.fileno(), 2)
        try:
            with redirect_stdout(out), redirect_stderr(err), own_logging():
                status = main(words)
        finally:
            for number, there in enumerate(kept, 1):
                os.dup2(there, number)
                os.close(there)
            os.environ.clear()
            os.environ.update(before)
            os.umask(mask)
            for sent, how in handlers.items():
                signal.signal(sent, how)
        beneath.seek(0)
        past = beneath.read().decode("utf-8", "replace")
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue() + past)


@contextmanager
def new_home(**settings: str) -> Iterator[Program]:
    """Give the program a home; with the block ends all that it has started there."""
    with new_server_folder() as folder:
        home, data = folder / "h", folder / "data"
        settings |= {"ATX_HOME": str(home), "ATX_DATA_DIR": str(data)}
        try:
            yield Program(home, data, bare_environment() | settings)
        finally:
            end_processes_of(home)


@pytest.fixture
def home(server_folder: Path) -> Iterator[Path]:
    """A home that does not exist yet, in a plain path."""
    path = server_folder / "h"
    yield path
    end_processes_of(path)


@pytest.fixture
def program() -> Iterator[Program]:
    """The program in a home in which nothing was run."""
    with new_home() as program:
        yield program


@pytest.fixture(scope="session")
def demo() -> Iterator[Program]:
    """The demo, run once by the program for all tests that look at it."""
    # The pages of assets name the addresses at which `atx up` is to show report and model.
    with new_home(MLFLOW_PORT=str(unused_port()), ATX_REPORT_PORT=str(unused_port())) as program:
        told = program("demo")
        assert told.returncode == 0, told.stderr
        yield replace(program, told=told)


@pytest.fixture(scope="session")
def on_real_library(shared_data: Path) -> Iterator[Callable[[str], Program]]:
    """Where the graph was run by the program on the owner's library of a layout, once for all.

    Media on the embedded server; training on another one, as the reader with a password. The
    search, which takes longer than all else, is left out but of media in `make soak`.
    """
    made: dict[str, Program] = {}
    with ExitStack() as stack:

        def run_on(layout: str) -> Program:
            if layout not in made:
                made[layout] = stack.enter_context(_run_on(shared_data, layout))
            return made[layout]

        yield run_on


@contextmanager
def _run_on(folder: Path, layout: str) -> Iterator[Program]:
    with ExitStack() as stack:
        server, settings = None, {}
        if layout == "training":
            server = stack.enter_context(new_tcp_server(PASSWORD, connections=8))
            settings = as_settings(server)
        program = stack.enter_context(new_home(**settings))
        loaded = program("load", str(folder / f"{layout}.parquet"))
        assert loaded.returncode == 0, loaded.stderr
        if server:
            run_sql_script(server, READER)
            with opened(server) as connection:
                connection.execute("ALTER ROLE atx_reader PASSWORD 'a reader''s'")
            reader = as_settings(replace(server, user=READER, password="a reader's"))
            program = replace(program, environment=program.environment | reader)
        if server or not soaking():
            program.environment["ATX_SEARCH"] = "off"
        told = program("run")
        assert told.returncode == 0, told.stderr
        yield replace(program, told=told)
