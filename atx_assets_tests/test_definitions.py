"""The graph as Dagster and its UI see it, loaded in a fresh interpreter."""

import subprocess
import sys
from datetime import timedelta

import dagster as dg
import pytest

from atx_assets.automation.tags import CORRECTIONS
from atx_assets.definitions import ASSETS, build_defs
from atx_assets.storage.data_folder import FILES


@pytest.fixture(scope="module")
def defs() -> dg.Definitions:
    return build_defs()


def test_definitions_load_in_a_fresh_interpreter_without_network_disk_or_heavy_imports():
    code = (
        "import sys, atx_assets.definitions;"
        "heavy = {'pandas', 'pyarrow', 'xgboost', 'sklearn', 'matplotlib', 'mlflow', 'psycopg',"
        " 'scipy', 'dagster_mlflow', 'dagster_postgres'} & set(sys.modules);"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_asset_tells_its_story(defs):
    dg.Definitions.validate_loadable(defs)
    for spec in defs.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.group_name in {"database", "training", "model", "results"}
        assert spec.key.to_user_string() in {*FILES, "atp/media", "atp/training"}
        if spec.key.to_user_string() in FILES:
            assert spec.code_version, spec.key


def test_lineage_starts_at_the_tables_in_postgresql(defs):
    graph = defs.resolve_asset_graph()
    assert {k.to_user_string() for k in graph.get(dg.AssetKey("raw_media")).parent_keys} == {
        "atp/media",
        "atp/training",
    }
    assert not graph.get(dg.AssetKey(["atp", "media"])).is_materializable


@pytest.mark.parametrize(
    ("job", "left_out"),
    [
        ("full_rebuild", set()),
        ("refresh", {"hyperparameters"}),
        (
            "score",
            {"feature_encoding", "training_table", "hyperparameters", "tuned_classifier"},
        ),
    ],
)
def test_jobs_run_what_they_say(defs, job, left_out):
    selected = defs.resolve_job_def(job).asset_layer.selected_asset_keys
    assert {k.to_user_string() for k in selected} == set(FILES) - left_out
    assert defs.resolve_job_def(job).tags["atx/writes"] == "data"


def test_a_resource_can_be_handed_in():
    class Other(dg.ConfigurableResource):
        pass

    assert isinstance(build_defs({"mlflow": Other()}).resources["mlflow"], Other)


def test_assets_are_listed_once():
    # Titles and quarantine are made together.
    assert len(ASSETS) == len(set(map(id, ASSETS))) == len(FILES) + 2 - 1


def test_what_people_read_is_marked_when_a_night_was_missed_and_failed_after_two(defs):
    read = {
        "scored_results",
        "false_positives",
        "false_negatives",
        "review_queue",
        "analysis_report",
    }
    for spec in defs.resolve_all_asset_specs():
        policy = spec.freshness_policy
        assert (policy is not None) == (spec.key.to_user_string() in read), spec.key
        if policy is not None:
            assert policy.warn_window.to_timedelta() == timedelta(hours=26)
            assert policy.fail_window.to_timedelta() == timedelta(hours=50)


def test_every_automation_is_on_and_says_what_it_does_when_and_how_to_quiet_it(defs):
    automations = [*defs.sensors, *defs.schedules]
    assert {a.name for a in automations} == {
        "label_sensor",
        "film_sensor",
        "alert_on_failure",
        "heartbeat_on_success",
        "nightly",
        "housekeeping",
    }
    for automation in automations:
        assert automation.default_status.value == "RUNNING", automation.name
        assert "To quiet it, switch it off on this page" in automation.description


def test_every_job_says_what_it_does(defs):
    for job in ("full_rebuild", "refresh", "score", "housekeeping", *CORRECTIONS):
        assert defs.resolve_job_def(job).description, job
