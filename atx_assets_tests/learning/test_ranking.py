"""Average precision and ROC-AUC against scikit-learn's, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from atx_assets.learning.ranking import average_precision, ranked, roc_auc

#: Few values, so that many titles share one, and any.
SCORES = st.one_of(st.sampled_from((-1e30, 0.0, 0.5, 7.1, 1e30)), st.floats(-9, 9))
TITLES = st.lists(st.tuples(st.integers(0, 1), SCORES), max_size=60)


def assert_the_same(truth: np.ndarray, score: np.ndarray) -> None:
    assert average_precision(truth, score) == metrics.average_precision_score(truth, score)
    assert roc_auc(truth, score) == metrics.roc_auc_score(truth, score)


@settings(deadline=None, max_examples=100)
@given(titles=TITLES)
def test_both_are_scikit_learns_whatever_the_ties(titles):
    truth, score = zip((0, 0.5), (1, 0.5), *titles, strict=True)
    assert_the_same(np.array(truth), np.array(score))


@pytest.mark.parametrize("seed", range(12))
def test_both_are_scikit_learns_in_libraries_of_real_size(seed):
    draw = np.random.default_rng(seed)
    truth = (draw.random(3000) < 0.17).astype(int)
    score = 1 / (1 + np.exp(-draw.normal(2 * truth - 2, 2)))
    # From no ties at all to a handful of scores, in double and in single precision.
    score = score if seed % 2 else np.round(score, 1 + seed // 4)
    assert_the_same(truth, score.astype(np.float32 if seed % 3 else np.float64))


def test_without_a_keep_average_precision_is_0():
    assert average_precision(np.zeros(3, int), np.array([0.1, 0.2, 0.2])) == 0


def test_titles_of_one_score_are_counted_together():
    scores, hits, named = ranked(np.array([1, 0, 1, 0]), np.array([0.2, 0.7, 0.7, 0.1]))
    assert (scores.tolist(), hits.tolist(), named.tolist()) == (
        [0.7, 0.2, 0.1],
        [1, 2, 2],
        [2, 3, 4],
    )
