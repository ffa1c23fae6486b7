"""MLflow that is away, silent, or dies in mid-run; and the state in which a run is left."""

import shutil
import socket
import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest

from atx_assets.commands.promote import promote, roll_back
from atx_assets.errors import AtxError
from atx_assets.models.bundles import Bundles, Place
from atx_assets.settings import Settings, read_settings
from atx_assets_tests.builders.failures import failure
from atx_assets_tests.builders.mlflow_servers import strange

pytestmark = pytest.mark.xdist_group("mlflow server")

TRAINING = [dg.AssetKey("tuned_classifier")]
#: Seconds within which a person knows, and what a loaded machine needs beside.
KNOWN, BESIDE = 40, 60


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that takes every connection and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield listener.getsockname()[1]


def run_of(server, result: dg.ExecuteInProcessResult) -> Any:
    """The MLflow run of a run of Dagster."""
    import mlflow

    client = mlflow.MlflowClient(server.url)
    experiment = client.get_experiment_by_name("atx")
    wanted = f"tags.dagster_run_id = '{result.run_id}'"
    (run,) = client.search_runs([experiment.experiment_id], wanted)
    return run


# -- away from the start


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_mlflow_that_does_not_answer_is_one_line_in_seconds_and_the_champion_stays(
    kind, copied, closed_port, silent_port
):
    port = closed_port if kind == "closed" else silent_port
    before = copied.contents()
    started = time.monotonic()
    result = copied.run(
        "full_rebuild", assets=TRAINING, MLFLOW_HOST="127.0.0.1", MLFLOW_PORT=str(port)
    )
    assert time.monotonic() - started < KNOWN
    line = failure(result)
    assert line.startswith(f"MLflow does not answer at http://127.0.0.1:{port} (")
    for mend in ("start it", "MLFLOW_HOST and MLFLOW_PORT", "ATX_MLFLOW=off"):
        assert mend in line
    assert "the last model stays in place" in line
    assert copied.contents() == before


def test_no_password_of_mlflow_is_told(copied, closed_port):
    result = copied.run(
        "full_rebuild",
        assets=TRAINING,
        MLFLOW_HOST="http://somebody:s3cret@127.0.0.1",
        MLFLOW_PORT=str(closed_port),
    )
    line = failure(result)
    assert f"http://127.0.0.1:{closed_port}" in line
    assert "s3cret" not in line


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_promotion_by_hand_without_the_mlflow_that_is_wanted_changes_nothing(
    kind, copied, closed_port, silent_port
):
    """Kept out: a champion in the data folder, and another one in MLflow."""
    models = Bundles(copied.files).folder
    shutil.copytree(models / "1", models / "2")
    (models / "champion.json").write_text('{"version": 2, "before": [1]}')
    before = copied.contents()
    by_number = kind == "closed"
    port = closed_port if by_number else silent_port
    lines: list[str] = []

    def act(settings: Settings) -> None:
        if by_number:
            promote(settings, 1, lines.append)
        else:
            roll_back(settings, lines.append)

    with copied.environment(MLFLOW_HOST="127.0.0.1", MLFLOW_PORT=str(port)):
        settings, started = read_settings(), time.monotonic()
        with pytest.raises(AtxError, match="MLflow does not answer at") as caught:
            act(settings)
        assert time.monotonic() - started < KNOWN
    assert "\n" not in str(caught.value)
    assert lines == []
    assert copied.contents() == before


# -- it dies in mid-run


@pytest.mark.parametrize(
    ("word", "silent"),
    [
        ("runs/log-batch", False),
        ("runs/log-batch", True),
        ("quality.json", False),
        ("model-versions/create", False),
        ("registered-models/alias", False),
    ],
)
def test_mlflow_that_dies_in_mid_run_is_one_line_and_the_champion_stays(
    word, silent, copied, mlflow_server
):
    copied.label_some()
    champion = copied.files.path("tuned_classifier").read_bytes()
    scored = copied.files.path("scored_results").read_bytes()
    how = {"dead": True, "seconds": 120 if silent else 0}
    with strange(**how, word=word, behind=mlflow_server.port) as proxy:
        started = time.monotonic()
        result = copied.run("refresh", ATX_MODEL_NAME=f"dies {word[:4]}", **proxy.settings)
        took = time.monotonic() - started
        assert proxy.strange
    line = failure(result)
    assert line.startswith(
        f"MLflow at http://127.0.0.1:{proxy.settings['MLFLOW_PORT']} stopped answering"
    )
    assert "the last model stays in place" in line
    # Each of the two requests that are made of a silent one, the second to end the run.
    assert took < (2 if silent else 1) * KNOWN + BESIDE
    assert Bundles(copied.files).place() == Place(1)
    assert copied.files.path("tuned_classifier").read_bytes() == champion
    assert copied.files.path("scored_results").read_bytes() == scored


