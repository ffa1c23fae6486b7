"""MLflow's variables in the caller's environment, as of other work in the same shell."""

from pathlib import Path

import dagster as dg
import pytest

from atx_assets.commands.doctor.settings import check_mlflow_variables
from atx_assets.errors import AtxError
from atx_assets.models.mlflow_server import reach, tracking_uri
from atx_assets.process_environment import settle_process
from atx_assets.settings import read_settings

#: Each made a training fail, or led what it tells MLflow elsewhere.
HARMFUL = {
    "MLFLOW_RUN_ID": "deadbeefdeadbeefdeadbeefdeadbeef",
    "MLFLOW_EXPERIMENT_ID": "77",
    "MLFLOW_EXPERIMENT_NAME": "other work",
    "MLFLOW_REGISTRY_URI": "http://127.0.0.1:1",
    "MLFLOW_TRACKING_URI": "http://127.0.0.1:1",
}


@pytest.mark.slow
def test_a_training_tells_the_mlflow_of_the_settings(copied, tmp_path: Path) -> None:
    """Kept out: "Run with id=… not found", and a registry on another server."""
    from mlflow import MlflowClient

    asset, own = dg.AssetKey("tuned_classifier"), {"ATX_MODEL_NAME": "told"}
    assert copied.run(assets=[asset], **own, **HARMFUL).success
    with copied.environment(**own):
        settings = read_settings()
    client = MlflowClient(tracking_uri(settings), tracking_uri(settings))
    assert client.search_model_versions(f"name='{settings.model_name}'")


def test_what_does_not_count_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HARMFUL.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")
    assert settle_process() == tuple(sorted(HARMFUL))
    assert settle_process() == ()
    line = check_mlflow_variables(tuple(HARMFUL))
    assert all(name in line for name in HARMFUL)
    assert "only MLFLOW_HOST and MLFLOW_PORT" in line
    assert "secret" not in line


def test_a_home_that_mlflow_has_no_address_for_is_one_line(tmp_path: Path) -> None:
    """Kept out: a store beside the home, at what comes before the question mark, in no backup."""
    settings = read_settings(
        {"ATX_HOME": str(tmp_path / "a?b#1 50%"), "ATX_DATA_DIR": str(tmp_path / "d")}
    )
    for ask in (tracking_uri, reach):
        with pytest.raises(AtxError, match=r"question mark ends a path.*set ATX_MLFLOW=off"):
            ask(settings)
    other = read_settings({"ATX_HOME": str(tmp_path / "b#1 50% ä;&'")})
    assert tracking_uri(other).endswith("b#1 50% ä;&'/mlflow/mlflow.db")
