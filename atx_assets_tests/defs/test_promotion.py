"""Which model scores, run by run: what promotes one, what keeps one out, and what a person says."""

import json
import shutil
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pytest

from atx_assets.commands.output.summary import summary
from atx_assets.commands.promote import promote, roll_back
from atx_assets.learning import tuning
from atx_assets.models.bundles import Bundles, Place
from atx_assets.settings import read_settings
from atx_assets.storage.checksums import sums_of
from atx_assets_tests.builders.failures import failure

pytestmark = pytest.mark.slow


def run(place, job: str = "refresh", **settings: str) -> dg.ExecuteInProcessResult:
    """Run a job without MLflow, of which `test_tracking.py` tells, and without lists and report."""
    return place.learns(job, ATX_MLFLOW="off", **settings)


def told(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    """What the page of the classifier says."""
    assert result.success
    (made,) = result.asset_materializations_for_node("tuned_classifier")
    return {name: value.value for name, value in made.metadata.items()}


def warned(result: dg.ExecuteInProcessResult, check: str) -> str:
    """What a check said that did not pass, and stops nothing."""
    (found,) = [c for c in result.get_asset_check_evaluations() if c.check_name == check]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    return found.description


def label_at_random(place) -> None:
    """Give every labelled film another verdict that has nothing to do with it."""
    with place.connect() as connection:
        connection.execute(
            "CREATE TABLE verdicts AS SELECT hash, rejection_status, rejection_reason, updated_at"
            " FROM atp.media"
        )
        connection.execute(
            "UPDATE atp.media SET rejection_reason = NULL, rejection_status = CASE"
            " WHEN md5(coalesce(imdb_id, hash)) < '33' THEN 'override' ELSE 'rejected'"
            " END::atp.rejection_status WHERE rejection_status <> 'unfiltered'"
        )


def label_as_before(place) -> None:
    with place.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = v.rejection_status,"
            " rejection_reason = v.rejection_reason, updated_at = v.updated_at"
            " FROM verdicts v WHERE v.hash = media.hash"
        )


def versions_that_score(place) -> set[int]:
    return set(place.files.read_table("scored_results")["model_version"].to_pylist())


def copies(place, count: int) -> None:
    """Fill the folder of models with copies of version 1."""
    models = Bundles(place.files).folder
    for version in range(2, count + 2):
        shutil.copytree(models / "1", models / str(version))


# -- by itself


def test_labels_at_random_make_a_challenger_and_the_champion_goes_on_scoring(copied):
    champion = copied.files.path("tuned_classifier").read_bytes()
    label_at_random(copied)
    said = told(run(copied))
    assert (said["version"], said["place"], said["version that scores"]) == (2, "challenger", 1)
    assert said["because"].startswith("a guard fails: PR-AUC 0.")
    assert "is not above that of the best single-feature rule" in said["because"]
    assert Bundles(copied.files).place() == Place(1, challenger=2)
    assert versions_that_score(copied) == {1}
    assert copied.files.path("tuned_classifier").read_bytes() == champion
    threshold = Bundles(copied.files).champion().threshold
    for asset, kept in (("false_positives", True), ("false_negatives", False)):
        records = copied.files.read_records(asset)
        assert records
        assert {r["probability"] >= threshold for r in records} == {kept}

    with copied.environment():
        lines = "\n".join(summary(read_settings()))
    assert "version 2 is challenger, version 1 scores:" in lines
    assert said["because"] in lines

    before = copied.contents()
    again = told(run(copied))
    assert (again["version"], again["place"]) == (2, "challenger")
    assert copied.contents() == before

    label_as_before(copied)
    back = told(run(copied))
    assert (back["version"], back["place"]) == (1, "champion")
    assert Bundles(copied.files).versions() == [1, 2]
    assert Bundles(copied.files).place() == Place(1)
    assert versions_that_score(copied) == {1}


def test_a_challenger_of_labels_that_are_gone_waits_no_more(copied):
    """The one that was trained last is the champion: nobody has to choose."""
    label_at_random(copied)
    assert told(run(copied))["place"] == "challenger"
    label_as_before(copied)
    assert told(run(copied))["place"] == "champion"
    assert Bundles(copied.files).challenger() is None


