"""How good a recipe is: folds, blind answers, measures, threshold, the rule, and the guards."""

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score

from atx_assets.errors import AtxError
from atx_assets.learning.evaluation import (
    FOLDS,
    SEEDS,
    assign_folds,
    best_f1_threshold,
    fold_measures,
    out_of_fold,
    require_enough_labels,
    single_feature_rule,
)
from atx_assets.learning.models import fit, predict

PLAIN = {
    "max_depth": 3,
    "learning_rate": 0.1,
    "n_estimators": 100,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
}


@pytest.fixture
def protocol(shared_data: Path) -> ModuleType:
    """The program that the contract's numbers were measured with."""
    path = shared_data.parent / "tools" / "protocol.py"
    spec = importlib.util.spec_from_file_location("protocol", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def measured(real: Callable[..., Any]) -> Callable[[str], Any]:
    """The plain model's measures on a real library, without companies; made once."""
    return lambda layout: _measured(real(layout, companies=False))


_MADE: dict[int, Any] = {}


def _measured(library: Any) -> Any:
    if id(library) not in _MADE:
        held_out = out_of_fold(library.matrix, library.labels, PLAIN)
        measures = fold_measures(library.labels, held_out.assignment, held_out.probabilities, 0.5)
        _MADE[id(library)] = library, held_out, measures
    return _MADE[id(library)]


@pytest.mark.real_data
@pytest.mark.slow
class TestAgainstTheProtocol:
    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_folds_are_those_of_the_protocol(self, protocol, real, layout):
        library = real(layout, companies=False)
        assert library.keys == sorted(library.keys)
        for seed, fold, _, held_out in protocol.make_folds(library.keys, library.labels):
            mine = np.flatnonzero(assign_folds(library.labels, seed) == fold)
            assert np.array_equal(mine, np.sort(held_out))

    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_measures_of_each_fold_are_those_of_the_protocol(self, protocol, measured, layout):
        library, held_out, measures = measured(layout)
        folds = protocol.make_folds(library.keys, library.labels)
        oof = held_out.probabilities.astype(float)
        theirs = protocol.score_oof(oof, library.labels, folds)["per_fold"]
        for mine, name in (("pr_auc", "ap"), ("roc_auc", "auc"), ("brier", "brier")):
            np.testing.assert_allclose(measures[mine], theirs[name], rtol=0, atol=1e-9)
        np.testing.assert_allclose(measures["log_loss"], theirs["logloss"], rtol=0, atol=1e-9)

    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_the_protocols_own_run_gives_the_same_figures(self, protocol, measured, layout):
        library, _, measures = measured(layout)
        theirs = protocol.evaluate(
            protocol.xgb_baseline,
            pd.DataFrame(library.matrix),
            library.labels,
            library.keys,
            seeds=(0, 3),
        )["per_fold"]
        kept = [*range(5), *range(15, 20)]
        for mine, name in (("pr_auc", "ap"), ("roc_auc", "auc")):
            np.testing.assert_allclose(
                np.array(measures[mine])[kept], theirs[name], rtol=0, atol=1e-9
            )


@pytest.mark.real_data
@pytest.mark.slow
class TestGuards:
    """The contract's section 7: a mean of 25 folds may not leave the noise of its own mean."""

    @pytest.mark.parametrize(
        ("layout", "measure", "mean", "spread"),
        [
            ("media", "pr_auc", 0.958, 0.022),
            ("media", "roc_auc", 0.981, 0.014),
            ("training", "pr_auc", 0.887, 0.048),
        ],
    )
    def test_plain_xgboost_is_as_good_as_it_was(self, measured, layout, measure, mean, spread):
        values = measured(layout)[2][measure]
        assert len(values) == 25
        # Folds share rows: their mean varies by about spread * sqrt(1/25 + 1/4), so half of it
        # is a narrow guard.
        assert np.mean(values) == pytest.approx(mean, abs=spread / 2)
        assert np.std(values, ddof=1) == pytest.approx(spread, rel=0.5)

    def test_the_training_export_has_a_measured_roc_auc(self, measured):
        assert np.mean(measured("training")[2]["roc_auc"]) > 0.95

    def test_the_model_beats_the_best_single_feature(self, measured):
        library, held_out, measures = measured("media")
        numeric = len(library.encoding.numeric)
        rule = single_feature_rule(
            library.matrix[:, :numeric],
            library.encoding.names,
            library.labels,
            held_out.assignment,
        )
        assert np.mean(measures["pr_auc"]) > np.mean(rule.pr_auc) + 0.1


class TestFolds:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_each_row_is_held_out_once_and_keeps_are_spread_evenly(self, made_up, seed):
        fold = assign_folds(made_up.labels, seed)
        assert set(fold) == set(range(FOLDS))
        sizes = np.bincount(fold)
        keeps = np.bincount(fold, weights=made_up.labels)
        assert np.ptp(sizes) <= 1
        assert np.ptp(keeps) <= 1

    def test_another_seed_gives_other_folds_and_the_same_one_the_same(self, made_up):
        folds = [assign_folds(made_up.labels, seed) for seed in SEEDS]
        assert len({fold.tobytes() for fold in folds}) == len(SEEDS)
        assert np.array_equal(folds[2], assign_folds(made_up.labels, 2))


class TestBlindness:
    def test_a_label_that_can_be_memorised_does_not_help(self):
        # Each row has a column of its own: who has seen a row's label knows it for certain.
        draw = np.random.default_rng(3)
        labels = np.repeat([0, 1], 60)
        own = np.eye(120, dtype=np.float32)
        matrix = np.hstack([own, draw.random((120, 2), np.float32)])
        recipe = {"max_depth": 6, "learning_rate": 0.3, "n_estimators": 60}
        recipe |= {"min_child_weight": 0, "lambda": 0}
        memorised = predict(fit(matrix, labels, recipe), matrix)
        assert average_precision_score(labels, memorised) > 0.99
        blind = out_of_fold(matrix, labels, recipe)
        for probability in blind.probabilities:
            assert average_precision_score(labels, probability) < 0.7

    def test_a_row_with_the_wrong_label_is_told_by_the_others(self, made_up):
        recipe = PLAIN | {"n_estimators": 20}
        honest = out_of_fold(made_up.matrix, made_up.labels, recipe)
        sure = int(np.argmax(honest.probabilities.min(axis=0)))
        flipped = made_up.labels.copy()
        flipped[sure] = 1 - flipped[sure]
        answers = out_of_fold(made_up.matrix, flipped, recipe).probabilities[:, sure]
        assert made_up.labels[sure] == 1
        assert answers.min() > 0.5

    def test_each_probability_is_the_answer_of_the_model_of_its_fold(self, made_up):
        found = out_of_fold(made_up.matrix, made_up.labels, PLAIN | {"n_estimators": 5})
        assert found.probabilities.shape == found.assignment.shape == (5, len(made_up.labels))
        for seed in SEEDS:
            for fold in range(FOLDS):
                held_out = found.assignment[seed] == fold
                answer = predict(found.models[seed][fold], made_up.matrix[held_out])
                assert np.array_equal(found.probabilities[seed, held_out], answer)
                again = fit(
                    made_up.matrix[~held_out],
                    made_up.labels[~held_out],
                    PLAIN | {"n_estimators": 5},
                )
                assert again.save_raw("ubj") == found.models[seed][fold].save_raw("ubj")


class TestThreshold:
    @pytest.mark.parametrize("seed", range(8))
    def test_no_other_threshold_has_a_better_f1(self, seed):
        draw = np.random.default_rng(seed)
        labels = draw.integers(0, 2, 60)
        probability = np.round(np.clip(draw.normal(0.3 + 0.3 * labels, 0.25), 0, 1), 2)
        threshold = best_f1_threshold(labels, probability)
        tried = {t: f1_score(labels, probability >= t) for t in np.unique(probability)}
        best = max(tried.values())
        assert tried[threshold] == pytest.approx(best, abs=1e-12)
        assert threshold == max(t for t, f1 in tried.items() if f1 > best - 1e-12)

    def test_it_separates_what_can_be_separated(self):
        assert best_f1_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.6, 0.9])) == 0.6

    def test_recall_precision_and_f1_of_a_fold_are_at_the_threshold(self):
        labels = np.tile([0, 1], 10)
        assignment = np.repeat(np.arange(5), 4)[None]
        probabilities = np.where(labels, 0.3, 0.2)[None]
        at = fold_measures(labels, assignment, probabilities, 0.3)
        assert at["recall"] == at["precision"] == at["f1"] == [1.0] * 5
        above = fold_measures(labels, assignment, probabilities, 0.31)
        assert above["recall"] == above["precision"] == above["f1"] == [0.0] * 5
        assert at["pr_auc"] == above["pr_auc"] == [1.0] * 5


