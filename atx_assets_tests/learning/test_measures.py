"""The measures of a set of titles, their spread, and the calibration."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from atx_assets.learning.measures import (
    BINS,
    calibration_error,
    calibration_table,
    measures,
    spread,
    spreads,
)

NAN = float("nan")
TITLES = st.lists(st.tuples(st.integers(0, 1), st.floats(0.01, 0.99)), max_size=30)


@settings(deadline=None, max_examples=40)
@given(titles=TITLES, threshold=st.floats(0, 1.1))
def test_measures_are_scikit_learns(titles, threshold):
    truth, score = map(np.array, zip((0, 0.2), (1, 0.3), *titles, strict=True))
    kept = score >= threshold
    found = measures(truth, score, kept)
    assert found == pytest.approx(
        {
            "pr_auc": metrics.average_precision_score(truth, score),
            "roc_auc": metrics.roc_auc_score(truth, score),
            "recall": metrics.recall_score(truth, kept, zero_division=0),
            "precision": metrics.precision_score(truth, kept, zero_division=0),
            "f1": metrics.f1_score(truth, kept, zero_division=0),
            "false_positive_rate": kept[truth == 0].mean(),
            "brier": metrics.brier_score_loss(truth, score),
            "log_loss": metrics.log_loss(truth, score),
        },
        rel=0,
        abs=1e-12,
    )


def test_keeps_alone_have_recall_brier_score_and_log_loss():
    found = measures(np.array([1, 1]), np.array([0.8, 0.4]), np.array([True, False]))
    assert found["recall"] == 0.5
    assert found["brier"] == pytest.approx((0.04 + 0.36) / 2)
    assert found["log_loss"] == pytest.approx(-np.log([0.8, 0.4]).mean())
    defined = {name for name, value in found.items() if not math.isnan(value)}
    assert defined == {"recall", "brier", "log_loss"}


def test_skips_alone_have_a_false_positive_rate_brier_score_and_log_loss():
    found = measures(np.array([0, 0]), np.array([0.8, 0.4]), np.array([True, False]))
    assert found["false_positive_rate"] == 0.5
    assert found["log_loss"] == pytest.approx(-np.log([0.2, 0.6]).mean())
    defined = {name for name, value in found.items() if not math.isnan(value)}
    assert defined == {"false_positive_rate", "brier", "log_loss"}


def test_no_titles_have_no_measures():
    found = measures(np.array([], int), np.array([]), np.array([], bool))
    assert all(math.isnan(value) for value in found.values())


def test_where_nothing_is_kept_precision_and_f1_are_0():
    found = measures(np.array([0, 1]), np.array([0.1, 0.2]), np.array([False, False]))
    assert found["precision"] == found["recall"] == found["f1"] == 0


def test_a_keep_held_to_be_impossible_costs_an_infinite_log_loss():
    truth, verdict = np.array([0, 1]), np.array([False, False])
    assert measures(truth, np.array([0.0, 0.0]), verdict)["log_loss"] == math.inf


def test_a_ranking_that_is_no_probability_has_neither_brier_score_nor_log_loss():
    truth, verdict = np.array([0, 1]), np.array([False, True])
    found = measures(truth, np.array([-1e30, 7.0]), verdict, probabilities=False)
    assert math.isnan(found["brier"])
    assert math.isnan(found["log_loss"])
    assert found["pr_auc"] == found["f1"] == 1


class TestSpread:
    def test_it_is_the_mean_and_the_standard_deviation_of_a_sample(self):
        assert spread([1.0, 2.0, 6.0]) == {"mean": 3.0, "std": pytest.approx(7**0.5)}

    def test_one_value_has_no_standard_deviation(self):
        assert spread([0.5]) == {"mean": 0.5, "std": None}

    @pytest.mark.parametrize("values", [[], [0.5, NAN], [math.inf, 0.5], [NAN]])
    def test_what_is_not_defined_everywhere_is_null(self, values):
        assert spread(values) == {"mean": None, "std": None}

    def test_each_measure_has_its_own_and_json_can_hold_them(self):
        found = spreads({"a": [0.5, 0.7], "b": [NAN], "c": np.array([1.0, 1.0])})
        assert found["a"]["mean"] == pytest.approx(0.6)
        assert found["b"]["mean"] is None
        assert json.loads(json.dumps(found, allow_nan=False)) == found


class TestCalibration:
    def test_each_title_is_in_the_bin_of_its_probability(self):
        table = calibration_table(np.array([0, 1, 1, 0]), np.array([0.0, 0.1, 0.14, 1.0]))
        assert len(table) == BINS == 10
        assert [row["titles"] for row in table] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 1]
        assert table[1] == {
            "low": 0.1,
            "high": 0.2,
            "titles": 2,
            "probability": pytest.approx(0.12),
            "keeps": 1.0,
        }
        assert table[2]["probability"] is table[2]["keeps"] is None

    def test_the_error_is_the_mean_gap_weighted_by_titles(self):
        truth = np.array([1, 0, 0, 0, 1, 1])
        probability = np.array([0.25, 0.25, 0.25, 0.25, 0.95, 0.95])
        # Four titles are off by nothing, two by .05.
        assert calibration_error(truth, probability) == pytest.approx(0.05 * 2 / 6)
        assert calibration_error(truth[:4], probability[:4]) == 0

    def test_who_is_sure_and_wrong_is_off_by_1(self):
        assert calibration_error(np.array([0, 1]), np.array([1.0, 0.0])) == 1

    @given(titles=st.lists(st.tuples(st.integers(0, 1), st.floats(0, 1)), min_size=1, max_size=40))
    def test_no_title_is_lost_and_the_error_stays_in_0_to_1(self, titles):
        truth, probability = map(np.array, zip(*titles, strict=True))
        table = calibration_table(truth, probability)
        assert sum(row["titles"] for row in table) == len(titles)
        assert 0 <= calibration_error(truth, probability) <= 1 + 1e-12
        for row in table:
            if row["titles"]:
                assert row["low"] - 1e-9 <= row["probability"] <= row["high"] + 1e-9

    def test_honest_promises_have_a_small_error_and_bold_ones_a_large_one(self):
        draw = np.random.default_rng(4)
        probability = draw.random(20_000)
        truth = (draw.random(20_000) < probability).astype(int)
        assert calibration_error(truth, probability) < 0.02
        bold = np.where(probability > 0.5, 0.99, 0.01)
        assert calibration_error(truth, bold) == pytest.approx(0.24, abs=0.02)
