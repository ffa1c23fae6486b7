"""The search against scikit-learn's, and the race against the search."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import GridSearchCV, ParameterGrid
from xgboost import XGBClassifier

from atx_assets.learning import tuning
from atx_assets.learning.evaluation import fold_rows
from atx_assets.learning.models import fit, predict
from atx_assets.learning.search_result import SearchResult
from atx_assets.learning.tuning import (
    FEWEST,
    GRID,
    RUNGS,
    Part,
    grid_search,
    race,
    share_out,
)
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


#: Sixteen groups of three: the race leaves four of them after a fold, and three after two.
RACED = {
    "max_depth": (1, 3),
    "learning_rate": (0.1, 0.4),
    "n_estimators": (2, 5, 9),
    "subsample": (0.7, 1.0),
    "colsample_bytree": (0.8,),
    "gamma": (0, 0.3),
}


def search(library, grid, how=grid_search, **changed) -> SearchResult:
    given: dict[str, Any] = {"flags_from": len(library.encoding.numeric)}
    given |= {"folds": fold_rows(library.labels)} | changed
    return how(library.matrix, library.labels, given.pop("folds"), grid, **given)


def scikit_learns(library, grid, n_jobs=1, folds=None) -> GridSearchCV:
    everything = np.arange(len(library.labels))
    folds = folds or fold_rows(library.labels)
    named = {score: score for score in FOLD_SCORES} | {"log_loss": "neg_log_loss"}
    peer = GridSearchCV(
        XGBClassifier(objective="binary:logistic", tree_method="hist", random_state=0, n_jobs=1),
        {key: list(values) for key, values in grid.items()},
        scoring=named,
        refit="average_precision",
        cv=[(np.setdiff1d(everything, held), held) for held in folds],
        error_score="raise",
        n_jobs=n_jobs,
    )
    return peer.fit(library.matrix, library.labels)


def assert_the_same(ours, peers: GridSearchCV) -> None:
    assert [dict(c) for c in ours.combinations] == peers.cv_results_["params"]
    for number, name in enumerate(FOLD_SCORES):
        sign = -1 if name == "log_loss" else 1
        for fold in range(ours.scores.shape[1]):
            theirs = sign * peers.cv_results_[f"split{fold}_test_{name}"]
            np.testing.assert_allclose(ours.scores[:, fold, number], theirs, rtol=0, atol=1e-12)
    assert ours.best == peers.best_index_


def test_scores_and_winner_are_those_of_scikit_learn(made_up):
    # Half of it, for scikit-learn takes its time; the whole grid is compared on a real library.
    grid = SMALL | {"gamma": (0.2,)}
    assert_the_same(search(made_up, grid), scikit_learns(made_up, grid))


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["media", "training"])
def test_on_a_real_library_scores_and_winner_are_those_of_scikit_learn(real, layout):
    library = real(layout)
    assert_the_same(search(library, REAL), scikit_learns(library, REAL))


@pytest.mark.real_data
@pytest.mark.slow
def test_the_whole_grid_on_a_real_library_is_as_scikit_learn_has_it(real):
    """A sixth of the smaller one's films, in one fold; `benchmarks/tuning.py` compares them all."""
    whole = real("training")
    library = replace(whole, matrix=whole.matrix[::6], labels=whole.labels[::6])
    fold = fold_rows(library.labels)[:1]
    assert_the_same(
        search(library, GRID, folds=fold), scikit_learns(library, GRID, n_jobs=-1, folds=fold)
    )


def test_columns_that_tell_nothing_and_unseen_categories_change_nothing(made_up):
    """A category of one title is unseen in four folds of five, and constant in the fifth."""
    rows = len(made_up.labels)
    column = {
        "zero": np.zeros(rows),
        "one": np.ones(rows),
        "unknown": np.full(rows, np.nan),
        "single": np.arange(rows) == 17,
    }
    numeric = len(made_up.encoding.numeric)
    numbers, flags = made_up.matrix[:, :numeric], made_up.matrix[:, numeric:]
    odd = [column[name] for name in ("zero", "one", "unknown")]
    matrix = np.column_stack([*odd, numbers, *odd, column["single"], flags]).astype(np.float32)
    library = replace(made_up, matrix=matrix)
    small = SMALL | {"max_depth": (3,), "subsample": (1.0,)}
    assert_the_same(search(library, small, flags_from=3 + numeric), scikit_learns(library, small))


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
    held_out = fold_rows(made_up.labels)[3]
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


