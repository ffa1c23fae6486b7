"""A real `atx up` whose servers, database and clock are broken under it, one after the other.

The media are on a PostgreSQL of somebody's own, Dagster's storage on the embedded one. Not here:
its runs and Dagster's own processes (`test_killed_servers_under_up.py`).
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from atx_assets.web.processes import answers_http
from atx_assets_tests.builders.environment import wait_until
from atx_assets_tests.builders.house import House, kill, open_house
from atx_assets_tests.builders.outside import Outside, watched_outside
from atx_assets_tests.system.faults.conftest import OwnServer, SetClock

pytestmark = pytest.mark.xdist_group("under up")


@pytest.fixture(scope="module")
def outside() -> Iterator[Outside]:
    with watched_outside() as outside:
        yield outside


@pytest.fixture(scope="module")
def opened(
    small_library: Path, own_server: OwnServer, set_clock: SetClock, outside: Outside
) -> Iterator[House]:
    settings = own_server.settings | set_clock.settings | outside.settings
    settings["ATX_SEARCH"] = "off"
    with open_house(small_library, **settings) as house:
        yield house


def address(house: House, name: str) -> str:
    (line,) = {line for line in house.opened_with if line.startswith("Dagster http")}
    words = line.split()
    return words[words.index(name) + 1]


def test_a_media_database_that_is_down_is_said_with_numbers_and_no_change_is_lost(
    house: House, own_server: OwnServer
) -> None:
    opened = house.now()
    wait_until(lambda: house.ticks_since(opened), "a look that concludes something")
    house.changes_labels()
    own_server.stop_at_once()
    since = house.now()
    told = wait_until(
        lambda: len(reasons := house.ticks_since(since)) > 2 and reasons, "ticks without it"
    )
    own_server.start_again()
    assert all("nothing concluded" in reason for reason in told), told
    assert any(" s: cannot connect to media on " in reason for reason in told), told
    house.check_agreement()
    assert not house.lines  # `atx up` itself has no part in it


def test_a_storage_that_is_killed_in_the_middle_of_a_tick_loses_no_change(house: House) -> None:
    with house.database() as connection, connection.transaction():
        connection.execute("LOCK TABLE atp.media IN ACCESS EXCLUSIVE MODE")
        waits = (
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'atp.media'::regclass"
        )
        wait_until(lambda: connection.execute(waits).fetchone() != (0,), "a tick that looks", 60)
        kill(house.postmaster())
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL"
            " WHERE imdb_id = (SELECT max(imdb_id) FROM atp.media"
            " WHERE rejection_status = 'rejected')"
        )
        wait_until(lambda: "PostgreSQL was gone: started again" in house.lines, "the healing", 60)
    house.check_agreement()
    assert house.lines.count("PostgreSQL was gone: started again") == 1


@pytest.mark.parametrize(
    ("name", "command", "page"),
    [
        pytest.param("Dagster", "web.guarded", "server_info", id="webserver"),
        pytest.param("MLflow", "mlflow server", "health", id="mlflow"),
    ],
)
def test_a_server_that_is_killed_is_there_again_at_its_address(
    house: House, name: str, command: str, page: str
) -> None:
    url = f"{address(house, name)}/{page}"
    assert answers_http(url)
    kill(house.processes(*command.split())[0].pid)
    wait_until(lambda: not answers_http(url), "its end", 60)
    wait_until(lambda: answers_http(url), f"{name} again", state=house.tell)
    house.check_agreement()
    (line,) = house.lines
    assert line.startswith(f"{name} ended with ")
    assert line.endswith(": started again")


def test_a_clock_that_is_set_back_an_hour_keeps_nobody_waiting(
    house: House, set_clock: SetClock
) -> None:
    """Kept out: Dagster's sensors wait until the clock is where it was, an hour."""
    before = house.runs()
    house.changes_labels()
    set_clock.set(-3600)
    house.clock = -3600.0
    house.changes_labels()
    house.check_agreement()
    assert house.lines == ["the clock was set back 60 min; Dagster: started again"]
    assert before <= house.runs()
    assert len(house.runs() - before) <= 2
    since = house.now()
    time.sleep(12)
    assert 1 <= len(house.ticks_since(since)) <= 5  # neither none at all, nor one after the other
    # By hand, an hour before the last; and a backup.
    house.atx("run", "--quiet")
    house.atx("backup", str(house.home.parent / "backup.tar.gz"))
    house.check_agreement()


def test_a_clock_that_is_set_forward_an_hour_lets_the_run_under_way_go_on(
    house: House, set_clock: SetClock
) -> None:
    """Kept out: its process seems to have begun after it, and so to be another one.

    Twice a minute Dagster's code server looks whether it was asked for a sign of life just before,
    by the clock. If that was set forward between the two, it ends itself once the run has ended.
    """
    before = house.runs()
    house.changes_labels()
    run = house.next_run(before)
    house.reaches(run, dg.DagsterEventType.STEP_START, "tuned_classifier")
    set_clock.set(0)
    house.clock = 0.0
    house.check_agreement(code_server_may_restart=True)
    assert house.status(run) == dg.DagsterRunStatus.SUCCESS
    assert house.runs() - before == {run}
    assert house.lines in ([], ["Dagster's code server was gone: started again"])


def test_none_of_all_this_has_asked_another_machine_for_anything(
    house: House, outside: Outside
) -> None:
    assert (house.home / "mlflow" / "mlflow.db").exists()  # it is MLflow that would
    assert outside.asked == []
    asking = "import urllib.request as web; web.urlopen('https://example.org')"
    done = subprocess.run([sys.executable, "-c", asking], env=house.environment, check=False)
    assert done.returncode
    assert outside.asked == ["example.org:443"]  # it would have been seen
