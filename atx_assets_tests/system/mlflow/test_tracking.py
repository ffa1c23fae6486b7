"""What a real MLflow server, over HTTP, is told of each model, and how its aliases move."""

import json
import shutil
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import dagster as dg
import numpy as np
import pandas as pd
import pytest

from atx_assets.commands.promote import promote, roll_back
from atx_assets.models.bundles import Bundles, Place
from atx_assets.models.recipe import recipe_version
from atx_assets.settings import read_settings
from atx_assets.sources.extracted import snapshot_of
from atx_assets.storage.checksums import sums_of

pytestmark = pytest.mark.xdist_group("mlflow server")

NAME = "films to watch"


@dataclass(frozen=True)
class Tracked:
    """A workplace whose model was trained under an MLflow server, and what the server has of it."""

    place: Any
    server: Any
    settings: dict[str, str]
    result: dg.ExecuteInProcessResult
    run: Any

    @property
    def champion(self) -> Any:
        return Bundles(self.place.files).champion()

    def artifact(self, name: str) -> bytes:
        (path,) = self.server.artifacts.glob(f"*/{self.run.info.run_id}/artifacts/{name}")
        return path.read_bytes()


def client_of(server) -> Any:
    import mlflow

    mlflow.set_tracking_uri(server.url)
    return mlflow.MlflowClient()


def runs_of(server, result: dg.ExecuteInProcessResult) -> list[Any]:
    """The MLflow runs that belong to a run of Dagster."""
    client = client_of(server)
    experiment = client.get_experiment_by_name("atx")
    wanted = f"tags.dagster_run_id = '{result.run_id}'"
    return list(client.search_runs([experiment.experiment_id], wanted))


@pytest.fixture(scope="module")
def tracked(finished, mlflow_server, tmp_path_factory) -> Tracked:
    """The finished workplace with the first model of all trained under the server."""
    home = tmp_path_factory.mktemp("tracked") / "home"
    shutil.copytree(finished.home, home)
    shutil.rmtree(home / "data" / "models")
    shutil.rmtree(home / "mlflow")
    place = replace(finished, home=home)
    settings = mlflow_server.settings | {"ATX_MODEL_NAME": NAME}
    result = place.learns(**settings)
    assert result.success
    (run,) = runs_of(mlflow_server, result)
    return Tracked(place, mlflow_server, settings, result, run)


# -- the run of a model


def test_a_model_is_one_run_that_is_finished_and_that_a_person_finds(tracked):
    about = tracked.champion.about
    rows, pr_auc = about["learned_from"]["rows"], about["quality"]["model"]["all"]["pr_auc"]["mean"]
    assert tracked.run.info.status == "FINISHED"
    assert tracked.run.info.run_name == f"{NAME} 1: {rows} labels, PR-AUC {pr_auc:.3f}"
    assert not (tracked.place.home / "mlflow").exists()


def test_the_parameters_are_those_of_the_model_and_of_what_chose_them(tracked):
    about = tracked.champion.about
    expected = {
        **about["hyperparameters"],
        "search": "race",
        "objective": "average_precision",
        "operating_point": "f1",
    }
    assert tracked.run.data.params == {name: str(value) for name, value in expected.items()}


def test_the_metrics_are_the_figures_of_the_bundle(tracked):
    about, metrics = tracked.champion.about, tracked.run.data.metrics
    quality = about["quality"]
    for measure, spread in quality["model"]["all"].items():
        assert metrics[f"{measure}_mean"] == spread["mean"]
        assert metrics[f"{measure}_std"] == spread["std"]
    assert metrics["nested/pr_auc_mean"] == quality["nested"]["pr_auc"]["mean"]
    assert metrics["rule/all/pr_auc_mean"] == quality["rule"]["all"]["pr_auc"]["mean"]
    assert metrics["always_skip/all/pr_auc_mean"] == quality["always_skip"]["all"]["pr_auc"]["mean"]
    assert metrics["calibration/error_mean"] == quality["calibration"]["error"]["mean"]
    assert metrics["threshold"] == about["threshold"]
    assert set(quality["slices"]) > {"all", "human", "rule"}
    for name in ("human", "rule", "newest"):
        assert metrics[f"model/{name}/pr_auc_mean"] == quality["model"][name]["pr_auc"]["mean"]
    assert all(np.isfinite(value) for value in metrics.values())


def test_counts_and_who_gave_the_labels_are_there(tracked):
    metrics = tracked.run.data.metrics
    table = tracked.place.files.read_table("training_table")
    sources = table["label_source"].to_pylist()
    assert metrics["training_rows"] == table.num_rows
    assert metrics["training_keeps"] == sum(table["label"].to_pylist())
    assert metrics["training_rows_human"] == sources.count("human") > 0
    assert metrics["training_rows_rule"] == sources.count("rule") > 0