class TestRace:
    @pytest.mark.parametrize("objective", FOLD_SCORES)
    def test_what_it_scored_is_bit_for_bit_as_in_the_search_and_the_rest_is_unknown(
        self, made_up, objective
    ):
        raced = search(made_up, RACED, race, objective=objective)
        full = search(made_up, RACED, objective=objective)
        scored = ~np.isnan(raced.scores)
        assert np.array_equal(raced.scores[scored], full.scores[scored])
        # All six scores of a fold, or none.
        assert np.array_equal(scored.any(axis=2), scored.all(axis=2))
        assert raced.combinations == full.combinations

    def test_the_winner_is_the_best_of_those_scored_in_every_fold(self, made_up):
        raced = search(made_up, RACED, race)
        assert raced.in_every_fold[raced.best]
        assert raced.in_every_fold.sum() == 3 * FEWEST
        means = raced.scores[:, :, 0].mean(axis=1)
        assert raced.means[raced.best] == np.nanmax(means)
        assert raced.in_every_fold[raced.chosen]

    @pytest.mark.slow
    @pytest.mark.parametrize("objective", FOLD_SCORES)
    def test_each_rung_keeps_the_best_groups_of_the_folds_so_far(self, made_up, objective):
        raced = search(made_up, RACED, race, objective=objective)
        full = search(made_up, RACED, objective=objective)
        groups = tuning._same_trees(full.combinations)
        assert len(groups) == 16
        sign = -1 if objective == "log_loss" else 1
        values = sign * full.scores[:, :, FOLD_SCORES.index(objective)]
        left, sizes = groups, {0: 16, 1: 4, 2: 3, 3: 3, 4: 3}
        for fold, size in sizes.items():
            by_best = (
                sorted(left, key=lambda g: -values[g, :fold].mean(axis=1).max()) if fold else left
            )
            left = by_best[:size]
            there = np.flatnonzero(~np.isnan(raced.scores[:, fold, 0]))
            assert sorted(there) == sorted(at for group in left for at in group)

    def test_on_the_whole_grid_22_and_11_of_108_go_on(self, made_up):
        # Trees of one split, and few: how many go on does not depend on how good they are.
        quick = GRID | {"max_depth": (1, 2, 3), "n_estimators": (1, 2, 3)}
        said = []
        raced = search(
            made_up, quick, race, on_progress=lambda done, total: said.append((done, total))
        )
        folds = (~np.isnan(raced.scores[:, :, 0])).sum(axis=0)
        assert RUNGS == ((1, 1 / 5), (2, 1 / 2))
        assert folds.tolist() == [3 * 108, 3 * 22, 3 * 11, 3 * 11, 3 * 11]
        assert sorted(said) == [(n, 163) for n in range(1, 164)]

    @pytest.mark.parametrize("groups", [1, 2, 3])
    def test_of_few_combinations_it_drops_none(self, made_up, groups):
        few = {key: values[:1] for key, values in RACED.items()} | {"n_estimators": (2, 5)}
        few |= {"max_depth": (1, 2, 3)[:groups]}
        raced, full = search(made_up, few, race), search(made_up, few)
        assert groups <= FEWEST
        assert np.array_equal(raced.scores, full.scores)
        assert not np.isnan(raced.scores).any()
        assert (raced.best, raced.chosen) == (full.best, full.chosen)

    @pytest.mark.parametrize("folds", [1, 2])
    def test_in_few_folds_someone_still_wins(self, made_up, folds):
        said = []
        raced = search(
            made_up,
            RACED,
            race,
            folds=fold_rows(made_up.labels)[:folds],
            on_progress=lambda done, total: said.append((done, total)),
        )
        assert raced.in_every_fold.sum() == (3 * 16 if folds == 1 else 3 * 4)
        assert raced.in_every_fold[raced.best]
        assert {total for _, total in said} == {len(said)}
        assert raced.standard_error >= 0

    @pytest.mark.slow
    def test_over_a_part_it_scores_nothing_else_and_its_scores_are_the_grids(self, made_up):
        full, part = search(made_up, RACED), search(made_up, RACED, race, part=Part(1, 5))
        scored = ~np.isnan(part.scores)
        assert np.array_equal(part.scores[scored], full.scores[scored])
        # The groups 1, 6 and 11 of sixteen; a group is three combinations.
        assert scored[:, 0, 0].sum() == 3 * 3
        assert part.in_every_fold[part.chosen]

    def test_a_grid_too_small_to_share_out_is_raced_whole(self, made_up):
        whole = search(made_up, SMALL, race)
        part = search(made_up, SMALL, race, part=Part(4, 5))
        assert np.array_equal(part.scores, whole.scores, equal_nan=True)

    def test_parts_have_the_grid_between_them_and_every_value_about_as_often(self, made_up):
        quick = GRID | {"n_estimators": (1, 2)}
        raced = [search(made_up, quick, race, part=part) for part in share_out(5)]
        tried = np.array([~np.isnan(one.scores[:, 0, 0]) for one in raced])
        assert (tried.sum(axis=0) == 1).all()
        for key, values in quick.items():
            of_each = np.array([c[key] for c in raced[0].combinations])
            for in_part in tried:
                shares = [(of_each[in_part] == value).mean() * len(values) for value in values]
                assert min(shares) > 0.75
                assert max(shares) < 1.25

    @pytest.mark.parametrize("how", [grid_search, race])
    @pytest.mark.parametrize("threads", [1, 3, 7])
    def test_the_number_of_threads_changes_no_bit(self, made_up, monkeypatch, how, threads):
        once = search(made_up, RACED, how)
        monkeypatch.setattr(tuning, "usable_processors", lambda: threads)
        again = search(made_up, RACED, how)
        assert again.scores.tobytes() == once.scores.tobytes()
        assert (again.best, again.chosen) == (once.best, once.chosen)

    def test_a_failure_in_a_thread_is_raised(self, made_up):
        with pytest.raises(Exception, match="subsample"):
            search(made_up, RACED | {"subsample": (7.0,)}, race)