class TestSingleFeatureRule:
    names = ("year", "score")

    @staticmethod
    @cache
    def library() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        draw = np.random.default_rng(1)
        labels = draw.integers(0, 2, 200)
        score = labels + draw.normal(0, 0.5, 200)
        assignment = np.stack([assign_folds(labels, seed) for seed in SEEDS])
        return np.stack([draw.random(200), score], axis=1), labels, assignment

    def test_it_finds_the_feature_and_its_direction(self):
        numbers, labels, assignment = self.library()
        high = single_feature_rule(numbers, self.names, labels, assignment)
        assert (high.feature, high.high_is_keep) == ("score", True)
        low = single_feature_rule(-numbers, self.names, labels, assignment)
        assert (low.feature, low.high_is_keep) == ("score", False)
        assert low.pr_auc == high.pr_auc
        held_out = assignment[0] == 0
        expected = average_precision_score(labels[held_out], numbers[held_out, 1])
        assert high.pr_auc[0] == pytest.approx(expected)
        assert len(high.pr_auc) == 25

    def test_unknown_ranks_last_in_both_directions(self):
        labels = np.tile([1, 0, 0, 0], 20)
        number = np.where(labels == 1, 5.0, np.nan)[:, None]
        assignment = assign_folds(labels, 0)[None]
        for sign in (1, -1):
            rule = single_feature_rule(sign * number, ("score",), labels, assignment)
            assert rule.pr_auc == [1.0] * 5

    def test_the_choice_is_made_without_the_held_out_fold(self):
        # In fold 0 alone 'decoy' tells the labels; elsewhere it tells nothing, and 'score' much.
        _, labels, _ = self.library()
        draw = np.random.default_rng(5)
        assignment = assign_folds(labels, 0)[None]
        first = assignment[0] == 0
        score = labels + draw.normal(0, 0.3, 200)
        score[first] = draw.random(first.sum())
        decoy = draw.random(200) * 0.001
        decoy[first] = labels[first]
        numbers = np.stack([score, decoy], axis=1)
        rule = single_feature_rule(numbers, ("score", "decoy"), labels, assignment)
        by_score = average_precision_score(labels[first], score[first])
        assert rule.pr_auc[0] == pytest.approx(by_score)
        assert rule.pr_auc[0] < 0.9


class TestTooFewLabels:
    @pytest.mark.parametrize(("keeps", "skips"), [(19, 500), (500, 19), (0, 50), (50, 0), (0, 0)])
    def test_the_line_says_how_many_there_are_and_are_needed(self, keeps, skips):
        labels = np.repeat([1, 0], [keeps, skips])
        with pytest.raises(AtxError) as failure:
            require_enough_labels(labels)
        line = str(failure.value)
        assert f"{keeps} keeps and {skips} skips" in line
        assert "at least 20 of each" in line
        assert "\n" not in line

    def test_twenty_of_each_are_enough(self):
        require_enough_labels(np.repeat([1, 0], 20))
