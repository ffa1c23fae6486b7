"""What MLflow must take before a search begins: proved by doing it, and by `atx doctor --deep`."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from atx_assets.commands.doctor.mlflow import check_mlflow, prove_mlflow
from atx_assets.errors import AtxError, Note
from atx_assets.models.mlflow_proof import _first_line
from atx_assets.models.mlflow_server import embedded_store, tracking_uri
from atx_assets.settings import read_settings
from atx_assets_tests.builders.failures import failure
from atx_assets_tests.builders.mlflow_servers import mlflow_started, strange

pytestmark = pytest.mark.xdist_group("mlflow server")

SEARCH, TRAINING = dg.AssetKey("hyperparameters"), dg.AssetKey("tuned_classifier")


def client_of(place: Any, **settings: str) -> Any:
    from mlflow import MlflowClient

    with place.environment(**settings):
        return MlflowClient(tracking_uri(read_settings()))


def told(place: Any, check: Any, **settings: str) -> str:
    with place.environment(**settings):
        return str(check(read_settings()))


def refused(place: Any, check: Any, **settings: str) -> str:
    """The line of a check, which is that of a run before its search."""
    with pytest.raises(AtxError) as found:
        told(place, check, **settings)
    line = str(found.value)
    assert "\n" not in line
    assert failure(place.run(assets=[SEARCH], **settings)) == line
    return line


# -- an experiment in MLflow's bin


@pytest.mark.parametrize("where", ["embedded", "server"])
def test_our_experiment_that_was_deleted_in_mlflow_is_restored_by_the_next_training(
    where, copied, request
):
    """Kept out: doctor all right, and every training failing with "make room on the disk"."""
    settings = {"ATX_MODEL_NAME": "restored"}
    if where == "server":
        settings |= request.getfixturevalue("mlflow_server").settings
        assert copied.run(assets=[TRAINING], **settings).success
    client = client_of(copied, **settings)
    experiment = client.get_experiment_by_name("atx").experiment_id
    runs = {run.info.run_id for run in client.search_runs([experiment])}
    assert runs
    client.delete_experiment(experiment)
    with copied.environment(**settings):
        line = check_mlflow(read_settings())
    assert isinstance(line, Note)
    assert "the experiment atx was deleted there: the next training restores it" in line
    assert copied.run(assets=[TRAINING], **settings).success
    assert client.get_experiment(experiment).lifecycle_stage == "active"
    assert {run.info.run_id for run in client.search_runs([experiment])} >= runs


def test_somebody_elses_experiment_that_was_deleted_stays_so(copied, tmp_path):
    with mlflow_started(tmp_path) as server:
        client = client_of(copied, **server.settings)
        experiment = client.create_experiment("atx")
        client.create_run(experiment)
        client.delete_experiment(experiment)
        line = refused(copied, prove_mlflow, **server.settings)
        assert f"`mlflow experiments restore -x {experiment}`" in line
        assert client.get_experiment(experiment).lifecycle_stage == "deleted"


# -- the embedded store


def test_a_proof_leaves_nothing_in_the_embedded_store(copied):
    with copied.environment():
        store = embedded_store(read_settings())
    before = contents(store)
    assert "are deleted" in told(copied, prove_mlflow)
    assert contents(store) == before


def contents(store: Path) -> Any:
    """Every row that the store has, and every file."""
    with closing(sqlite3.connect(store)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = {
            name: sorted(map(repr, connection.execute(f'SELECT * FROM "{name}"')))
            for (name,) in names
            # Each answer of MLflow's is counted there, by day.
            if not name.startswith("sqlite_")
        }
    return rows, set((store.parent / "artifacts").rglob("*"))


# -- a server


def test_a_proof_leaves_no_run_and_no_file_on_a_server(copied, mlflow_server):
    client = client_of(copied, **mlflow_server.settings)
    assert "are deleted" in told(copied, prove_mlflow, **mlflow_server.settings)
    assert told(copied, prove_mlflow, **mlflow_server.settings).endswith("both are deleted")
    experiment = client.get_experiment_by_name("atx").experiment_id
    assert client.search_runs([experiment], "tags.atx_proof LIKE '%'") == []
    assert list(mlflow_server.artifacts.rglob("proof.txt")) == []


def test_doctor_says_which_version_a_server_is(copied, mlflow_server):
    from mlflow import __version__

    assert told(copied, check_mlflow, **mlflow_server.settings) == (
        f"{mlflow_server.url}, MLflow {__version__}"
    )


def test_a_server_of_mlflow_2_is_told_before_the_search(copied, mlflow_server):
    """It answers everything but what logs a model, with 404."""
    as_old = {"word": "/version", "body": b"2.22.4", "status": 200, "only": True}
    with strange(**as_old, behind=mlflow_server.port) as old:
        line = refused(copied, check_mlflow, **old.settings)
    assert "is MLflow 2.22.4, but atx needs 3.0 or later: update it" in line


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "wants a login (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, "does not allow that (403): give the user that atx logs in as"),
    ],
)
def test_a_server_that_wants_a_login_is_told_by_the_doctor_and_before_the_search(
    copied, status, words
):
    with strange(status=status, body=b"who are you?") as server:
        assert words in refused(copied, check_mlflow, **server.settings)


def test_a_name_that_the_server_was_not_told_of_is_no_missing_right(copied):
    """Kept out: "give the user that atx logs in as the right to edit", of a server without users.

    The words are those of MLflow's own guard against DNS rebinding.
    """
    said = b"Invalid Host header - possible DNS rebinding attack detected"
    with strange(status=403, body=said) as server:
        line = refused(copied, check_mlflow, **server.settings)
    assert f"add '127.0.0.1:{server.port}' to the names of MLflow's --allowed-hosts" in line


def test_a_model_that_the_server_does_not_show_is_tried_before_the_search(copied, mlflow_server):
    """Kept out: no first training by a user who has no rights by default.

    MLflow answers such a user for a name that nobody has as for one of somebody else.
    """
    hides = {"word": "registered-models/get?", "only": True, "until": "registered-models/create"}
    hides |= {"status": 403, "body": b"Permission denied", "behind": mlflow_server.port}
    own = {"ATX_MODEL_NAME": "hidden"}
    client = client_of(copied, **mlflow_server.settings)
    with strange(**hides) as server:
        note = told(copied, check_mlflow, **own, **server.settings)
        assert "does not say whether it has a registered model hidden (403)" in note
        assert "are deleted" in told(copied, prove_mlflow, **own, **server.settings)
        assert client.search_registered_models("name='hidden'") == []
    client.create_registered_model("hidden")
    with strange(**hides | {"until": ""}) as server:
        line = refused(copied, prove_mlflow, **own, **server.settings)
    client.delete_registered_model("hidden")
    assert "MLflow has a registered model hidden that the user whom atx logs in as may not" in line


def test_a_server_is_asked_with_the_login_that_mlflows_client_uses(
    copied, mlflow_server, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "s3cret")
    with strange(login="ann:s3cret", behind=mlflow_server.port) as server:
        assert "MLflow 3." in told(copied, check_mlflow, **server.settings)
        assert "are deleted" in told(copied, prove_mlflow, **server.settings)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
        line = refused(copied, check_mlflow, **server.settings)
    assert "wants a login (401)" in line
    assert "wrong" not in line


def test_a_right_that_is_denied_is_told_before_the_search(copied, mlflow_server):
    denied = json.dumps({"error_code": "PERMISSION_DENIED", "message": "Permission denied"})
    with strange(
        word="runs/create", only=True, status=403, body=denied.encode(), behind=mlflow_server.port
    ) as server:
        line = refused(copied, prove_mlflow, **server.settings)
    assert "does not allow that (403)" in line


@pytest.mark.parametrize(
    ("root", "words"),
    [
        ("file:///proc/nowhere/artifacts", "keeps artifacts at file:///proc/nowhere/artifacts"),
        ("s3://no-such-bucket/films", "keeps artifacts at s3://no-such-bucket/films"),
    ],
)
def test_artifacts_where_this_machine_cannot_write_are_told_before_the_search(
    copied, tmp_path, root, words
):
    """Kept out: minutes of search, and then a traceback, or "make room on its disk"."""
    with mlflow_started(tmp_path, "--default-artifact-root", root) as server:
        line = refused(copied, prove_mlflow, **server.settings)
        assert words in line
        assert "start it with --artifacts-destination" in line
        client = client_of(copied, **server.settings)
        experiment = client.get_experiment_by_name("atx").experiment_id
        assert client.search_runs([experiment]) == []


def test_a_folder_that_only_this_machine_has_is_not_taken_for_the_servers(copied, tmp_path):
    """Kept out: models written to a path that was the server's, on the wrong machine."""
    folder = tmp_path / "artifacts of the server"
    with (
        mlflow_started(tmp_path, "--default-artifact-root", folder.as_uri()) as server,
        strange(
            word="artifacts/list", only=True, status=200, body=b"{}", behind=server.port
        ) as elsewhere,
    ):
        assert "are deleted" in told(copied, prove_mlflow, **server.settings)
        line = refused(copied, prove_mlflow, **elsewhere.settings)
    assert "does not find there what this machine has written" in line
    assert not list(folder.rglob("*.txt"))


def test_a_cause_is_told_without_the_password_in_its_address() -> None:
    error = OSError("413 Client Error for url: http://user:s3cret@mlflow.home:5050/api/2.0/x")
    assert "s3cret" not in _first_line(error)
    assert "http://mlflow.home:5050/api/2.0/x" in _first_line(error)