def test_challengers_do_not_fill_the_disk(copied):
    """Kept out: a folder that grows by a version a night as long as none is promoted."""
    copies(copied, 11)
    label_at_random(copied)
    assert told(run(copied))["place"] == "challenger"
    assert Bundles(copied.files).versions() == [1, *range(4, 14)]


def test_a_recipe_that_is_worse_on_the_same_labels_stays_out(copied):
    grid = copied.files.read_table("hyperparameters")
    rows = grid.to_pylist()
    for row in rows:
        if row["chosen"]:
            row |= {"max_depth": 1, "n_estimators": 20, "learning_rate": 0.1}
    copied.files.write_table("hyperparameters", pa.Table.from_pylist(rows, grid.schema))
    said = told(run(copied))
    assert (said["version"], said["place"], said["version that scores"]) == (2, "challenger", 1)
    assert said["because"].startswith("worse; PR-AUC -0.")
    assert "against version 1 in the same folds" in said["because"]
    judged = Bundles(copied.files).version(2).judged
    assert judged["promoted"] is False
    assert judged["champion"] == 1
    assert judged["p_worse"] < 0.05
    assert judged["difference"] < 0
    assert versions_that_score(copied) == {1}


def test_the_first_model_is_champion_with_a_warning_when_a_guard_fails(copied):
    label_at_random(copied)
    shutil.rmtree(Bundles(copied.files).folder)
    result = run(copied)
    said = told(result)
    assert (said["version"], said["place"], said["version that scores"]) == (1, "champion", 1)
    assert said["because"] == "the first model for these films"
    assert said["warning"].startswith("a guard fails: PR-AUC 0.")
    assert "is not above that of the best single-feature rule" in warned(
        result, "champion_passes_guards"
    )
    assert versions_that_score(copied) == {1}


def test_a_champion_of_an_earlier_atx_is_replaced_by_training(copied):
    folder = Bundles(copied.files).champion().folder
    about = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(about.replace('"format": 2', '"format": 1'))
    sums_of(folder / "bundle.json").unlink()
    failed = failure(run(copied, "score"))
    assert failed == "version 1 of the model was made by an earlier atx: run full_rebuild"
    said = told(run(copied))
    assert (said["version"], said["place"]) == (2, "champion")
    assert said["because"] == "the first model for these films"


def test_a_champion_that_this_xgboost_reads_otherwise_is_met_by_its_recipe(copied):
    """Kept out: the next version promoted as "the first model" after an update of XGBoost."""
    file = Bundles(copied.files).champion().folder / "bundle.json"
    about = json.loads(file.read_text())
    about["answers"] = {"xgboost": "2.1.4", "sha256": "0" * 64}
    file.write_text(json.dumps(about))
    sums_of(file).unlink()
    assert not Bundles(copied.files).champion().answers_as_then
    said = told(run(copied))
    assert said["version"] == 2
    assert said["because"] == "not worse; the recipe is that of version 1"


def test_a_search_of_an_earlier_atx_says_to_run_full_rebuild(copied):
    grid = copied.files.read_table("hyperparameters")
    copied.files.write_table("hyperparameters", grid.replace_schema_metadata(None))
    failed = failure(run(copied))
    assert failed.endswith(
        "grid_search_results.parquet was made by an earlier atx: run full_rebuild"
    )


# -- by hand


def test_what_a_person_rolled_back_is_not_put_back_by_training(copied):
    shutil.rmtree(copied.home / "mlflow")
    copied.label_some()
    said = told(run(copied))
    assert (said["version"], said["place"]) == (2, "champion")
    assert said["because"].startswith("the labels changed and all guards pass; the recipe ")
    lines: list[str] = []
    with copied.environment(ATX_MLFLOW="off"):
        roll_back(read_settings(), lines.append)
    assert "version 1 is champion (PR-AUC 0." in lines[0]
    assert "training does not put version 2 back by itself" in lines[0]
    said = told(run(copied))
    assert (said["version"], said["place"], said["version that scores"]) == (2, "challenger", 1)
    assert said["because"].startswith("a person put version 1 in its place; ")
    assert Bundles(copied.files).place() == Place(1, (), declined=(2,), challenger=2)
    assert versions_that_score(copied) == {1}
    with copied.environment(ATX_MLFLOW="off"):
        promote(read_settings(), 2, lines.append)
    assert told(run(copied))["place"] == "champion"
    assert Bundles(copied.files).place().version == 2
    assert not (copied.home / "mlflow").exists()