def test_the_run_says_what_was_learned_from_and_by_which_code(tracked):
    tags = tracked.run.data.tags
    prints = snapshot_of(tracked.place.files.read_table("training_table"))["fingerprints"]
    assert {name: tags[f"atx.{name}"] for name in prints} == prints
    about = tracked.champion.about["learned_from"]
    assert tags["atx.training_table"] == about["training_table_sha256"]
    assert tags["atx.code_version"] == version("atx-assets")
    with tracked.place.environment(**tracked.settings):
        assert tags["atx.recipe"] == recipe_version(read_settings())
    assert tags["atx_version"] == "1"


def test_the_run_says_of_which_table_with_which_columns_it_learned(tracked):
    (found,) = tracked.run.inputs.dataset_inputs
    dataset, table = found.dataset, tracked.place.files.read_table("training_table")
    assert {tag.key: tag.value for tag in found.tags} == {"mlflow.data.context": "training"}
    sha256 = tracked.champion.about["learned_from"]["training_table_sha256"]
    assert (dataset.name, dataset.digest) == ("training_table", sha256[:36])
    columns = json.loads(dataset.schema)["mlflow_colspec"]
    names = tracked.champion.encoding.names
    assert [(c["name"], c["type"]) for c in columns] == [
        *((name, "float") for name in names),
        ("label", "boolean"),
    ]
    assert json.loads(dataset.profile)["num_rows"] == table.num_rows
    assert str(tracked.place.home) not in dataset.source + dataset.schema


def test_each_of_the_two_user_interfaces_leads_to_the_other(tracked):
    tags = tracked.run.data.tags
    assert tags["dagster_run_id"] == tracked.result.run_id
    assert tags["atx.dagster_run"] == f"http://127.0.0.1:3000/runs/{tracked.result.run_id}"
    assert tags["atx.dagster_run"] in tags["mlflow.note.content"]
    (made,) = tracked.result.asset_materializations_for_node("tuned_classifier")
    info = tracked.run.info
    page = made.metadata["MLflow run"].value.partition("?")[0]
    assert page == f"{tracked.server.url}/#/experiments/{info.experiment_id}/runs/{info.run_id}"


def test_why_it_was_promoted_stands_in_both_user_interfaces(tracked):
    reason = "the first model for these films"
    tags = tracked.run.data.tags
    assert tags["atx.promotion"] == reason
    assert f"Version 1 became champion: {reason}" in tags["mlflow.note.content"]
    (made,) = tracked.result.asset_materializations_for_node("tuned_classifier")
    assert made.metadata["because"].value == reason
    for words in ("best rule", "Thresholds", "precision>=0.8"):
        assert words in tags["mlflow.note.content"]


def test_grid_encoding_and_quality_are_its_files(tracked):
    grid = tracked.place.files.read_table("hyperparameters")
    logged = json.loads(tracked.artifact("grid.json"))
    assert logged["columns"] == grid.column_names
    assert len(logged["data"]) == grid.num_rows == 324
    best = logged["columns"].index("chosen")
    assert [row[best] for row in logged["data"]] == grid["chosen"].to_pylist()
    assert tracked.artifact("feature_encoding.json").decode() == tracked.place.files.read_text(
        "feature_encoding"
    )
    assert json.loads(tracked.artifact("quality.json")) == tracked.champion.about["quality"]


def test_the_figures_and_tables_of_the_report_are_its_files(tracked):
    names = ("precision_recall", "roc", "calibration", "probabilities", "importances", "violins")
    for name in (*names, "correlations"):
        assert tracked.artifact(f"figures/{name}.png").startswith(b"\x89PNG")
    quality = tracked.champion.about["quality"]
    for part in quality["slices"]:
        table = json.loads(tracked.artifact(f"tables/measures_{part}.json"))
        assert table["columns"][:1] == ["measure"]
        assert "log loss" in [row[0] for row in table["data"]]
    thresholds = json.loads(tracked.artifact("tables/thresholds.json"))
    assert len(thresholds["data"]) == len(quality["alternatives"])
    assert len(json.loads(tracked.artifact("tables/calibration.json"))["data"]) == 10


# -- the model


def test_nothing_is_pickled(tracked):
    files = [path for path in tracked.server.artifacts.rglob("*") if path.is_file()]
    assert any(path.name == "MLmodel" for path in files)
    assert any(path.suffix == ".ubj" for path in files)
    for path in files:
        assert "pickle" not in path.name
        assert path.suffix not in (".pkl", ".pickle", ".joblib")
        # The first bytes of a pickle of protocol 2 or later.
        assert path.read_bytes()[:2] not in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def test_the_model_loaded_through_pyfunc_says_the_champions_very_probabilities(tracked):
    import mlflow

    client_of(tracked.server)
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    champion = tracked.champion
    table = tracked.place.files.read_table("training_table")
    names = champion.encoding.names
    films = pd.DataFrame({name: table[name].to_numpy().astype(np.float32) for name in names})
    films.iloc[::3, 0] = np.nan
    assert films.isna().to_numpy().any(axis=0).sum() > 1
    expected = champion.model.inplace_predict(films.to_numpy(), missing=np.nan)
    assert np.asarray(loaded.predict(films)).tobytes() == expected.tobytes()
    # By name: another order of the columns is no other film.
    assert np.asarray(loaded.predict(films[names[::-1]])).tobytes() == expected.tobytes()
    assert 0 < expected.min() < expected.max() < 1


