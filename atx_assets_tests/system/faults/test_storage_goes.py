"""A real `atx up` whose Dagster has its storage on somebody's own PostgreSQL, which goes away.

The media are on the embedded server. Not here: the embedded server and the media's own
(`test_under_up.py`), and `atx run` (`test_postgres_goes.py`).
"""

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest

from atx_assets_tests.builders.environment import wait_until
from atx_assets_tests.builders.house import House, kill, open_house
from atx_assets_tests.system.faults.conftest import OwnServer

pytestmark = pytest.mark.xdist_group("storage goes")

#: Seconds for which it is away: Dagster gives up an attempt of its own after some 12.
OUTAGE = 25

BACK = "Dagster's storage is back"


@pytest.fixture(scope="module")
def opened(small_library: Path, own_server: OwnServer) -> Iterator[House]:
    settings = {**own_server.storage(), "ATX_SEARCH": "off", "ATX_MLFLOW": "off"}
    with open_house(small_library, **settings) as house:
        yield house


def told_once_that_it_is_away(house: House) -> None:
    wait_until(lambda: house.lines, "a line that says so", 30)
    (line,) = house.lines
    assert line.startswith("Dagster's storage cannot be reached (dagster on ")
    assert line.endswith(". Waiting for it")


def test_a_storage_that_stops_in_the_middle_of_a_tick_loses_no_change(
    house: House, own_server: OwnServer
) -> None:
    """Kept out: an `atx up` that ends as Dagster, killed meanwhile, cannot be started again."""
    with house.database() as connection, connection.transaction():
        connection.execute("LOCK TABLE atp.media IN ACCESS EXCLUSIVE MODE")
        waits = (
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'atp.media'::regclass"
        )
        wait_until(lambda: connection.execute(waits).fetchone() != (0,), "a tick that looks", 60)
        own_server.stop_at_once()
    house.changes_labels()
    told_once_that_it_is_away(house)
    kill(house.processes("dagster._daemon run")[0].pid)
    time.sleep(OUTAGE)
    told_once_that_it_is_away(house)
    assert not house.processes("dagster._daemon run")
    own_server.start_again()
    house.check_agreement()
    _, back, started = house.lines
    assert back == BACK
    assert started.startswith("Dagster daemon ended with signal 9: ")
    assert started.endswith(": started again")


def test_a_storage_that_stops_while_a_run_writes_its_events_is_made_up_for(
    house: House, own_server: OwnServer
) -> None:
    before = house.runs()
    dagster = house.processes("dagster._daemon run")[0].pid
    house.changes_labels()
    run = house.next_run(before)
    writes = psutil.Process(house.reaches(run, dg.DagsterEventType.STEP_START, "tuned_classifier"))
    own_server.stop_at_once()
    # Dagster lets a message of the log go, and the run lives on; an event it does not.
    wait_until(lambda: not writes.is_running(), "the end of the run's process")
    told_once_that_it_is_away(house)
    own_server.start_again()
    house.changes_labels()
    house.check_agreement()
    assert house.lines[1:] == [BACK]
    assert house.status(run) == dg.DagsterRunStatus.FAILURE
    assert house.processes("dagster._daemon run")[0].pid == dagster