def test_what_was_rolled_back_before_the_last_is_not_put_back_either(copied):
    """Kept out: two rollbacks, and a nightly run that undoes both."""
    copies(copied, 1)
    pointer = Bundles(copied.files).folder / "champion.json"
    pointer.write_text('{"version": 2, "before": [1]}')
    sums_of(pointer).unlink()
    copied.label_some()
    assert told(run(copied))["version"] == Bundles(copied.files).place().version == 3
    with copied.environment(ATX_MLFLOW="off"):
        roll_back(read_settings(), lambda line: None)
        roll_back(read_settings(), lambda line: None)
    assert Bundles(copied.files).place().version == 1
    said = told(run(copied))
    assert (said["version"], said["place"]) == (3, "challenger")
    assert Bundles(copied.files).place().version == 1


def change_ratings(place) -> None:
    """As a metadata service does every night."""
    with place.connect() as connection:
        connection.execute("UPDATE atp.media SET rt_score = (rt_score + 7) % 101 WHERE hash < '08'")


def label_one_more(place) -> None:
    with place.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL WHERE"
            " imdb_id = (SELECT min(imdb_id) FROM atp.media WHERE rejection_status = 'unfiltered')"
        )


def test_a_rollback_holds_until_there_are_newer_labels(copied):
    """Kept out: another rating, other bytes, and the model that was taken down is back."""
    copied.label_some()
    assert told(run(copied))["version that scores"] == 2
    with copied.environment(ATX_MLFLOW="off"):
        roll_back(read_settings(), lambda line: None)
    for version in (3, 4):
        change_ratings(copied)
        said = told(run(copied))
        assert (said["version"], said["place"]) == (version, "challenger")
        assert said["because"].startswith("a person put version 1 in its place; no label is newer;")
    assert Bundles(copied.files).place() == Place(1, (), declined=(2,), challenger=4)

    label_one_more(copied)
    said = told(run(copied))
    assert (said["version"], said["place"]) == (5, "champion")
    assert Bundles(copied.files).place() == Place(5, (1,))


def test_a_rollback_is_lifted_by_whoever_promotes_the_version_that_it_kept_out(copied):
    copied.label_some()
    run(copied)
    with copied.environment(ATX_MLFLOW="off"):
        roll_back(read_settings(), lambda line: None)
        change_ratings(copied)
        assert told(run(copied))["place"] == "challenger"
        lines: list[str] = []
        promote(read_settings(), 3, lines.append)
    assert lines[0].endswith("training does not put version 1 back by itself")
    change_ratings(copied)
    said = told(run(copied))
    assert (said["version"], said["place"]) == (4, "champion"), said["because"]


# -- where verdicts are taken


def test_another_operating_point_moves_threshold_verdicts_and_lists(copied):
    before = copied.files.read_table("scored_results")
    said = told(copied.run("refresh", ATX_MLFLOW="off", ATX_OPERATING_POINT="precision>=0.9"))
    assert said["operating point"] == "precision>=0.9 (ATX_OPERATING_POINT)"
    champion = Bundles(copied.files).champion()
    assert champion.about["operating_point"] == "precision>=0.9"
    assert said["threshold"] == round(champion.threshold, 4)
    assert champion.threshold > Bundles(copied.files).version(1).threshold
    in_use = [a for a in champion.about["quality"]["alternatives"] if a["in_use"]]
    assert [a["operating_point"] for a in in_use] == ["precision>=0.9"]
    assert in_use[0]["threshold"] == champion.threshold

    results = copied.files.read_table("scored_results")
    assert results["probability"].equals(before["probability"])
    kept = results["probability"].to_numpy() >= champion.threshold
    assert np.array_equal(results["predicted"], kept)
    assert 0 < kept.sum() < np.sum(before["predicted"].to_numpy())
    labelled = results.filter(results["actual"].is_valid())
    right = labelled.filter(labelled["predicted"])["actual"].to_numpy()
    assert right.mean() >= 0.9
    # The very titles that the threshold was chosen on are those that it keeps.
    assert len(right) == in_use[0]["predicted_keep"]
    assert len(copied.files.read_records("false_positives")) == (~right).sum()


