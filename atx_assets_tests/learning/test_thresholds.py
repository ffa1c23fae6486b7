"""The operating point: what may be written, which threshold it asks for, what it would cost."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import precision_recall_curve

from atx_assets.learning.thresholds import _curve, threshold_at
from atx_assets.operating_point import OperatingPoint

#: Few scores, so that titles share them.
TITLES = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.8, 0.9, 1.0])),
    max_size=25,
)
LEAST = st.sampled_from([0.05, 0.25, 0.5, 2 / 3, 0.75, 0.8, 0.9, 0.95, 1.0])


@pytest.mark.filterwarnings("ignore:No positive class found")
@given(TITLES.filter(bool), st.sampled_from([np.float32, np.float64]))
def test_the_curve_is_scikit_learns_to_the_last_bit(titles, kind):
    labels = np.array([label for label, _ in titles])
    scores = np.array([score for _, score in titles], kind)
    *theirs, thresholds = precision_recall_curve(labels, scores)
    *ours, those = _curve(labels, scores)
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.tolist() == other[:-1].tolist()
    assert those.tolist() == thresholds.tolist()


class TestParse:
    @pytest.mark.parametrize(
        ("text", "measure", "least"),
        [
            ("f1", "f1", 0.0),
            (" f1 ", "f1", 0.0),
            ("precision>=0.8", "precision", 0.8),
            ("recall>=0.95", "recall", 0.95),
            ("precision>=.8", "precision", 0.8),
            ("precision >= 0.80", "precision", 0.8),
            ("\trecall>= 1\n", "recall", 1.0),
            ("precision>=1.00", "precision", 1.0),
            ("recall>=0.005", "recall", 0.005),
        ],
    )
    def test_what_is_meant_is_understood(self, text, measure, least):
        assert OperatingPoint.parse(text) == OperatingPoint(measure, least)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            " ",
            "F1",
            "f1>=0.5",
            "precision",
            "precision>=",
            "precision>=0",
            "precision>=0.0",
            "recall>=.000",
            "precision>=1.5",
            "recall>=1.01",
            "precision>=-0.5",
            "precision>=80",
            "precision>=80%",
            "precision>0.8",
            "precision=0.8",
            "precision> =0.8",
            "precision<=0.8",
            "precision>=nan",
            "precision>=inf",
            "precision>=1e-1",
            "precision>=0,8",
            "accuracy>=0.8",
            "precision>=0.8 recall>=0.5",
            "precision>=0.8;f1",
        ],
    )
    def test_what_is_no_operating_point_is_refused_with_examples(self, text):
        with pytest.raises(ValueError, match=r"write f1, or for instance precision>=0\.8"):
            OperatingPoint.parse(text)

    @given(measure=st.sampled_from(["precision", "recall"]), thousandths=st.integers(1, 1000))
    def test_what_is_written_is_read_back(self, measure, thousandths):
        point = OperatingPoint(measure, thousandths / 1000)
        assert OperatingPoint.parse(str(point)) == point

    @pytest.mark.parametrize(
        "text", ["precision>=0.9999999", "recall>=0.12345678", "precision>=0.00001"]
    )
    def test_many_digits_are_written_and_read_back_too(self, text):
        point = OperatingPoint.parse(text)
        assert OperatingPoint.parse(str(point)) == point

    def test_the_best_f1_is_written_and_read_back(self):
        assert str(OperatingPoint()) == "f1"
        assert OperatingPoint.parse("f1") == OperatingPoint()


def counts(labels: np.ndarray, scores: np.ndarray) -> dict[float, tuple[float, float, float]]:
    """For each threshold precision, recall and F1, by counting."""
    found = {}
    for threshold in np.unique(scores):
        kept = scores >= threshold
        right, named, keeps = labels[kept].sum(), kept.sum(), labels.sum()
        found[float(threshold)] = right / named, right / keeps, 2 * right / (named + keeps)
    return found


class TestThreshold:
    """Against all thresholds there are."""

    @settings(deadline=None, max_examples=60)
    @given(titles=TITLES)
    def test_no_other_threshold_has_a_better_f1(self, titles):
        labels, scores = map(np.array, zip((1, 0.3), (0, 0.3), *titles, strict=True))
        tried = {t: f1 for t, (_, _, f1) in counts(labels, scores).items()}
        best = max(tried.values())
        threshold = threshold_at(OperatingPoint(), labels, scores)
        assert tried[threshold] == pytest.approx(best, abs=1e-12)

    def test_of_equal_f1_the_highest_threshold_is_taken(self):
        # At .4 and at .8: 2 * .5 * 1 / 1.5 and 2 * 1 * .5 / 1.5.
        labels, scores = np.array([1, 0, 0, 1]), np.array([0.8, 0.7, 0.6, 0.4])
        tried = {t: f1 for t, (_, _, f1) in counts(labels, scores).items()}
        assert tried[0.8] == tried[0.4] == pytest.approx(2 / 3)
        assert threshold_at(OperatingPoint(), labels, scores) == 0.8

    def test_of_f1_that_are_equal_but_for_rounding_the_highest_threshold_is_taken(self):
        labels = np.array([0, 0, 1, 1, 1, 0, 0, 1])
        scores = np.array([0.95, 0.94, 0.83, 0.73, 0.65, 0.59, 0.59, 0.43])
        # 2 * 3 / (5 + 4) at .65, and 2 * 4 / (8 + 4) at .43.
        tried = {t: f1 for t, (_, _, f1) in counts(labels, scores).items()}
        assert tried[0.65] == tried[0.43] == max(tried.values()) == 2 / 3
        assert threshold_at(OperatingPoint(), labels, scores) == 0.65

    @pytest.mark.parametrize("seed", range(8))
    def test_among_scores_of_two_digits_it_is_the_highest_of_the_best(self, seed):
        draw = np.random.default_rng(seed)
        labels = draw.integers(0, 2, 60)
        scores = np.round(np.clip(draw.normal(0.3 + 0.3 * labels, 0.25), 0, 1), 2)
        tried = {t: f1 for t, (_, _, f1) in counts(labels, scores).items()}
        best = max(tried.values())
        threshold = threshold_at(OperatingPoint(), labels, scores)
        assert threshold == max(t for t, f1 in tried.items() if f1 > best - 1e-12)

    @settings(deadline=None, max_examples=60)
    @given(titles=TITLES, least=LEAST)
    def test_at_a_least_precision_no_other_threshold_has_more_recall(self, titles, least):
        labels, scores = map(np.array, zip((1, 0.3), (0, 0.3), *titles, strict=True))
        tried = counts(labels, scores)
        reached = [recall for precision, recall, _ in tried.values() if precision >= least]
        threshold = threshold_at(OperatingPoint("precision", least), labels, scores)
        if reached:
            precision, recall, _ = tried[threshold]
            assert precision >= least
            assert recall == max(reached)
        else:
            assert threshold == math.inf

    @settings(deadline=None, max_examples=60)
    @given(titles=TITLES, least=LEAST)
    def test_at_a_least_recall_no_other_threshold_has_more_precision(self, titles, least):
        labels, scores = map(np.array, zip((1, 0.3), (0, 0.3), *titles, strict=True))
        tried = counts(labels, scores)
        reached = [precision for precision, recall, _ in tried.values() if recall >= least]
        precision, recall, _ = tried[threshold_at(OperatingPoint("recall", least), labels, scores)]
        assert recall >= least
        assert precision == max(reached)

    @pytest.mark.parametrize("seed", range(6))
    @pytest.mark.parametrize("text", ["f1", "precision>=0.8", "recall>=0.95"])
    def test_among_many_titles_without_ties_it_is_the_best_too(self, seed, text):
        draw = np.random.default_rng(seed)
        labels = (draw.random(300) < 0.3).astype(int)
        scores = 1 / (1 + np.exp(-draw.normal(2 * labels - 1, 1)))
        point, tried = OperatingPoint.parse(text), counts(labels, scores)
        found = tried[threshold_at(point, labels, scores)]
        at, best = {"f1": (0, 2), "precision": (0, 1), "recall": (1, 0)}[point.measure]
        able = [row[best] for row in tried.values() if row[at] >= point.least]
        assert found[at] >= point.least
        assert found[best] == pytest.approx(max(able), abs=1e-12)

    def test_it_separates_what_can_be_separated(self):
        labels, scores = np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])
        assert threshold_at(OperatingPoint(), labels, scores) == 0.6
        assert threshold_at(OperatingPoint("recall", 0.95), labels, scores) == 0.6

    def test_a_precision_out_of_reach_keeps_nothing(self):
        labels, scores = np.array([0, 1, 1]), np.array([0.9, 0.8, 0.7])
        assert threshold_at(OperatingPoint("precision", 0.8), labels, scores) == math.inf
        assert threshold_at(OperatingPoint("precision", 0.6), labels, scores) == 0.7

    def test_a_share_that_is_just_reached_counts(self):
        labels, scores = np.array([1, 1, 1, 1, 0]), np.array([0.9, 0.8, 0.7, 0.6, 0.5])
        assert threshold_at(OperatingPoint("precision", 0.8), labels, scores) == 0.5
        assert threshold_at(OperatingPoint("recall", 0.75), labels, scores) in (0.6, 0.7)
