"""The whole graph on real PostgreSQL, real MLflow and a real Dagster instance."""

import json
import shutil
from collections import Counter

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import xgboost as xgb

from atx_assets import schemas
from atx_assets.defs.checks import CHECKS
from atx_assets.errors import AtxError
from atx_assets.learning.identity import as_learned, names_and_years
from atx_assets.models.bundles import Bundles
from atx_assets.models.scoring import score_titles
from atx_assets.report.scored_films import read_scored
from atx_assets.sources.extracted import read_titles, snapshot_of
from atx_assets.sources.read.extract import extract
from atx_assets.storage.checksums import sums_of
from atx_assets.storage.data_folder import FILES
from atx_assets_tests.builders.failures import failure

pytestmark = pytest.mark.slow

SCORES = dg.AssetKey("scored_results")


def test_every_asset_leaves_its_file(finished):
    for name in FILES.values():
        assert (finished.home / "data" / name).stat().st_size > 0


def test_tables_have_the_columns_of_their_schema(finished):
    for asset, columns in (
        ("scored_results", schemas.SCORED_RESULTS),
        ("hyperparameters", schemas.GRID_SEARCH_RESULTS),
    ):
        schema = finished.files.read_table(asset).schema
        assert schema.remove_metadata() == schemas.arrow_schema(columns)
    training = finished.files.read_table("training_table")
    fixed = [c.name for c in schemas.TRAINING_TABLE]
    assert training.column_names[: len(fixed)] == fixed


def test_the_whole_grid_was_searched(finished):
    table = finished.files.read_table("hyperparameters")
    assert table.num_rows == 324
    # The race drops what falls behind: only what was scored in every fold has a rank.
    assert set(table["folds"].to_pylist()) <= {1, 2, 3, 4, 5}
    ended = table.filter(pc.equal(table["folds"], 5))
    assert 0 < ended.num_rows < 324
    assert table["rank"].is_valid().to_pylist() == pc.equal(table["folds"], 5).to_pylist()
    best = table.filter(pc.equal(table["rank"], 1))
    assert best["mean_average_precision"][0] == pc.max(ended["mean_average_precision"])
    for row in table.to_pylist():
        scores = [row[f"fold{fold}_average_precision"] for fold in range(5)]
        assert sum(score is not None for score in scores) == row["folds"]
    (chosen,) = table.filter(table["chosen"]).to_pylist()
    assert chosen["near_best"]
    assert chosen["folds"] == 5
    champion = Bundles(finished.files).champion()
    assert champion.about["hyperparameters"] == {n: chosen[n] for n in schemas.GRID_KEYS}


def test_the_threshold_is_the_score_of_a_title_out_of_fold(finished):
    """Kept out: a threshold chosen on the labels that a model learned from."""
    champion = Bundles(finished.files).champion()
    results = finished.files.read_table("scored_results")
    labelled = results.filter(results["actual"].is_valid())
    assert champion.threshold in labelled["probability"].to_pylist()
    (used,) = [a for a in champion.about["quality"]["alternatives"] if a["in_use"]]
    assert used["threshold"] == champion.threshold
    counts = Counter(labelled["cm_value"].to_pylist())
    assert used["predicted_keep"] == counts["tp"] + counts["fp"]
    # What it gives is told by thresholds that did not see the fold, and less than it seems here.
    assert used["recall"] == pytest.approx(counts["tp"] / (counts["tp"] + counts["fn"]), abs=0.1)


def test_a_labelled_film_is_scored_by_models_that_did_not_see_it(finished):
    """Kept out: probabilities of labelled titles taken from the model that learned from them."""
    results = finished.files.read_table("scored_results")
    bundle = Bundles(finished.files).champion()
    learned = bundle.learned_from
    training = finished.files.read_table("training_table")
    names = bundle.encoding.names
    matrix = np.stack([training[n].to_numpy().astype(np.float32) for n in names], axis=1)
    for row in (0, 100, training.num_rows - 1):
        answers = [
            bundle.fold_model(seed, learned[f"seed{seed}"][row].as_py()).inplace_predict(
                matrix[row : row + 1], missing=np.nan
            )[0]
            for seed in range(5)
        ]
        at = results["key"].to_pylist().index(training["key"][row].as_py())
        assert results["probability"][at].as_py() == pytest.approx(
            sum(map(float, answers)) / 5, abs=1e-12
        )
        assert results["probability_in_sample"][at].as_py() != results["probability"][at].as_py()


