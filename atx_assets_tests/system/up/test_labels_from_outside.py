"""`atx up` with its daemon, while labels are changed in the database by others.

Every test ends as it must in life, by itself: what a person reads agrees with the labels in the
database, no run is left under way, and the sensor has nothing to do.
"""

import json
import signal
import time
from collections.abc import Iterator

import dagster as dg
import pytest

from atx_assets_tests.builders.environment import wait_until
from atx_assets_tests.builders.house import House
from atx_assets_tests.builders.scale import times

pytestmark = pytest.mark.xdist_group("labels from outside")


def test_the_lists_follow_labels_that_are_changed_from_outside(house: House) -> None:
    before = (house.data / "false_positives.json").read_bytes()
    listed = json.loads(before)
    with house.database() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL"
            " WHERE imdb_id = %s",
            [listed[0]["imdb_id"]],
        )
    wait_until(lambda: (house.data / "false_positives.json").read_bytes() != before, "the new list")
    after = json.loads((house.data / "false_positives.json").read_text())
    assert listed[0]["imdb_id"] not in {record["imdb_id"] for record in after}
    house.check_agreement()


# -- many changes at once

#: Label changes a second, for so many seconds.
PACE, SECONDS = 100, times(15, 1200)


@pytest.fixture
def patient(house: House) -> Iterator[House]:
    """The house, opened anew with a quiet period longer than the time between two looks."""
    before = house.environment

    def close() -> None:
        assert house.up
        house.up.send_signal(signal.SIGINT)
        house.up.wait(30)

    close()
    house.environment = before | {"ATX_LABEL_QUIET_SECONDS": "10"}
    house.open()
    yield house
    close()  # the next test that wants it opens it
    house.environment = before


def label_without_end(house: House) -> int:
    """Change labels at an even pace, a commit each; return the most connections there were."""
    connections = 0
    with house.database() as connection:
        rows = connection.execute(
            "SELECT imdb_id FROM atp.media WHERE media_type = 'movie' AND imdb_id IS NOT NULL"
            " AND rejection_status <> 'unfiltered' GROUP BY 1 HAVING count(*) = 1"
            " ORDER BY 1 LIMIT 150"
        ).fetchall()
        started = time.monotonic()
        for number in range(PACE * SECONDS):
            keep = (number // len(rows)) % 2 == 0
            connection.execute(
                "UPDATE atp.media SET rejection_status = %s::atp.rejection_status,"
                " rejection_reason = NULL WHERE imdb_id = %s",
                ("override" if keep else "rejected", *rows[number % len(rows)]),
            )
            if number % PACE == 0:
                found = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                ).fetchone()
                connections = max(connections, found[0] if found else 0)
            time.sleep(max(0.0, started + number / PACE - time.monotonic()))
    return connections


def test_labels_that_change_a_hundred_times_a_second_cost_a_run_and_not_a_hundred(
    patient: House,
) -> None:
    """Kept out: a run for every look, a sensor that falls behind, connections that pile up."""
    run, _ = patient.trains()
    before, since = patient.runs(), time.time()
    connections = label_without_end(patient)
    # The labels were never quiet, and the longest wait is five minutes.
    waited_for = SECONDS // 300
    assert len(patient.runs() - before) <= waited_for
    patient.check_agreement()
    assert patient.status(run) == dg.DagsterRunStatus.SUCCESS
    assert len(patient.runs() - before) <= waited_for + 2
    told = patient.ticks_since(since)
    assert len(told) > SECONDS / 10
    assert not [reason for reason in told if "FAILURE" in reason or "nothing concluded" in reason]
    assert connections < 40
