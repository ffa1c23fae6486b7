"""When the graph reads its settings, and what a setting looks like that cannot be used."""

from pathlib import Path

import dagster as dg
import pytest

from atx_assets.definitions import build_defs
from atx_assets.defs.resources.current_settings import CurrentSettings, given_settings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.settings import Settings, read_settings
from atx_assets_tests.builders.failures import failure

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dg.asset
def first(current_settings: CurrentSettings) -> int:
    found = current_settings.read().keep_days
    pytest.MonkeyPatch().setenv("ATX_KEEP_DAYS", str(found + 1))
    return found


@dg.asset
def second(current_settings: CurrentSettings, first: int) -> tuple[int, int]:
    return first, current_settings.read().keep_days


@pytest.fixture
def graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dg.Definitions:
    """Two assets, loaded before a setting changes."""
    monkeypatch.setenv("ATX_KEEP_DAYS", "10")  # and so put back at the end
    files = DataFiles(directory=str(tmp_path))
    resources = {"current_settings": CurrentSettings(), "files": files}
    return dg.Definitions([first, second], resources=resources)


def run(graph: dg.Definitions) -> dg.ExecuteInProcessResult:
    job = graph.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(raise_on_error=False, run_config=QUIET)


def test_one_run_has_one_state_of_the_settings_and_the_next_the_one_of_then(
    graph: dg.Definitions,
) -> None:
    assert run(graph).output_for_node("second") == (10, 10)
    assert run(graph).output_for_node("second") == (11, 11)


def test_a_setting_that_cannot_be_used_is_the_error_of_the_step(
    graph: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATX_KEEP_DAYS", "soon")
    assert failure(run(graph)) == "ATX_KEEP_DAYS must be a whole number from 1 to 36500"


@pytest.mark.parametrize("sensor", ["label_sensor", "film_sensor"])
def test_a_setting_that_cannot_be_used_is_why_a_sensor_skips(
    sensor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: a tick that fails with Dagster's traceback of a resource."""
    defs = build_defs()
    monkeypatch.setenv("ATX_KEEP_DAYS", "soon")  # since the definitions were loaded
    with dg.DagsterInstance.ephemeral() as instance:
        asked = {"current_settings": defs.resources["current_settings"]}
        context = dg.build_sensor_context(instance, resources=asked)
        skipped = defs.resolve_sensor_def(sensor)(context).skip_reason
    assert skipped.skip_message == (
        "nothing concluded: ATX_KEEP_DAYS must be a whole number from 1 to 36500"
    )


def test_settings_that_are_handed_in_hold_for_the_folder_and_the_schedules_too(
    tmp_path: Path,
) -> None:
    settings = read_settings(
        {
            "ATX_DATA_DIR": str(tmp_path / "data"),
            "ATX_RETRAIN_CRON": "1 1 * * *",
            "ATX_EXECUTOR": "multiprocess",
        }
    )
    defs = build_defs({"current_settings": given_settings(settings)})
    assert defs.resolve_schedule_def("nightly").cron_schedule == "1 1 * * *"
    assert defs.executor is dg.multiprocess_executor
    seen: list[tuple[Path, Settings]] = []

    @dg.asset
    def looks(files: DataFiles, current_settings: CurrentSettings) -> None:
        seen.append((files.folder, current_settings.read()))

    assert dg.materialize([looks], resources=defs.resources).success
    assert seen == [(tmp_path / "data", settings)]
