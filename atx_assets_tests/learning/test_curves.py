"""The curves of a classifier, and their spread over the folds."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from atx_assets.learning.curves import Blind, calibration, precision_recall, roc


def blind_of(answers, labels, seeds=1, folds=1) -> Blind:
    labels = np.array(labels)
    assignment = np.stack([(np.arange(len(labels)) + s) % folds for s in range(seeds)])
    return Blind(labels, np.tile(np.array(answers, float), (seeds, 1)), assignment)


@pytest.fixture(scope="module")
def noisy() -> Blind:
    draw = np.random.default_rng(3)
    labels = (draw.random(400) < 0.3).astype(int)
    answers = np.clip(np.stack([labels * 0.3 + draw.random(400) * 0.7 for _ in range(2)]), 0, 1)
    return Blind(labels, answers, np.stack([draw.integers(0, 5, 400) for _ in range(2)]))


def test_a_perfect_order_has_full_precision_at_each_recall_and_finds_all_at_once():
    blind = blind_of([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0])
    assert precision_recall(blind).mean.tolist() == [1.0] * 101
    assert roc(blind).mean.tolist() == [1.0] * 101


def test_precision_is_the_best_that_has_the_recall_or_more():
    blind = blind_of([0.9, 0.8, 0.7, 0.6], [0, 1, 1, 0])
    curve = precision_recall(blind)
    # With the third title both keeps are found: two of three. Less recall is no better.
    assert curve.mean.tolist() == pytest.approx([2 / 3] * 101)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=2, max_size=30))
def test_no_threshold_beats_the_curve(titles):
    answers, labels = np.array([t[0] for t in titles]), np.array([int(t[1]) for t in titles])
    curve = precision_recall(blind_of(answers, labels))
    if len(set(labels)) < 2:
        assert len(curve.x) == 0
        return
    precision, recall, _ = precision_recall_curve(labels, answers)
    precision, recall = precision[:-1], recall[:-1]
    for grid, best in zip(curve.x, curve.mean, strict=True):
        assert best == pytest.approx(precision[recall >= grid].max())


def test_the_area_under_a_curve_is_that_of_scikit_learn(noisy):
    areas = [roc_auc_score(labels, answers) for labels, answers in noisy.folds()]
    assert np.trapezoid(roc(noisy).mean, roc(noisy).x) == pytest.approx(np.mean(areas), abs=0.01)
    precisions = [average_precision_score(labels, answers) for labels, answers in noisy.folds()]
    assert precision_recall(noisy).mean.mean() == pytest.approx(np.mean(precisions), abs=0.03)


def test_the_spread_is_over_the_folds_of_all_seeds(noisy):
    assert len(noisy.folds()) == 10
    one = blind_of([0.9, 0.8, 0.2, 0.1], [1, 0, 1, 0])
    assert precision_recall(one).std.tolist() == [0.0] * 101
    assert precision_recall(noisy).std.max() > 0.01


def test_a_fold_of_one_class_is_left_out():
    blind = Blind(
        np.array([1, 1, 0, 1]), np.array([[0.9, 0.8, 0.2, 0.7]]), np.array([[0, 0, 1, 1]])
    )
    assert len(blind.folds()) == 1


def test_calibration_says_what_was_so_in_each_bin():
    answers = [0.05] * 10 + [0.75] * 10
    curve = calibration(blind_of(answers, [0] * 9 + [1] + [1] * 7 + [0] * 3))
    assert curve.x.tolist() == pytest.approx([0.05, 0.75])
    assert curve.mean.tolist() == pytest.approx([0.1, 0.7])
    # One fold has no spread.
    assert curve.std.tolist() == [0.0, 0.0]


def test_the_spread_of_calibration_is_that_of_the_shares_of_keeps_in_the_folds():
    curve = calibration(blind_of([0.75] * 8, [1, 0, 1, 0, 1, 1, 0, 0], folds=2))
    assert curve.std.tolist() == pytest.approx([np.std([0.75, 0.25], ddof=1)])


def test_a_chance_of_one_is_in_the_last_bin():
    curve = calibration(blind_of([1.0, 1.0, 0.0], [1, 1, 0]))
    assert curve.x.tolist() == [0.0, 1.0]