def test_the_model_says_what_it_takes_and_gives_and_needs(tracked):
    import mlflow

    client_of(tracked.server)
    info = mlflow.models.get_model_info(f"models:/{NAME}@champion")
    assert info.signature.inputs.input_names() == tracked.champion.encoding.names
    assert {str(kind) for kind in info.signature.inputs.input_types()} == {"DataType.float"}
    assert info.signature.outputs.input_names() == ["probability"]
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    example = loaded.input_example
    assert list(example.columns) == tracked.champion.encoding.names
    assert len(loaded.predict(example)) == len(example) > 0
    needs = mlflow.pyfunc.get_model_dependencies(f"models:/{NAME}@champion")
    with open(needs) as file:  # noqa: PTH123  (MLflow gives a text)
        lines = {line.strip() for line in file} - {""}
    assert {line.partition("==")[0] for line in lines} >= {"numpy", "pandas"}
    assert any(line.startswith("xgboost") for line in lines)
    assert all("==" in line for line in lines)


def test_the_registered_version_names_its_bundle(tracked):
    client = client_of(tracked.server)
    (found,) = client.search_model_versions(f"name='{NAME}'")
    assert found.tags == {"atx_version": "1", "atx_bundle": tracked.champion.digest}
    assert found.run_id == tracked.run.info.run_id
    assert found.status == "READY"
    alone = client.get_registered_model(NAME)
    assert dict(alone.aliases) == {"champion": found.version}


def test_an_equal_model_gets_neither_a_run_nor_a_version(tracked):
    """Kept out: a run a night, of the same bytes, among which nobody finds the model."""
    result = tracked.place.learns(**tracked.settings)
    assert result.success
    assert runs_of(tracked.server, result) == []
    client = client_of(tracked.server)
    assert len(client.search_model_versions(f"name='{NAME}'")) == 1
    # The page leads to the run that made the model, which is as it was.
    (made,) = result.asset_materializations_for_node("tuned_classifier")
    assert tracked.run.info.run_id in made.metadata["MLflow run"].value
    now = client.get_run(tracked.run.info.run_id)
    assert now.info.status == "FINISHED"
    assert now.data.tags == tracked.run.data.tags
    assert now.data.metrics == tracked.run.data.metrics


# -- the aliases


def aliases(server, name: str) -> dict[str, str]:
    """Of which of our versions each alias is."""
    client = client_of(server)
    return {
        alias: client.get_model_version(name, version).tags["atx_version"]
        for alias, version in client.get_registered_model(name).aliases.items()
    }


def test_the_aliases_follow_champion_and_challenger(copied, mlflow_server):
    settings = mlflow_server.settings | {"ATX_MODEL_NAME": "followed"}
    assert copied.learns(**settings).success
    assert aliases(mlflow_server, "followed") == {"champion": "1"}
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_reason = NULL, rejection_status = CASE"
            " WHEN md5(coalesce(imdb_id, hash)) < '33' THEN 'override' ELSE 'rejected'"
            " END::atp.rejection_status WHERE rejection_status <> 'unfiltered'"
        )
    first, second = (copied.learns(**settings) for _ in range(2))
    assert first.success
    assert second.success
    assert aliases(mlflow_server, "followed") == {"champion": "1", "challenger": "2"}
    (run,) = runs_of(mlflow_server, first)
    assert run.data.tags["atx.promotion"].startswith("a guard fails: ")
    assert "Version 2 became challenger: a guard fails: " in run.data.tags["mlflow.note.content"]
    assert runs_of(mlflow_server, second) == []
    found = client_of(mlflow_server).search_model_versions("name='followed'")
    assert len(found) == 2
    with copied.environment(**settings):
        promote(read_settings(), 2, lambda line: None)
        assert aliases(mlflow_server, "followed") == {"champion": "2"}
        roll_back(read_settings(), lambda line: None)
    assert aliases(mlflow_server, "followed")["champion"] == "1"
    assert len(client_of(mlflow_server).search_model_versions("name='followed'")) == 2


def test_a_champion_that_mlflow_does_not_know_has_no_alias_there(copied, mlflow_server):
    """Kept out: an alias that points at another model than the one that scores."""
    settings = mlflow_server.settings | {"ATX_MODEL_NAME": "half known"}
    assert copied.learns(**settings).success
    models = Bundles(copied.files).folder
    shutil.copytree(models / "1", models / "2")
    about = json.loads((models / "2" / "bundle.json").read_text())
    (models / "2" / "bundle.json").write_text(json.dumps(about | {"threshold": 0.4}))
    sums_of(models / "2" / "bundle.json").unlink()  # it was changed by hand
    lines: list[str] = []
    with copied.environment(**settings):
        promote(read_settings(), 2, lines.append)
    assert Bundles(copied.files).place() == Place(2, (1,), declined=(1,))
    assert aliases(mlflow_server, "half known") == {}
    assert any("MLflow has no model of version 2" in line for line in lines)