def test_the_stored_model_is_the_champions(finished):
    bundle = Bundles(finished.files).champion()
    stored = finished.files.path("tuned_classifier")
    assert stored.read_bytes() == (bundle.folder / "model.ubj").read_bytes()
    assert xgb.Booster(model_file=str(stored)).num_features() == len(bundle.encoding.names)


def test_lists_agree_with_the_confusion_matrix_and_start_with_the_surest(finished):
    results = finished.files.read_table("scored_results")
    counts = Counter(results["cm_value"].to_pylist())
    for asset, kind, sign in (("false_positives", "fp", -1), ("false_negatives", "fn", 1)):
        records = finished.files.read_records(asset)
        assert len(records) == counts[kind] > 0
        probabilities = [sign * r["probability"] for r in records]
        assert probabilities == sorted(probabilities)
        assert all(len(r["why"]) > 0 for r in records)
        for field in [
            "media_title",
            "predicted",
            "actual",
            "cm_value",
            "probability",
            "release_year",
            "rt_score",
            "metascore",
            "imdb_rating",
            "imdb_votes",
            "original_title",
            "hash",
            "imdb_id",
        ]:
            assert field in records[0]


def test_a_second_run_over_the_same_rows_changes_no_byte(copied):
    before = copied.contents()
    assert copied.run("full_rebuild").success
    assert copied.contents() == before


def test_scoring_alone_trains_nothing_and_scores_a_new_film(copied):
    models = (copied.home / "data" / "models" / "champion.json").read_bytes()
    films = copied.files.read_table("scored_results").num_rows
    with copied.connect() as connection:
        connection.execute(
            "INSERT INTO atp.media (hash, media_type, media_title, release_year, rejection_status,"
            " original_title, imdb_id) VALUES (%s, 'movie', '<b>New | film</b>', 2013,"
            " 'unfiltered', 'New film', 'tt9999999')",
            ("f" * 40,),
        )
    assert copied.learns("score").success
    results = copied.files.read_table("scored_results")
    assert results.num_rows == films + 1
    new = results.filter(pc.equal(results["key"], "tt9999999")).to_pylist()[0]
    assert (new["actual"], new["label_source"], new["cm_value"]) == (None, None, None)
    assert (copied.home / "data" / "models" / "champion.json").read_bytes() == models


def test_a_film_labelled_since_training_is_asked_of_the_champion(copied):
    results = copied.files.read_table("scored_results")
    unlabelled = results.filter(results["label_source"].is_null()).to_pylist()[0]
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override' WHERE imdb_id = %s",
            (unlabelled["imdb_id"],),
        )
    assert copied.learns("score").success
    results = copied.files.read_table("scored_results")
    now = results.filter(pc.equal(results["key"], unlabelled["key"])).to_pylist()[0]
    assert now["actual"] is True
    assert now["probability"] == now["probability_in_sample"] == unlabelled["probability"]


def test_an_unchanged_model_is_not_registered_again(copied):
    import mlflow

    assert copied.learns("refresh", ATX_MLFLOW="on").success
    mlflow.set_tracking_uri(f"sqlite:///{copied.home / 'mlflow' / 'mlflow.db'}")
    assert len(mlflow.MlflowClient().search_model_versions("name='atx'")) == 1


def test_refresh_trains_on_changed_labels_with_the_hyperparameters_found_last(copied):
    grid = copied.files.path("hyperparameters").read_bytes()
    before = Bundles(copied.files).champion()
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL "
            "WHERE imdb_id IN (SELECT imdb_id FROM atp.media "
            "WHERE rejection_status = 'rejected' ORDER BY hash LIMIT 30)"
        )
    result = copied.run("refresh")
    assert result.success
    (made,) = result.asset_materializations_for_node("tuned_classifier")
    assert made.metadata["place"].value == "champion"
    assert made.metadata["because"].value.startswith(
        "the labels changed and all guards pass; the recipe is that of version 1"
    )
    after = Bundles(copied.files).champion()
    assert after.version == before.version + 1
    assert after.about["hyperparameters"] == before.about["hyperparameters"]
    assert copied.files.path("hyperparameters").read_bytes() == grid
    started = [e.step_key for e in result.all_events if e.is_step_start]
    assert "hyperparameters" not in started
    # What people read does not wait for checks that stop nothing.
    waits = {f"{c.check_key.asset_key.path[0]}_{c.check_key.name}" for c in CHECKS} - {
        f"{spec.asset_key.path[0]}_{spec.name}"
        for c in CHECKS
        for spec in c.check_specs
        if spec.blocking
    }
    assert len(waits) == 6
    assert set(started[-6:]) == waits
    assert started[-7] == "analysis_report"
    snapshots = {
        snapshot_of(copied.files.read_table(name))["fingerprints"]["labels"]
        for name in ("raw_media", "training_table", "scored_results")
    }
    assert len(snapshots) == 1


