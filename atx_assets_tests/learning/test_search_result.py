"""Which combination a search chooses: the simplest of those near the best."""

import numpy as np
import pytest

from atx_assets.learning.search_result import SearchResult
from atx_assets.schemas import FOLD_SCORES


def by_hand(*rows: tuple[int, int, list[float]], objective="average_precision") -> SearchResult:
    """A search's result: trees, depth and the objective in each fold, NaN for not scored."""
    scores = np.full((len(rows), len(rows[0][2]), len(FOLD_SCORES)), np.nan)
    for at, (_, _, values) in enumerate(rows):
        scores[at, :, -1] = np.where(np.isnan(values), np.nan, 0.5)
        scores[at, :, FOLD_SCORES.index(objective)] = values
    combinations = [{"n_estimators": trees, "max_depth": depth} for trees, depth, _ in rows]
    return SearchResult(combinations, scores, objective)


NAN = float("nan")
#: Mean .8, and a standard error of .02.
BEST = [0.76, 0.84, 0.78, 0.82, 0.8]


def less(by: float) -> list[float]:
    return [value - by for value in BEST]


class TestChosen:
    def test_the_standard_error_is_that_of_the_bests_mean(self):
        result = by_hand((200, 7, BEST), (100, 3, less(0.3)))
        expected = np.std(BEST, ddof=1) / 5**0.5
        assert result.standard_error == pytest.approx(expected)
        assert expected == pytest.approx(0.0141, abs=1e-4)

    def test_a_standard_error_is_the_limit(self):
        error = np.std(BEST, ddof=1) / 5**0.5
        result = by_hand((200, 7, BEST), (100, 7, less(0.99 * error)), (50, 3, less(1.01 * error)))
        assert result.near_best.tolist() == [True, True, False]
        assert result.best == 0
        assert result.chosen == 1

    def test_fewer_trees_go_before_less_depth(self):
        assert by_hand((200, 3, BEST), (50, 7, less(0.01)), (100, 3, less(0.01))).chosen == 1

    def test_of_as_many_trees_the_least_depth_is_chosen(self):
        assert by_hand((50, 7, BEST), (50, 5, less(0.01)), (50, 3, less(0.012))).chosen == 2

    def test_of_equal_simplicity_the_best_mean_is_chosen_and_then_the_first(self):
        rows = [(200, 7, BEST), (50, 3, less(0.01)), (50, 3, less(0.002)), (50, 3, less(0.002))]
        assert by_hand(*rows).chosen == 2

    def test_what_was_not_scored_in_every_fold_is_neither_best_nor_chosen(self):
        dropped = [0.99, 0.99, NAN, NAN, NAN]
        result = by_hand((50, 3, dropped), (200, 7, BEST), (50, 3, [*less(0.005)[:4], NAN]))
        assert result.in_every_fold.tolist() == [False, True, False]
        assert result.near_best.tolist() == [False, True, False]
        assert result.best == result.chosen == 1
        assert result.means[0] == pytest.approx(0.99)

    def test_of_log_loss_near_means_little_more(self):
        losses = [[0.3 + value for value in row] for row in (less(0.0), less(-0.01), less(-0.1))]
        rows = zip((200, 100, 50), (3, 3, 3), losses, strict=True)
        result = by_hand(*rows, objective="log_loss")
        assert (result.best, result.chosen) == (0, 1)
        assert result.values.max() < 0

    def test_one_fold_has_no_standard_error_and_the_best_is_chosen(self):
        result = by_hand((200, 7, [0.8]), (50, 3, [0.79]), (100, 3, [0.8]))
        assert result.standard_error == 0
        assert (result.best, result.chosen) == (0, 2)

    def test_a_fold_in_which_roc_auc_is_undefined_is_left_out(self):
        rows = [(200, 7, [*BEST, 0.0]), (50, 3, [*less(0.3), 0.0])]
        result = by_hand(*rows, objective="roc_auc")
        result.scores[:, 5, FOLD_SCORES.index("roc_auc")] = NAN
        assert result.in_every_fold.all()
        assert result.means[0] == pytest.approx(0.8)
        assert result.standard_error == pytest.approx(np.std(BEST, ddof=1) / 5**0.5)
        assert result.chosen == 0