def test_a_run_that_mlflow_left_open_is_ended_by_the_next_training(copied, mlflow_server):
    copied.label_some()
    name = {"ATX_MODEL_NAME": "left open"}
    with copied.instance() as instance:
        with strange(dead=True, word="model-versions/create", behind=mlflow_server.port) as proxy:
            failed = copied.learns("refresh", instance, **proxy.settings, **name)
        assert not failed.success
        assert run_of(mlflow_server, failed).info.status == "RUNNING"
        result = copied.learns("refresh", instance, **mlflow_server.settings, **name)
        assert result.success
    assert run_of(mlflow_server, failed).info.status == "KILLED"
    assert run_of(mlflow_server, result).info.status == "FINISHED"
    # The model that was kept when MLflow went is the one that is promoted now.
    assert Bundles(copied.files).place() == Place(2, (1,))
    assert Bundles(copied.files).versions() == [1, 2]


def test_mlflow_that_goes_at_the_very_end_spoils_no_training_and_is_told_later(
    copied, mlflow_server
):
    """Kept out: a champion in place, a failed run, and MLflow's password in its error."""
    copied.label_some()
    named = {"ATX_MODEL_NAME": "very end"}
    with copied.instance() as instance:
        with strange(dead=True, word="runs/update", behind=mlflow_server.port) as proxy:
            secret = {**proxy.settings, "MLFLOW_HOST": "http://me:hunter2@127.0.0.1"}
            result = copied.learns("refresh", instance, **secret, **named)
            assert proxy.strange
        assert result.success
        assert run_of(mlflow_server, result).info.status == "RUNNING"
        told = [
            record.event_log_entry for record in instance.get_records_for_run(result.run_id).records
        ]
        assert any("MLflow could not mark its run as FINISHED" in str(e) for e in told)
        assert "hunter2" not in str(told)
        copied.label_some(40)
        assert copied.learns("refresh", instance, **mlflow_server.settings, **named).success
    assert run_of(mlflow_server, result).info.status == "FINISHED"


def test_a_run_of_somebody_else_is_left_open(copied, mlflow_server):
    """Kept out: two homes under one server, of which one ends the other's run."""
    import mlflow

    client = mlflow.MlflowClient(mlflow_server.url)
    if client.get_experiment_by_name("atx") is None:
        client.create_experiment("atx")
    experiment = client.get_experiment_by_name("atx").experiment_id
    other = client.create_run(experiment, tags={"dagster_run_id": "another home's"})
    bare = client.create_run(experiment)
    with copied.instance() as instance:
        assert copied.learns(
            "refresh", instance, **mlflow_server.settings, ATX_MODEL_NAME="mine"
        ).success
    for run in (other, bare):
        assert client.get_run(run.info.run_id).info.status == "RUNNING"
        client.set_terminated(run.info.run_id)


# -- the state in which a run is left


def test_an_asset_that_fails_leaves_its_run_failed(copied, mlflow_server):
    models = Bundles(copied.files).folder
    shutil.rmtree(models)
    models.write_text("no folder")
    result = copied.run("full_rebuild", assets=TRAINING, **mlflow_server.settings)
    assert not result.success
    assert run_of(mlflow_server, result).info.status == "FAILED"


def test_an_operating_point_out_of_reach_leaves_its_run_failed(copied, mlflow_server):
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_reason = NULL, rejection_status = CASE"
            " WHEN md5(coalesce(imdb_id, hash)) < '33' THEN 'override' ELSE 'rejected'"
            " END::atp.rejection_status WHERE rejection_status <> 'unfiltered'"
        )
    result = copied.run("refresh", **mlflow_server.settings, ATX_OPERATING_POINT="precision>=0.9")
    assert failure(result).startswith("ATX_OPERATING_POINT=precision>=0.9 is out of reach")
    assert run_of(mlflow_server, result).info.status == "FAILED"