def test_titles_from_strangers_stay_text_in_the_report(copied):
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET media_title = '<script>alert(1)</script>{{ 7*7 }}|'"
        )
    assert copied.run("score").success
    page = copied.files.read_text("analysis_report")
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;{{ 7*7 }}|" in page


def test_scoring_before_training_says_what_to_run(copied):
    shutil.rmtree(copied.home / "data" / "models")
    result = copied.run("score")
    assert not result.success
    assert "no model has been trained yet: run full_rebuild" in failure(result)


def test_a_damaged_model_is_not_used(copied):
    """Kept out: a model file with a flipped byte that scores wrongly and says nothing."""
    model = Bundles(copied.files).champion().folder / "model.ubj"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    result = copied.run("score")
    assert not result.success
    assert "is not the file that was saved" in failure(result)


def test_a_database_in_the_other_layout_is_not_scored_by_the_old_model(copied, shared_data):
    with copied.connect() as connection:
        from atx_assets.sources.load.load import load_file

        connection.execute("DROP SCHEMA atp CASCADE")
        connection.commit()
        load_file(connection, shared_data / "training.parquet")
    result = copied.run("score")
    assert not result.success
    assert "learned from the media layout" in failure(result)
    assert "run full_rebuild" in failure(result)


def test_scores_made_part_by_part_are_those_of_the_whole(copied, monkeypatch):
    before = copied.files.read_table("scored_results")
    (page,) = copied.run(assets=[SCORES]).asset_materializations_for_node("scored_results")
    monkeypatch.setattr("atx_assets.storage.data_folder.ROWS_A_GROUP", 97)
    result = copied.run(assets=[dg.AssetKey("titles"), dg.AssetKey("quarantine"), SCORES])
    assert pq.ParquetFile(copied.files.path("scored_results")).num_row_groups > 5
    assert copied.files.read_table("scored_results").equals(before)
    (again,) = result.asset_materializations_for_node("scored_results")
    shown = [n for n in page.metadata if n not in ("seconds", "dagster/column_lineage")]
    assert [again.metadata[n] for n in shown] == [page.metadata[n] for n in shown]


def test_files_say_which_state_of_the_database_they_are_from(finished):
    raw = pq.read_schema(finished.files.path("raw_media")).metadata
    prints = json.loads(raw[b"atx"])["fingerprints"]
    assert set(prints) == {"labels", "human_labels", "media"}
    results = finished.files.read_table("scored_results")
    assert snapshot_of(results)["fingerprints"] == prints


def test_mlflow_has_one_finished_run_with_a_model_that_loads(finished):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{finished.home / 'mlflow' / 'mlflow.db'}")
    experiment = mlflow.get_experiment_by_name("atx")
    runs = mlflow.search_runs([experiment.experiment_id], output_format="list")
    assert [run.info.status for run in runs] == ["FINISHED"]
    quality = Bundles(finished.files).champion().about["quality"]
    assert runs[0].data.metrics["pr_auc_mean"] == quality["model"]["all"]["pr_auc"]["mean"]
    models = mlflow.search_logged_models([experiment.experiment_id], output_format="list")
    registered = mlflow.MlflowClient().get_model_version_by_alias("atx", "champion")
    digest = Bundles(finished.files).champion().digest
    assert registered.tags == {"atx_version": "1", "atx_bundle": digest}
    loaded = mlflow.xgboost.load_model(models[0].model_uri)
    champion = Bundles(finished.files).champion().model
    assert loaded.save_raw("ubj") == champion.save_raw("ubj")


def test_a_connection_that_is_lost_after_the_last_row_leaves_the_old_file(copied, monkeypatch):
    """Kept out: a new file, and a run that ends with "Nothing was changed"."""

    def extract_and_lose(connection, *others):
        rows = extract(connection, *others)
        with copied.connect() as owner:
            owner.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
        return rows

    copied.label_some()
    before = copied.contents()
    with monkeypatch.context() as patch:
        patch.setattr("atx_assets.sources.read.extract.extract", extract_and_lose)
        result = copied.run(assets=[dg.AssetKey("raw_media")])
    assert "Nothing was changed; run it again" in failure(result)
    assert copied.contents() == before


