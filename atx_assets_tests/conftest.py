"""How the tests are run: in which order, with which marks, and what is printed at the end.

Not here: what tests are built of (`builders/`), of which the fixtures below are all.
"""

import os
import random
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from atx_assets.settings import ROOT
from atx_assets_tests.builders.environment import bare_environment, own_logging, unused_port
from atx_assets_tests.builders.once import begin_run, put_temporary_files_in_memory

#: Each after those that it builds on.
pytest_plugins = [
    f"atx_assets_tests.builders.{module}"
    for module in (
        "postgres",
        "program",
        "backups",
        "terminal",
        "mlflow_servers",
        "workplace",
        "living",
        "house",
    )
]

HERE = Path(__file__).parent

#: Threads would only wait for one another: as many tests run at once as there are cores, or more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
put_temporary_files_in_memory()


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the tests that send it, in a shell's background job too."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):  # xdist's own processes are started by this one
        config.add_cleanup(begin_run())


def _room(path: Path) -> str:
    """Return the folder of a test, below this one."""
    return str(path.relative_to(HERE).parent)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run shuffle the tests."""
    parser.addoption("--random-order", metavar="SEED", help="run the tests in an order of chance")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the seed, with which the order comes again."""
    seed = config.getoption("random_order")
    return f"random order: --random-order={seed}" if seed else None


@pytest.hookimpl(tryfirst=True)  # before those that were not asked for are left out
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what lies under `system/`, and put it first: it takes longest."""
    for item in items:
        room = _room(item.path)
        if room.startswith("system"):
            item.add_marker("slow")
        if room.startswith("system/faults"):
            item.add_marker("faults")
    if seed := config.getoption("random_order"):
        random.Random(seed).shuffle(items)
    else:
        items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    return 0 if item.get_closest_marker("xdist_group") else 1 if "slow" in item.keywords else 2


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what took longest, so that growth is seen; budgets stand in docs/testing.md."""
    tests: dict[str, float] = defaultdict(float)
    rooms: dict[str, float] = defaultdict(float)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                tests[report.nodeid] += report.duration
                rooms[_room(ROOT / report.nodeid.partition("::")[0])] += report.duration
    if sum(tests.values()) < 60:
        return
    terminalreporter.section("what took longest")
    for seconds, name in sorted(((s, n) for n, s in tests.items()), reverse=True)[:10]:
        terminalreporter.write_line(f"{seconds:7.1f} s  {name.removeprefix(f'{HERE.name}/')}")
    by_room = sorted(((s, n) for n, s in rooms.items()), reverse=True)
    told = ", ".join(f"{name} {seconds:.0f}" for seconds, name in by_room if seconds >= 1)
    terminalreporter.write_line(
        f"{sum(tests.values()):7.1f} s  all {len(tests):,} tests, one by one; by room: {told}"
    )


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Undo what `atx`, called in this process, sets for all that comes after it."""
    before = os.umask(0o022)
    with own_logging():
        yield
    os.umask(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of the owner's exports, beside the repository; CI must have it."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        reason = f"the exports of real libraries are not in {folder}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(name="bare_environment")
def _bare_environment() -> dict[str, str]:
    """The environment of a child process in which no setting of the project is set."""
    return bare_environment()


@pytest.fixture
def closed_port() -> int:
    """A port of this machine at which nobody answers."""
    return unused_port()
