"""The daily job as it runs in life, and who is told when it cannot."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from atx_assets.automation.failures import NOT_PRUNED
from atx_assets.automation.observe import runs_in_flight
from atx_assets.definitions import build_defs
from atx_assets_tests.builders.living import let_sensors_see

ASKED = {"dagster/schedule_name": "housekeeping"}


def told(records: Any, run: str) -> dict[str, Any]:
    """What the job's steps tell of themselves, by label."""
    page = records.instance.get_records_for_run(run, of_type=dg.DagsterEventType.STEP_OUTPUT)
    found: dict[str, Any] = {}
    for record in page.records:
        output = record.event_log_entry.dagster_event.event_specific_data
        found |= {name: value.value for name, value in output.metadata.items()}
    return found


@pytest.mark.slow
def test_it_prunes_by_the_setting_tells_what_and_prunes_its_own_runs_too(lived: Any) -> None:
    records, year = lived
    first = records.run("housekeeping", ASKED, ATX_KEEP_DAYS="101")
    assert told(records, first)["runs"] == 0
    assert year.second in records.runs()
    second = records.run("housekeeping", ASKED)
    assert told(records, second) == {
        "runs": 1,
        "rows": 5,
        "MB of log files": 0.0,
        "MLflow runs": 0,
        "registered versions": 0,
        "MB of artifacts": 0.0,
    }
    assert year.second not in records.runs()
    records.let_pass(91)
    third = records.run("housekeeping", ASKED)
    assert records.runs() == {year.first, year.failed, year.last, third}


@pytest.mark.slow
def test_a_half_that_fails_keeps_the_other_from_nothing(lived: Any) -> None:
    records, year = lived
    damage(records)
    run = records.run("housekeeping", ASKED)
    assert records.instance.get_run_by_id(run).status == dg.DagsterRunStatus.FAILURE
    assert year.second not in records.runs()


@pytest.mark.slow
def test_a_person_is_told_until_it_ends_well_again(lived: Any) -> None:
    """Kept out: an alert for good, and one that any run that ends well takes back."""
    records, _ = lived
    store = damage(records)
    let_sensors_see(records.instance, records.run("housekeeping"))
    assert alerts(records) == {}  # by hand: told of where it was started
    let_sensors_see(records.instance, records.run("housekeeping", ASKED))
    ((cause, alert),) = alerts(records).items()
    assert cause.startswith(f"{NOT_PRUNED}prune_models: ")
    assert alert["title"] == "atx: old runs could not be pruned"
    assert "file is not a database" in alert["text"]
    assert "Nothing is lost, but the disk slowly fills" in alert["text"]
    let_sensors_see(records.instance, records.run("score"))
    assert list(alerts(records)) == [cause]
    store.unlink()
    let_sensors_see(records.instance, records.run("housekeeping", ASKED))
    assert alerts(records) == {}


def damage(records: Any) -> Path:
    store: Path = records.place.home / "mlflow" / "mlflow.db"
    store.parent.mkdir(exist_ok=True)
    store.write_bytes(b"no database at all" * 100)
    return store


def alerts(records: Any) -> dict[str, Any]:
    file = records.place.home / "alerts.json"
    return dict(json.loads(file.read_text())) if file.exists() else {}


def test_it_keeps_no_sensor_waiting_and_waits_for_no_run_that_writes() -> None:
    job = build_defs().resolve_job_def("housekeeping")
    assert "atx/writes" not in job.tags
    with dg.DagsterInstance.ephemeral() as instance:
        instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        assert runs_in_flight(instance) == []