def refused(copied, assets: str, words: str) -> None:
    """A run of these assets fails with one line, and leaves every file as it was."""
    before = copied.contents()
    result = copied.run(assets=[dg.AssetKey(name) for name in assets.split()])
    assert not result.success
    assert failure(result) == f"{words}: run `atx run --job refresh`"
    assert copied.contents() == before


def test_parts_of_two_chains_are_never_joined(copied):
    """Kept out: a model stored, promoted and scoring with an encoding it was not trained on."""
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET release_year = 1890 WHERE imdb_id = (SELECT min(imdb_id)"
            " FROM atp.media WHERE rejection_status = 'rejected')"
        )
    keys = [dg.AssetKey(n) for n in ("raw_media", "quarantine", "titles", "feature_encoding")]
    champion = Bundles(copied.files).champion()
    assert copied.run(assets=keys).success
    table = "binomial_classifier_training_data.parquet was made from another feature_encoding than"
    for asset in ("hyperparameters", "tuned_classifier"):
        refused(copied, asset, f"{table} the current feature_encoding.json")
    results = "binomial_classifier_results.parquet was made from another titles than"
    for asset in ("false_positives", "false_negatives", "review_queue", "analysis_report"):
        refused(copied, asset, f"{results} the current titles.parquet")
    assert Bundles(copied.files).champion() == champion
    # Scores need the champion's own encoding alone, and what they name makes all of one chain.
    assert copied.run("score").success
    assert copied.run("refresh").success


def test_an_encoding_of_other_titles_makes_no_training_table(copied):
    titles = copied.files.read_table("titles")
    copied.files.write_table("titles", titles.slice(1), copied.files.made_from("titles"))
    words = "feature_encoding.json was made from another titles than the current titles.parquet"
    refused(copied, "training_table", words)
    copied.files.write_text("feature_encoding", copied.files.read_text("feature_encoding"))
    words = "feature_encoding.json does not say which titles it was made from: an earlier atx made"
    with pytest.raises(AtxError, match=words):
        copied.files.require("feature_encoding", "titles")


def test_lists_refuse_scores_of_another_model_of_that_number(copied):
    """Kept out: the threshold of a model beside the probabilities of another."""
    champion = Bundles(copied.files).champion()
    about = json.loads((champion.folder / "bundle.json").read_text())
    about["threshold"] /= 2
    sums_of(champion.folder / "bundle.json").unlink()
    (champion.folder / "bundle.json").write_text(json.dumps(about))
    with pytest.raises(
        AtxError, match="made by another version 1 of the model than the current one"
    ):
        read_scored(copied.files)


# -- which title is which


def scored_by_key(copied) -> dict[str, dict]:
    return {row["key"]: row for row in copied.files.read_table("scored_results").to_pylist()}


def test_a_film_whose_id_was_corrected_is_still_asked_of_models_blind_to_its_label(copied):
    """Kept out: "not found under this key" taken for "not learned from"."""
    before = scored_by_key(copied)
    film = next(row for row in before.values() if row["cm_value"] == "fn" and row["imdb_id"])
    new = "tt9" + film["imdb_id"][3:]
    assert film["probability"] != film["probability_in_sample"]
    with copied.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET imdb_id = %s WHERE imdb_id = %s", (new, film["imdb_id"])
        )
    assert copied.learns("score").success
    now = scored_by_key(copied)
    assert now[new] == {**film, "key": new, "imdb_id": new}


def test_a_film_that_may_have_been_learned_from_is_in_no_figure(copied):
    """Two films learned from are like it in all that stays, so nobody can say which it is."""
    champion = Bundles(copied.files).champion()
    titles = read_titles(copied.files)
    film = titles.filter(titles["trains"]).slice(0, 1)
    gone = champion.learned_from.slice(0, 2)
    named = pa.array([names_and_years(film)[0].as_py()] * 2)
    gone = gone.set_column(gone.column_names.index("key"), "key", pa.array(["gone", "gone too"]))
    gone = gone.set_column(gone.column_names.index("named"), "named", named)
    gone = gone.set_column(gone.column_names.index("hash"), "hash", pa.nulls(2, pa.string()))
    known = as_learned(film, gone)
    assert known["learned_key"].to_pylist() == [None]
    assert known["identity_uncertain"].to_pylist() == [True]
    (row,) = score_titles(known, champion).to_pylist()
    assert (row["actual"], row["cm_value"]) == (None, None)
    # One of them alone is it: by whatever stays.
    assert as_learned(film, gone.slice(0, 1))["learned_key"].to_pylist() == ["gone"]