class TestObjective:
    @pytest.mark.parametrize("how", [grid_search, race])
    def test_of_log_loss_the_least_wins(self, made_up, how):
        result = search(made_up, RACED, how, objective="log_loss")
        losses = result.scores[:, :, FOLD_SCORES.index("log_loss")].mean(axis=1)
        assert losses[result.best] == np.nanmin(losses)
        assert result.means[result.best] == pytest.approx(-np.nanmin(losses))
        assert np.nanmax(losses) > np.nanmin(losses) + 0.05

    @pytest.mark.parametrize("how", [grid_search, race])
    def test_of_recall_the_most_wins_whatever_the_precision(self, made_up, how):
        result = search(made_up, RACED, how, objective="recall")
        recall, precision = (
            result.scores[:, :, FOLD_SCORES.index(name)].mean(axis=1)
            for name in ("recall", "precision")
        )
        assert recall[result.best] == np.nanmax(recall)
        assert np.nanmin(recall) < np.nanmax(recall)
        assert precision[result.best] < np.nanmax(precision)

    @pytest.mark.parametrize("how", [grid_search, race])
    def test_a_fold_without_a_keep_has_no_roc_auc_and_does_not_count(self, made_up, how):
        skips = np.flatnonzero(made_up.labels == 0)
        folds = [*fold_rows(made_up.labels)[:3], skips[:30]]
        result = search(made_up, RACED, how, folds=folds, objective="roc_auc")
        area = result.scores[:, :, FOLD_SCORES.index("roc_auc")]
        every = result.in_every_fold
        assert np.isnan(area[:, 3]).all()
        assert every.any()
        assert result.means[every] == pytest.approx(area[every, :3].mean(axis=1))
        assert result.means[result.best] == result.means[every].max()
        best = area[result.best, :3]
        assert result.standard_error == pytest.approx(best.std(ddof=1) / 3**0.5)