def test_an_operating_point_out_of_reach_is_one_line_and_leaves_the_champion(copied):
    label_at_random(copied)
    models = Bundles(copied.files).folder

    def kept() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in models.rglob("*") if p.is_file()}

    before, scored = kept(), copied.files.path("scored_results").read_bytes()
    failed = failure(run(copied, ATX_OPERATING_POINT="precision>=0.9"))
    assert failed.startswith("ATX_OPERATING_POINT=precision>=0.9 is out of reach")
    assert "The last model stays in place" in failed
    assert "\n" not in failed
    assert kept() == before
    assert copied.files.path("scored_results").read_bytes() == scored


# -- the search


def test_without_a_search_there_is_one_row_and_plain_hyperparameters(copied):
    result = run(copied, "full_rebuild", ATX_SEARCH="off")
    assert result.success
    (row,) = copied.files.read_table("hyperparameters").to_pylist()
    assert {name: row[name] for name in tuning.PLAIN} == tuning.PLAIN
    assert (row["chosen"], row["near_best"], row["rank"], row["folds"]) == (True, True, 1, 5)
    last = Bundles(copied.files).versions()[-1]
    assert Bundles(copied.files).version(last).about["hyperparameters"] == tuning.PLAIN
    (made,) = result.asset_materializations_for_node("hyperparameters")
    assert made.metadata["search"].value.startswith("off: plain hyperparameters")


def test_a_full_search_scores_every_combination_in_every_fold(copied, monkeypatch):
    small = {name: values[:2] for name, values in tuning.GRID.items()}
    monkeypatch.setattr(tuning, "GRID", small)
    result = run(copied, "full_rebuild", ATX_SEARCH="full", ATX_OBJECTIVE="roc_auc")
    assert result.success
    table = copied.files.read_table("hyperparameters")
    assert table.num_rows == np.prod([len(values) for values in small.values()])
    assert set(table["folds"].to_pylist()) == {5}
    assert table["rank"].null_count == 0
    folds = np.stack([table[f"fold{n}_roc_auc"].to_numpy() for n in range(5)])
    means = table["mean_roc_auc"].to_numpy()
    assert np.allclose(folds.mean(axis=0), means, rtol=0, atol=1e-12)
    ranks = [1 + (means > mean).sum() for mean in means]
    assert table["rank"].to_pylist() == ranks
    (chosen,) = table.filter(table["chosen"]).to_pylist()
    best = max(table.to_pylist(), key=lambda row: row["mean_roc_auc"])
    error = best["std_roc_auc"] / np.sqrt(5)
    near = table["near_best"].to_numpy()
    assert np.array_equal(near, means >= best["mean_roc_auc"] - error - 1e-12)
    simplest = min(
        (r["n_estimators"], r["max_depth"]) for r in table.filter(table["near_best"]).to_pylist()
    )
    assert (chosen["n_estimators"], chosen["max_depth"]) == simplest
    (made,) = result.asset_materializations_for_node("hyperparameters")
    assert made.metadata["optimised"].value.startswith("roc_auc, mean over five folds")


# -- a feature that gives the verdict away


def test_a_planted_leak_is_told_and_stops_nothing(copied):
    table = copied.files.read_table("training_table")
    keeps = table.filter(table["label"])["key"].to_pylist()
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rt_score = CASE WHEN imdb_id = ANY(%s) THEN 95 ELSE 5 END",
            (keeps,),
        )
    result = run(copied)
    assert result.success
    described = warned(result, "no_feature_tells_the_label")
    assert "rt_score_norm (ROC-AUC 1.000)" in described
    assert "a feature that predicts the label by itself may be derived from it" in described
