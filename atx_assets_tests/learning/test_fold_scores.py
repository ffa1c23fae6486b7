"""The search's own scores of a fold against scikit-learn's."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from atx_assets.learning.fold_scores import fold_scores
from atx_assets.schemas import FOLD_SCORES

#: Few values, so that many titles share one; the ends, and what lies about the verdict's .5.
ANSWERS = (0.0, 1e-30, 1e-8, 0.1, 0.3, 0.49999997, 0.5, 0.50000006, 0.7, 1 - 2**-24, 1.0)


def by_name(truth, answer) -> dict[str, float]:
    scores = fold_scores(np.array(truth), np.array(answer, np.float32))
    return dict(zip(FOLD_SCORES, scores, strict=True))


def scikit_learns(truth: np.ndarray, answer: np.ndarray) -> dict[str, float]:
    """The scores as `GridSearchCV` asks for them; both classes must be there."""
    kept = answer > 0.5
    # As `XGBClassifier.predict_proba` has it, float32.
    both = np.vstack((1.0 - answer, answer)).T
    return {
        "average_precision": metrics.average_precision_score(truth, answer),
        "roc_auc": metrics.roc_auc_score(truth, answer),
        "recall": metrics.recall_score(truth, kept, zero_division=0),
        "precision": metrics.precision_score(truth, kept, zero_division=0),
        "f1": metrics.f1_score(truth, kept, zero_division=0),
        "log_loss": metrics.log_loss(truth, both),
    }


def assert_the_same(truth: np.ndarray, answer: np.ndarray) -> None:
    ours, theirs = by_name(truth, answer), scikit_learns(truth, answer)
    for name in FOLD_SCORES:
        assert ours[name] == pytest.approx(theirs[name], rel=0, abs=1e-12), name
    # To the last bit: two combinations must be equals here exactly where they are there.
    assert ours["average_precision"] == theirs["average_precision"]


TIED = st.tuples(st.integers(0, 1), st.sampled_from(ANSWERS))
SPREAD = st.tuples(st.integers(0, 1), st.floats(0, 1, width=32))


@settings(deadline=None, max_examples=50)
@given(titles=st.one_of(st.lists(TIED, max_size=40), st.lists(SPREAD, max_size=40)))
def test_all_six_are_scikit_learns_whatever_the_ties(titles):
    truth, answer = zip((0, 0.3), (1, 0.3), *titles, strict=True)
    assert_the_same(np.array(truth), np.array(answer, np.float32))


@pytest.mark.parametrize("seed", range(12))
def test_all_six_are_scikit_learns_in_folds_of_real_size(seed):
    draw = np.random.default_rng(seed)
    size = int(draw.integers(300, 1500))
    truth = (draw.random(size) < 0.17).astype(int)
    answer = 1 / (1 + np.exp(-draw.normal(2 * truth - 2, 2)))
    # From no ties at all to a handful of answers.
    answer = answer if seed % 2 else np.round(answer, 1 + seed // 4)
    assert_the_same(truth, answer.astype(np.float32))


def test_a_certain_answer_that_is_wrong_has_a_finite_log_loss_as_in_scikit_learn():
    truth, answer = np.array([0, 1, 1, 0]), np.array([1, 0, 1, 0], np.float32)
    assert_the_same(truth, answer)
    assert 7 < by_name(truth, answer)["log_loss"] < 9


def test_a_probability_of_a_half_is_a_skip():
    scores = by_name([1, 0, 1], [0.5, 0.4, 0.50000006])
    assert (scores["recall"], scores["precision"]) == (0.5, 1.0)


def test_without_a_keep_average_precision_and_recall_are_0_and_there_is_no_roc_auc():
    scores = by_name([0, 0, 0], [0.2, 0.7, 0.7])
    assert [scores[name] for name in ("average_precision", "recall", "f1")] == [0, 0, 0]
    assert scores["precision"] == 0
    assert math.isnan(scores["roc_auc"])
    given_to_skips = np.log(np.array([0.8, 0.3, 0.3]))
    assert scores["log_loss"] == pytest.approx(-given_to_skips.mean(), abs=1e-6)


def test_without_a_skip_average_precision_is_1_and_there_is_no_roc_auc():
    scores = by_name([1, 1, 1], [0.2, 0.7, 0.7])
    assert scores["average_precision"] == scores["precision"] == 1
    assert scores["recall"] == pytest.approx(2 / 3)
    assert scores["f1"] == pytest.approx(0.8)
    assert math.isnan(scores["roc_auc"])


def test_where_all_titles_have_one_answer_the_ranking_is_that_of_chance():
    scores = by_name([1, 0, 0, 0], [0.3] * 4)
    assert scores["average_precision"] == 0.25
    assert scores["roc_auc"] == 0.5
    assert scores["recall"] == scores["precision"] == scores["f1"] == 0


@settings(max_examples=30)
@given(order=st.permutations(range(9)))
def test_the_order_of_the_titles_changes_no_ranking(order):
    truth = np.array([1, 0, 0, 1, 1, 0, 0, 0, 1])
    answer = np.array([0.9, 0.9, 0.1, 0.4, 0.4, 0.4, 0.2, 0.7, 0.6])
    shuffled = by_name(truth[order], answer[order])
    # The loss is summed in float32, in the order of the titles.
    assert shuffled == pytest.approx(by_name(truth, answer), abs=1e-6)
    for name in FOLD_SCORES[:-1]:
        assert shuffled[name] == by_name(truth, answer)[name]
