"""MLflow that is away, slow, broken, full, or another server altogether.

That it dies in mid-run is tried in `test_mlflow_goes.py`.
"""

import os
import time
from typing import Any

import dagster as dg
import pytest

from atx_assets.commands.doctor.mlflow import check_mlflow as doctor_line
from atx_assets.defs.resources import mlflow as ours
from atx_assets.errors import AtxError
from atx_assets.mlflow_environment import ANSWER
from atx_assets.models.bundles import Bundles, Place
from atx_assets.settings import read_settings
from atx_assets_tests.builders.failures import failure
from atx_assets_tests.builders.mlflow_servers import mlflow_started, strange

TRAINING = [dg.AssetKey("tuned_classifier")]
UP_TO_TRAINING = [
    dg.AssetKey(name)
    for name in ("raw_media", "quarantine", "titles", "feature_encoding", "training_table")
]
#: Seconds; a guard against a hang on a loaded machine.
KNOWN = 30

HTML = b"<!doctype html>\n<html><body>Welcome to your router</body></html>"
FULL = b"<html>\n<head><title>507 Insufficient Storage</title></head></html>"


def mlflow_line(result: dg.ExecuteInProcessResult) -> str:
    """The one line that says why the run failed, with what a person may do instead."""
    line = failure(result)
    assert "ATX_MLFLOW=off; the last model stays in place" in line
    return line


def doctors(place: Any, **settings: str) -> str:
    """The line of `atx doctor`, which sees it before a run does."""
    with place.environment(**settings), pytest.raises(AtxError) as found:
        doctor_line(read_settings())
    return str(found.value)


# -- from the start: known within seconds, before anything is searched or trained


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"seconds": 30, "status": 200}, "MLflow does not answer at http://127.0.0.1:"),
        ({"status": 500, "body": b"Internal Server Error"}, "answers with an error (500)"),
        (
            {"status": 507, "body": FULL},
            "answers with an error (507): look at MLflow's log, or make room",
        ),
        ({"status": 502, "body": HTML}, "answers with an error (502)"),
        ({"status": 200, "body": HTML}, "answers, but not as MLflow does: check MLFLOW_HOST"),
        ({"status": 404, "body": HTML}, "answers, but not as MLflow does: check MLFLOW_HOST"),
        ({"status": 507, "body": FULL, "word": "/api/"}, "answers with an error (507)"),
    ],
    ids=["30 s", "500", "507", "502", "another page", "no such page", "healthy, its API 507"],
)
def test_mlflow_that_is_of_no_use_is_one_line_in_seconds_for_a_run_and_the_doctor(
    how, words, copied, mlflow_server
):
    before = copied.contents()
    with strange(**how, behind=mlflow_server.port) as server:
        started = time.monotonic()
        line = mlflow_line(copied.run("full_rebuild", assets=TRAINING, **server.settings))
        assert time.monotonic() - started < KNOWN
        assert words in line
        assert doctors(copied, **server.settings) == line
        # Before the search begins, too.
        search = copied.run(assets=[dg.AssetKey("hyperparameters")], **server.settings)
        assert mlflow_line(search) == line
    assert copied.contents() == before


def test_a_name_that_leads_nowhere_is_one_line(copied):
    wrong = {"MLFLOW_HOST": "no-such-machine.invalid", "MLFLOW_PORT": "5000"}
    line = mlflow_line(copied.run("full_rebuild", assets=TRAINING, **wrong))
    assert line.startswith("MLflow does not answer at http://no-such-machine.invalid:5000 (")
    assert "check MLFLOW_HOST and MLFLOW_PORT" in line
    assert doctors(copied, **wrong) == line


def test_the_first_run_without_the_mlflow_that_is_wanted_leaves_no_half_of_a_model(
    workplace, small_library, closed_port
):
    """The films are read; without the search nothing is trained; with MLflow off it goes on."""
    from atx_assets.sources.load.load import load_file

    with workplace.connect() as connection:
        load_file(connection, small_library)
    wanted = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(closed_port)}
    result = workplace.run("full_rebuild", **wanted)
    assert mlflow_line(result).startswith("MLflow does not answer")
    made = [name for name in workplace.contents() if name.endswith((".ubj", ".html"))]
    assert made == []
    assert workplace.files.path("training_table").exists()
    assert workplace.run("full_rebuild", ATX_MLFLOW="off", ATX_SEARCH="off", **wanted).success
    assert Bundles(workplace.files).place() == Place(1)


# -- in the middle


@pytest.mark.parametrize(
    ("word", "how", "words"),
    [
        ("runs/log-batch", {"status": 500}, "answers with an error (500)"),
        ("runs/log-batch", {"status": 200, "body": HTML}, "answers, but not as MLflow does"),
        ("registered-models/", {"status": 507, "body": FULL}, "answers with an error (507)"),
    ],
    ids=["500", "another page", "507"],
)
def test_mlflow_that_breaks_while_it_is_told_is_one_line_and_the_champion_stays(
    word, how, words, copied, mlflow_server
):
    copied.label_some()
    assert copied.run(assets=UP_TO_TRAINING, ATX_MLFLOW="off").success
    champion = copied.files.path("tuned_classifier").read_bytes()
    with strange(**how, word=word, behind=mlflow_server.port) as server:
        result = copied.run(assets=TRAINING, ATX_MODEL_NAME=f"breaks {word[:4]}", **server.settings)
        assert server.strange
    assert words in mlflow_line(result)
    assert Bundles(copied.files).place() == Place(1)
    assert copied.files.path("tuned_classifier").read_bytes() == champion


def test_a_slow_mlflow_is_given_up_instead_of_waited_for_a_hundred_times(
    copied, mlflow_server, monkeypatch
):
    """Kept out: a training that took 33 minutes, as each of 390 answers came after 5 s."""
    monkeypatch.setattr(ours, "PATIENCE", 4)
    copied.label_some()
    assert copied.run(assets=UP_TO_TRAINING, ATX_MLFLOW="off").success
    with strange(seconds=1.5, word="runs/log-batch", behind=mlflow_server.port) as server:
        result = copied.run(assets=TRAINING, ATX_MODEL_NAME="slow", **server.settings)
        asked = server.strange
    assert "stopped answering in time (" in mlflow_line(result)
    # Some in the patience that there was, one in the second after it, and that it failed.
    assert asked <= 10
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(ANSWER)
    assert Bundles(copied.files).place() == Place(1)


# -- its disk is full


def test_an_mlflow_whose_disk_is_full_is_one_line_and_gets_the_model_once_there_is_room(
    copied, tmp_path
):
    """A real server, whose files may grow no more: its database, and its artifacts."""
    import mlflow

    copied.label_some()
    assert copied.run(assets=UP_TO_TRAINING, ATX_MLFLOW="off").success
    with mlflow_started(tmp_path) as server:
        settings = {**server.settings, "ATX_MODEL_NAME": "full"}
        server.fill()
        line = mlflow_line(copied.run(assets=TRAINING, **settings))
        assert "answers with an error (50" in line
        assert "look at MLflow's log, or make room on its disk" in line
        assert Bundles(copied.files).place() == Place(1)
        server.make_room()
        assert copied.run(assets=TRAINING, **settings).success
        place = Bundles(copied.files).place()
        assert place == Place(2, (1,))
        client = mlflow.MlflowClient(server.url)
        (version,) = client.search_model_versions("name='full'")
        assert version.tags["atx_version"] == "2"
        assert client.get_registered_model("full").aliases == {"champion": version.version}
