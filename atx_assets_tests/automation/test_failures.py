"""Which failures a person is told of, in which words, and once: real runs and a real receiver."""

from collections.abc import Iterator

import dagster as dg
import pytest

from atx_assets.automation.decide import LAST_ATTEMPT, Request
from atx_assets.automation.observe import attempts_of
from atx_assets.automation.tags import asked_by
from atx_assets_tests.builders.http_server import Answering, Asked, http_server
from atx_assets_tests.builders.living import let_sensors_see

pytestmark = pytest.mark.slow

NIGHT = {"dagster/schedule_name": "nightly"}


class Receiver:
    """Takes what it is sent, and keeps it: an alert's title and text, or a call and its path."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str]] = []

    def take(self, request: Asked, answering: Answering) -> None:
        alert = request.method == "POST"
        told = (request.headers["title"], request.body.decode()) if alert else ("GET", request.path)
        self.got.append(told)
        answering.send(200)


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    made = Receiver()
    with http_server(made.take) as server:
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("ATX_ALERT_URL", f"{server.url}/topic")
        monkeypatch.setenv("ATX_HEARTBEAT_URL", f"{server.url}/alive")
        yield made


def ends(living, result) -> bool:
    """Let the sensors look at the end of a run; whether it ended well."""
    with living.place.environment():
        return let_sensors_see(living.instance, result.run_id)


def fail(living, tags=None, job="refresh"):
    return living.run(job, tags, MLFLOW_HOST="127.0.0.1", MLFLOW_PORT="9")


def asked_for(attempt):
    request = Request("6-a", 9, "7-a", "8-a", attempt)
    return {"dagster/sensor_name": "label_sensor", "dagster/run_key": request.run_key}


def test_a_run_by_hand_that_fails_is_told_of_where_it_was_started(living, receiver):
    ends(living, fail(living))
    assert receiver.got == []


def test_attempts_are_told_of_when_the_last_has_failed(living, receiver):
    for attempt in (1, LAST_ATTEMPT - 1):
        ends(living, fail(living, asked_for(attempt)))
    assert receiver.got == []
    ends(living, fail(living, asked_for(LAST_ATTEMPT)))
    ((title, text),) = receiver.got
    assert title == "atx: the results cannot be brought up to date"
    first, second, third = text.splitlines()
    assert first.startswith(
        f"{LAST_ATTEMPT} attempts failed, the last with: tuned_classifier: MLflow does not answer"
    )
    assert second.startswith(
        "No further attempt until something changes, or the nightly run (job refresh, run "
    )
    assert third.endswith("docs/operations.md#the-results-cannot-be-brought-up-to-date")


def test_a_check_that_stops_the_graph_is_told_of_once(living, receiver):
    living.connection.execute("UPDATE atp.media SET release_year = 9999 WHERE right(hash, 1) < '8'")
    for tags in ({}, NIGHT, asked_for(1)):
        result = living.run("score", tags)
        assert not result.success
        ends(living, result)
    ((title, text),) = receiver.got
    assert title == "atx: a check stopped the graph"
    assert text.startswith("quarantine: source_contract: atp.media: ")
    assert "more than ATX_QUARANTINE_BLOCK (0.2) allows: " in text
    assert "(release_year is above 2100: 9999)" in text
    assert "The results stay unchanged (job score, run " in text


def test_a_check_that_warns_stops_nothing_and_is_no_alert(living, receiver):
    """Kept out: a warning of a check that may block, taken for the one that stopped a run."""
    living.connection.execute("UPDATE atp.media SET release_year = 9999 WHERE right(hash, 1) = '0'")
    ends(living, living.run("score", asked_for(1)))
    ends(living, fail(living, asked_for(LAST_ATTEMPT)))
    assert [title for title, _ in receiver.got] == ["atx: the results cannot be brought up to date"]


def test_what_was_healed_is_told_of_when_it_comes_again(living, receiver):
    for _ in range(2):
        for year in (9999, 1999):
            living.connection.execute(
                "UPDATE atp.media SET release_year = %s WHERE right(hash, 1) < '8'", (year,)
            )
            ends(living, living.run("score"))
    assert [told[0] for told in receiver.got] == ["atx: a check stopped the graph"] * 2


def test_a_night_that_fails_is_told_of_once_until_a_night_ends_well(living, receiver):
    for _ in range(2):
        ends(living, fail(living, NIGHT))
    ((title, text),) = receiver.got
    assert title == "atx: the nightly run failed"
    assert text.startswith("tuned_classifier: MLflow does not answer at http://127.0.0.1:9 (")
    ends(living, living.run("refresh", NIGHT))
    assert receiver.got[1:] == [("GET", "/alive")]
    ends(living, fail(living, NIGHT))
    assert len(receiver.got) == 3


def test_only_a_good_night_calls_the_heartbeat(living, receiver):
    ends(living, living.run("score"))
    assert receiver.got == []
    ends(living, living.run("score", NIGHT))
    assert receiver.got == [("GET", "/alive")]


def test_a_rebuild_by_hand_heals_a_failed_night(living, receiver):
    """Kept out: the next night that fails of the same, and nobody is told."""
    for _ in range(2):
        ends(living, fail(living, NIGHT))
    assert [title for title, _ in receiver.got] == ["atx: the nightly run failed"]
    assert ends(living, living.run("full_rebuild", ATX_SEARCH="off", ATX_MLFLOW="off"))
    ends(living, fail(living, NIGHT))
    assert [title for title, _ in receiver.got] == ["atx: the nightly run failed"] * 2


def test_gone_labels_are_one_cause_for_sensor_and_check(living, receiver):
    living.connection.execute(
        "UPDATE atp.media SET rejection_status = 'unfiltered', rejection_reason = NULL"
    )
    living.tick()
    living.tick("film_sensor")
    result = living.run("refresh", NIGHT)
    assert not result.success
    ends(living, result)
    ((title, text),) = receiver.got
    assert title == "atx: labels are gone"
    assert text.startswith("750 of 750 labels are gone at once: nothing is rebuilt from that.")


def test_a_dead_address_breaks_nothing_and_is_not_shown(living, receiver, monkeypatch):
    monkeypatch.setenv("ATX_ALERT_URL", "http://127.0.0.1:9/a-secret-topic")
    ends(living, fail(living, NIGHT))
    assert '"told": false' in living.alerts()
    assert "a-secret-topic" not in living.alerts()


# -- runs that a person re-executes: Dagster gives them the tags of sensor and schedule


def unlabel(living) -> None:
    living.connection.execute(
        "UPDATE atp.media SET rejection_status = 'unfiltered', rejection_reason = NULL"
        " WHERE right(hash, 1) < 'c'"
    )


def test_a_night_that_was_stopped_is_re_executed_by_hand(living, receiver):
    """Kept out: the guard took the person for the schedule, and told them to do it by hand."""
    unlabel(living)
    night = living.run("score", NIGHT)
    assert not ends(living, night)
    again = living.reexecute(night.run_id)
    assert again.tags["dagster/schedule_name"] == "nightly"
    assert ends(living, again)
    # No heartbeat: that a person ran it says nothing of the schedule.
    assert [title for title, _ in receiver.got] == ["atx: labels are gone"]


def test_a_run_that_a_person_re_executes_and_that_fails_is_told_of_nowhere(living, receiver):
    for tags in (NIGHT, asked_for(LAST_ATTEMPT)):
        failed = fail(living, tags)
        assert not ends(living, failed)
        told = len(receiver.got)
        (living.place.home / "alerts.json").unlink()  # else the cause would be known
        again = living.reexecute(failed.run_id, MLFLOW_HOST="127.0.0.1", MLFLOW_PORT="9")
        assert not ends(living, again)
        assert len(receiver.got) == told
    assert told == 2


def test_a_run_that_a_person_re_executes_is_no_attempt_of_the_sensor(living):
    failed = fail(living, asked_for(1))
    living.reexecute(failed.run_id, MLFLOW_HOST="127.0.0.1", MLFLOW_PORT="9")
    assert [a.run_id for a in attempts_of(living.instance, "label_sensor")] == [failed.run_id]


@pytest.mark.parametrize(
    ("tags", "parent", "asker"),
    [
        ({}, None, ""),
        (NIGHT, None, "nightly"),
        (asked_for(1), None, "label_sensor"),
        (NIGHT, "a run", ""),
        (asked_for(1), "a run", ""),
        (NIGHT | {"dagster/retry_number": "1"}, "a run", "nightly"),
    ],
)
def test_who_asked_for_a_run_is_told_from_its_parent_too(tags, parent, asker):
    run = dg.DagsterRun("refresh", tags=tags, parent_run_id=parent, root_run_id=parent)
    assert asked_by(run) == asker
