"""Which alerts the sensors raise and clear; the runs they look at are recorded, not run.

Not here: runs that fail for real, and what is sent (`test_failures.py`).
"""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from atx_assets.alerts.alerts import raise_alert
from atx_assets.alerts.messages import Alert
from atx_assets.automation.decide import LAST_ATTEMPT, Decision, Request, Seen
from atx_assets.automation.failures import CHECK_FAILED, NIGHT_FAILED, NOT_PRUNED
from atx_assets.automation.losses import LOST
from atx_assets.defs.resources.current_settings import given_settings
from atx_assets.defs.sensors import tick
from atx_assets.settings import read_settings
from atx_assets.sources.layouts import MEDIA
from atx_assets.sources.load.tables import ensure_table
from atx_assets_tests.builders.living import let_sensors_see

NIGHT = {"dagster/schedule_name": "nightly"}
DAY = {"dagster/schedule_name": "housekeeping"}
CAUSES = [f"{CHECK_FAILED}c", f"{NIGHT_FAILED}n", f"{NOT_PRUNED}p", LOST]


def attempt(number: int) -> dict[str, str]:
    request = Request("6-a", 9, "7-a", "8-a", number)
    return {"dagster/sensor_name": "label_sensor", "dagster/run_key": request.run_key}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ATX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run_of(instance: dg.DagsterInstance, job: str, tags: dict[str, str]) -> dg.DagsterRun:
    @dg.op
    def nothing() -> None:
        pass

    made = dg.GraphDefinition(name=job, node_defs=[nothing]).to_job()
    return instance.create_run_for_job(made, tags=tags)


def alerts(home: Path) -> dict[str, Any]:
    file = home / "alerts.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


@pytest.mark.parametrize(
    ("job", "tags", "title"),
    [
        ("refresh", {}, None),
        ("refresh", attempt(1), None),
        ("refresh", attempt(LAST_ATTEMPT), "atx: the results cannot be brought up to date"),
        ("full_rebuild", NIGHT, "atx: the nightly run failed"),
        ("housekeeping", {}, None),
        ("housekeeping", DAY, "atx: old runs could not be pruned"),
    ],
    ids=["by hand", "first attempt", "last attempt", "night", "pruning by hand", "pruning"],
)
def test_a_failed_run_raises_an_alert_if_nobody_tries_it_again(
    home: Path, instance: dg.DagsterInstance, job: str, tags: dict[str, str], title: str | None
) -> None:
    run = run_of(instance, job, tags)
    instance.report_run_failed(run, "its process is gone")
    let_sensors_see(instance, run.run_id)
    raised = list(alerts(home).values())
    assert [alert["title"] for alert in raised] == ([title] if title else [])
    # No step failed: what Dagster says of the run is all there is to say.
    assert all("its process is gone" in alert["text"] for alert in raised)


@pytest.mark.parametrize(
    ("job", "tags", "cleared"),
    [
        ("score", {}, CAUSES[:1]),
        ("full_rebuild", {}, CAUSES[:2]),
        ("full_rebuild", NIGHT, CAUSES[:2]),
        ("housekeeping", DAY, CAUSES[2:3]),
    ],
    ids=["any run", "rebuilt by hand", "night", "pruning"],
)
def test_a_run_that_succeeds_clears_the_alerts_that_it_heals_and_no_other(
    home: Path, instance: dg.DagsterInstance, job: str, tags: dict[str, str], cleared: list[str]
) -> None:
    for cause in CAUSES:
        raise_alert(read_settings(), Alert(cause, "atx: t", "text"), logging.getLogger())
    assert list(alerts(home)) == CAUSES
    run = run_of(instance, job, tags)
    ended = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, job_name=job)
    instance.report_dagster_event(ended, run.run_id)
    let_sensors_see(instance, run.run_id)
    assert list(alerts(home)) == [cause for cause in CAUSES if cause not in cleared]


def test_a_refusal_raises_an_alert_and_the_next_run_clears_it_and_says_why_it_is_asked_for(
    workplace: Any, instance: dg.DagsterInstance
) -> None:
    with workplace.connect() as connection:
        ensure_table(connection, MEDIA, MEDIA.columns, beside_others=False)
    seen, request = Seen("7-a", 1.0, 2.0, 3.0), Request("6-a", 9, "7-a", "8-a", 2)

    def answer(decision: Decision) -> dg.SensorResult:
        context = dg.build_sensor_context(instance)
        given = given_settings(workplace.settings())
        return tick(context, given, "label_sensor", lambda *_: decision, 1_000.0)

    refused = answer(Decision("half of them are gone", seen, refused=LOST))
    assert str(refused.skip_reason.skip_message) == "half of them are gone"
    assert alerts(workplace.home)[LOST]["text"].startswith("half of them are gone\n")
    asked = answer(Decision("3 labels differ", seen, request))
    assert alerts(workplace.home) == {}
    assert asked.cursor == seen.cursor()
    (run,) = asked.run_requests
    assert run.run_key == request.run_key
    assert run.tags == {"atx/why": "3 labels differ", "atx/attempt": "2"}
