"""The sample library: its layout, what may not be in it, and that there is something to learn."""

from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from xgboost import XGBClassifier

from atx_assets.sample import LIBRARY
from atx_assets.sample.make_library import (
    LABELLED_TITLES,
    TASTE,
    Clause,
    Film,
    read_films,
    write_library,
)
from atx_assets.schemas import MEDIA, Column, arrow_schema

NUMERIC = ("release_year", "metascore", "rt_score")


@cache
def shipped() -> pa.Table:
    return pq.read_table(LIBRARY)


@cache
def titles() -> pd.DataFrame:
    """One row a title, ordered by IMDb id, with its `label`: the strongest over its releases."""
    releases = shipped().to_pandas()
    by_rule = releases["rejection_reason"].notna()
    releases["label"] = releases["rejection_status"].map(
        {"override": "0 human keep", "accepted": "2 rule keep", "unfiltered": "4 unlabelled"}
    )
    rejected = releases["rejection_status"] == "rejected"
    releases.loc[rejected & ~by_rule, "label"] = "1 human skip"
    releases.loc[rejected & by_rule, "label"] = "3 rule skip"
    return releases.sort_values(["imdb_id", "label"]).drop_duplicates("imdb_id")


@cache
def labelled() -> pd.DataFrame:
    found = titles()
    return found[found["label"] != "4 unlabelled"].reset_index(drop=True)


def keeps() -> np.ndarray:
    return labelled()["label"].str.endswith("keep").to_numpy()


def test_it_has_the_columns_of_the_media_layout_in_order():
    assert shipped().schema.equals(arrow_schema(MEDIA))
    assert shipped().num_columns == 31


@pytest.mark.parametrize("column", MEDIA, ids=lambda column: column.name)
def test_every_value_is_one_that_the_layout_allows(column: Column):
    values = shipped()[column.name]
    known = values.drop_null()
    assert column.nullable or values.null_count == 0
    if column.values:
        assert set(known.unique().to_pylist()) <= set(column.values)
    if column.pattern:
        assert pc.all(pc.match_substring_regex(known, column.pattern)).as_py()
    if column.low is not None and len(known):
        assert pc.min(known).as_py() >= column.low
    if column.high is not None and len(known):
        assert pc.max(known).as_py() <= column.high


def test_hashes_are_unique_lower_case_hex_and_in_order():
    hashes = shipped()["hash"].to_pylist()
    assert pc.all(pc.match_substring_regex(shipped()["hash"], "^[0-9a-f]{40}$")).as_py()
    assert hashes == sorted(set(hashes))


@pytest.mark.parametrize("column", ["genre", "language"])
def test_lists_are_null_rather_than_empty_and_name_each_thing_once(column: str):
    for names in shipped()[column].drop_null().to_pylist():
        assert names
        assert all(names)
        assert len(names) == len(set(names))


@pytest.mark.parametrize(
    "column",
    ["imdb_rating", "imdb_votes", "uploader", "original_link", "original_path", "target_path"],
)
def test_what_the_source_does_not_have_is_not_made_up(column: str):
    assert shipped()[column].null_count == shipped().num_rows


def test_a_release_was_never_labelled_before_it_came():
    assert pc.all(pc.less(shipped()["created_at"], shipped()["updated_at"])).as_py()


def test_pipeline_and_error_agree_with_the_verdict():
    seen = shipped().to_pandas()
    steps = {
        status: set(rows["pipeline_status"]) for status, rows in seen.groupby("rejection_status")
    }
    assert steps == {
        "unfiltered": {"metadata_collected"},
        "rejected": {"rejected"},
        "accepted": {"complete", "downloading"},
        "override": {"complete", "downloading"},
    }
    failed = seen["error_status"]
    assert (failed == seen["error_condition"].notna()).all()
    assert (failed == (seen["pipeline_status"] == "downloading")).all()
    reasons = seen.loc[seen["rejection_reason"].notna(), "rejection_status"]
    assert set(reasons) == {"rejected"}


def test_some_titles_have_two_releases_of_different_resolution():
    releases = shipped().to_pandas().groupby("imdb_id")["resolution"].agg(["size", "nunique"])
    assert (releases["size"] == releases["nunique"]).all()
    assert (releases["size"] == 2).mean() == pytest.approx(0.14, abs=0.02)
    assert releases["size"].max() == 2


def test_a_few_thousand_titles_are_labelled_and_fewer_than_a_fifth_kept():
    assert len(titles()) == 17470
    assert len(labelled()) == LABELLED_TITLES == 4000
    assert 0.15 < keeps().mean() < 0.20


def test_people_and_rules_both_gave_verdicts_of_both_kinds():
    counts = labelled()["label"].value_counts()
    assert counts["0 human keep"] > 400
    assert counts["1 human skip"] > 400
    assert counts["2 rule keep"] > 100
    assert counts["3 rule skip"] > 1500


@pytest.mark.slow
def test_making_it_anew_gives_the_same_bytes(tmp_path: Path):
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    write_library(first)
    write_library(second)
    assert first.read_bytes() == second.read_bytes()
    assert pq.read_table(first).equals(shipped())
    # Another release of pyarrow may lay out the same table in other bytes.
    if pq.read_metadata(first).created_by == pq.read_metadata(LIBRARY).created_by:
        assert first.read_bytes() == LIBRARY.read_bytes()


@cache
def labelled_films() -> dict[str, Film]:
    ids = set(labelled()["imdb_id"])
    return {film.imdb_id: film for film in read_films() if film.imdb_id in ids}


@pytest.mark.parametrize("clause", TASTE, ids=lambda clause: clause.words)
def test_each_part_of_the_taste_shows_in_the_verdicts(clause: Clause):
    concerned = labelled()["imdb_id"].map(lambda imdb_id: clause.holds(labelled_films()[imdb_id]))
    assert concerned.sum() >= 25
    kept = keeps()[concerned].mean()
    assert kept > 0.7 if clause.weight > 0 else kept < 0.13


def features() -> pd.DataFrame:
    table = labelled()[list(NUMERIC)].astype("float32")
    for column in ("genre", "language"):
        table = table.join(
            labelled()[column].explode().str.get_dummies().groupby(level=0).max().add_prefix(column)
        )
    return table


def test_a_small_model_beats_ranking_by_the_best_single_feature():
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    model = XGBClassifier(max_depth=3, learning_rate=0.2, n_estimators=50, n_jobs=1, random_state=0)
    probability = cross_val_predict(model, features(), keeps(), cv=folds, method="predict_proba")
    of_model = average_precision_score(keeps(), probability[:, 1])
    of_rankings = [
        average_precision_score(keeps(), (sign * labelled()[name]).fillna(-9999))
        for name in NUMERIC
        for sign in (1, -1)
    ]
    assert 0.75 < of_model < 0.92
    assert 0.30 < max(of_rankings) < 0.55
