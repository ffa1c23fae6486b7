"""The search against scikit-learn's: the same scores, the same winner."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, ParameterGrid
from xgboost import XGBClassifier

from atx_assets.learning import tuning
from atx_assets.learning.evaluation import FOLDS, assign_folds
from atx_assets.learning.models import fit, predict
from atx_assets.learning.tuning import GRID, grid_search
from atx_assets.schemas import FOLD_SCORES

SMALL = {
    "max_depth": (2, 4),
    "learning_rate": (0.3,),
    "n_estimators": (5, 20),
    "subsample": (0.8, 1.0),
    "colsample_bytree": (0.8,),
    "gamma": (0, 0.2),
}
REAL = {
    "max_depth": (5,),
    "learning_rate": (0.2,),
    "n_estimators": (20, 50),
    "subsample": (0.8,),
    "colsample_bytree": (0.8, 1.0),
    "gamma": (0.1,),
}


def folds_of(labels: np.ndarray, seed: int = 0) -> list[np.ndarray]:
    fold = assign_folds(labels, seed)
    return [np.flatnonzero(fold == number) for number in range(FOLDS)]


def search(library, grid, **changed):
    given = {"flags_from": len(library.encoding.numeric)} | changed
    return grid_search(library.matrix, library.labels, folds_of(library.labels), grid, **given)


def scikit_learns(library, grid) -> GridSearchCV:
    everything = np.arange(len(library.labels))
    named = {score: score for score in FOLD_SCORES} | {"log_loss": "neg_log_loss"}
    peer = GridSearchCV(
        XGBClassifier(objective="binary:logistic", tree_method="hist", random_state=0, n_jobs=1),
        {key: list(values) for key, values in grid.items()},
        scoring=named,
        refit="average_precision",
        cv=[(np.setdiff1d(everything, held), held) for held in folds_of(library.labels)],
        error_score="raise",
    )
    return peer.fit(library.matrix, library.labels)


def assert_the_same(ours, peers: GridSearchCV) -> None:
    assert [dict(c) for c in ours.combinations] == peers.cv_results_["params"]
    for number, name in enumerate(FOLD_SCORES):
        sign = -1 if name == "log_loss" else 1
        for fold in range(FOLDS):
            theirs = sign * peers.cv_results_[f"split{fold}_test_{name}"]
            np.testing.assert_allclose(ours.scores[:, fold, number], theirs, rtol=0, atol=1e-12)
    assert ours.best == peers.best_index_


def test_scores_and_winner_are_those_of_scikit_learn(made_up):
    assert_the_same(search(made_up, SMALL), scikit_learns(made_up, SMALL))


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["media", "training"])
def test_on_a_real_library_scores_and_winner_are_those_of_scikit_learn(real, layout):
    library = real(layout)
    assert_the_same(search(library, REAL), scikit_learns(library, REAL))


def test_the_grid_is_the_originals():
    assert len(ParameterGrid({k: list(v) for k, v in GRID.items()})) == 324


@pytest.mark.parametrize("given", [(5, 10, 20), (20, 5, 10)])
def test_a_model_of_fewer_trees_is_the_beginning_of_the_larger_one(made_up, given):
    together = search(made_up, SMALL | {"n_estimators": given})
    for trees in given:
        alone = search(made_up, SMALL | {"n_estimators": (trees,)})
        mine = [c["n_estimators"] == trees for c in together.combinations]
        assert np.array_equal(together.scores[mine], alone.scores)
    assert len({together.scores[at].tobytes() for at in range(3)}) == 3


def test_each_score_is_that_of_a_model_that_did_not_see_the_fold(made_up):
    result = search(made_up, SMALL)
    held_out = folds_of(made_up.labels)[3]
    seen = np.setdiff1d(np.arange(len(made_up.labels)), held_out)
    for at in (0, 7, 15):
        model = fit(made_up.matrix[seen], made_up.labels[seen], result.combinations[at])
        answer = predict(model, made_up.matrix[held_out])
        expected = average_precision_score(made_up.labels[held_out], answer)
        assert result.scores[at, 3, 0] == pytest.approx(expected, abs=1e-12)


def test_leaving_out_the_zeros_of_flags_changes_no_score(made_up, monkeypatch):
    sparse = search(made_up, SMALL)
    monkeypatch.setattr(tuning, "_without_zero_flags", lambda matrix, flags_from: matrix)
    dense = search(made_up, SMALL)
    assert np.array_equal(sparse.scores, dense.scores)


def test_the_zeros_of_numbers_are_not_left_out(made_up):
    # A Metascore at the lowest of the range is 0.0, and that is not unknown.
    flags_from = len(made_up.encoding.numeric)
    compact = tuning._without_zero_flags(made_up.matrix, flags_from)
    numbers = made_up.matrix[:, :flags_from]
    assert (numbers == 0).sum() > 0
    assert compact[:, :flags_from].nnz == np.count_nonzero(~np.isnan(numbers))
    assert compact[:, flags_from:].nnz == np.count_nonzero(made_up.matrix[:, flags_from:])


def test_the_winner_is_the_first_of_equals(made_up):
    twice = search(made_up, SMALL | {"gamma": (0.2, 0.2), "colsample_bytree": (0.8, 0.8)})
    means = twice.scores[:, :, FOLD_SCORES.index("average_precision")].mean(axis=1)
    equals = np.flatnonzero(means == means.max())
    assert len(equals) >= 4
    assert twice.best == equals[0]


def test_where_nothing_can_be_learned_the_first_combination_wins(made_up):
    blank = replace(made_up, matrix=np.zeros_like(made_up.matrix))
    assert search(blank, SMALL).best == 0


def test_progress_reaches_the_number_of_fits(made_up):
    said = []
    search(made_up, SMALL, on_progress=lambda done, total: said.append((done, total)))
    # Eight models of 20 trees answer for those of 5, in each of five folds.
    assert sorted(said) == [(n, 40) for n in range(1, 41)]


def test_a_failure_in_a_thread_is_raised(made_up):
    with pytest.raises(Exception, match="subsample"):
        search(made_up, SMALL | {"subsample": (7.0,)})


def test_two_searches_give_the_same_bytes(made_up):
    assert search(made_up, SMALL).scores.tobytes() == search(made_up, SMALL).scores.tobytes()
