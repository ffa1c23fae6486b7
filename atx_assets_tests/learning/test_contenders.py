"""Who answers, measured fold by fold: agreement with the protocol, blindness, what must be beaten.

The protocol is the program that the contract's figures were measured with.
"""

import math
from functools import cache

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, f1_score, recall_score

from atx_assets.learning.contenders import (
    Contender,
    always_skip,
    model,
    refitted,
    single_feature_rule,
)
from atx_assets.learning.evaluation import OutOfFold, assign_folds, out_of_fold
from atx_assets.learning.folds import FOLDS, SEEDS
from atx_assets.learning.models import fit, predict
from atx_assets.learning.thresholds import threshold_at
from atx_assets.learning.tuning import PLAIN
from atx_assets.operating_point import PRECISION_80, RECALL_95, OperatingPoint

F1 = OperatingPoint()

#: Ours, and the protocol's name of the same figure of a fold.
SAME = {
    "pr_auc": "ap",
    "roc_auc": "auc",
    "brier": "brier",
    "log_loss": "logloss",
    "f1": "f1_cf",
    "recall_at_p80": "rec_at_p80_cf",
    "precision_at_p80": "prec_at_p80_cf",
    "recall_at_r95": "rec_at_r95_cf",
    "precision_at_r95": "prec_at_r95_cf",
}


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.xdist_group("contenders")
class TestAgainstTheProtocol:
    @pytest.mark.parametrize("layout", ["media", "training"])
    @pytest.mark.parametrize("name", SAME)
    def test_measures_of_each_fold_are_those_of_the_protocol(
        self, protocol, measured, layout, name
    ):
        ours = measured(layout)
        folds = protocol.make_folds(ours.library.keys, ours.library.labels)
        oof = ours.held_out.probabilities.astype(float)
        theirs = protocol.score_oof(oof, ours.library.labels, folds)["per_fold"]
        np.testing.assert_allclose(ours.by_fold[name], theirs[SAME[name]], rtol=0, atol=1e-9)

    @pytest.mark.parametrize("layout", ["media", "training"])
    def test_the_protocols_own_run_gives_the_same_figures(self, protocol, measured, layout):
        ours = measured(layout)
        theirs = protocol.evaluate(
            protocol.xgb_baseline,
            pd.DataFrame(ours.library.matrix),
            ours.library.labels,
            ours.library.keys,
            seeds=(0, 3),
        )["per_fold"]
        kept = [*range(5), *range(15, 20)]
        for mine, name in SAME.items():
            np.testing.assert_allclose(
                np.array(ours.by_fold[mine])[kept], theirs[name], rtol=0, atol=1e-9
            )


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.xdist_group("contenders")
class TestGuards:
    """The contract's section 7: a mean of 25 folds may not leave the noise of its own mean."""

    @pytest.mark.parametrize(
        ("layout", "measure", "mean", "spread"),
        [
            ("media", "pr_auc", 0.958, 0.014),
            ("media", "roc_auc", 0.982, 0.007),
            ("training", "pr_auc", 0.881, 0.049),  # without companies
            ("training", "roc_auc", 0.985, 0.006),
        ],
    )
    def test_plain_xgboost_is_as_good_as_it_was(self, measured, layout, measure, mean, spread):
        values = measured(layout).by_fold[measure]
        assert len(values) == 25
        # Folds share rows: their mean varies by about spread * sqrt(1/25 + 1/4), so half of it
        # is a narrow guard.
        assert np.mean(values) == pytest.approx(mean, abs=spread / 2)
        assert np.std(values, ddof=1) == pytest.approx(spread, rel=0.5)

    def test_the_training_export_has_a_measured_roc_auc(self, measured):
        assert np.mean(measured("training").by_fold["roc_auc"]) > 0.95

    @pytest.mark.parametrize(("layout", "least"), [("media", 0.1), ("training", 0.03)])
    def test_the_model_beats_the_best_single_feature(self, measured, layout, least):
        ours = measured(layout)
        library, assignment = ours.library, ours.held_out.assignment
        numeric = len(library.encoding.numeric)
        rule = single_feature_rule(
            library.matrix[:, :numeric], library.encoding.names, library.labels, assignment
        )
        found = np.mean(rule.contender.by_fold(F1)["pr_auc"])
        assert np.mean(ours.by_fold["pr_auc"]) > found + least
        assert found > library.labels.mean()


def told(labels: np.ndarray, scores: np.ndarray, assignment: np.ndarray) -> Contender:
    """A model whose answers are given, in one or more seeds."""
    return model(labels, OutOfFold(assignment, [], scores))


class TestMeasures:
    def test_verdicts_are_at_the_threshold_of_the_other_folds(self):
        # In fold 4 keeps have .9 and skips .8; elsewhere .5 and .4. There .5 is the best
        # threshold of the others, which keeps all; its own labels would have said .9.
        labels = np.tile([0, 1], 10)
        assignment = np.repeat(np.arange(5), 4)[None]
        scores = np.where(labels, 0.5, 0.4) + np.where(assignment[0] == 4, 0.4, 0)
        found = told(labels, scores[None], assignment).by_fold(F1)
        assert found["recall"] == [1.0] * 5
        assert found["precision"] == [1.0] * 4 + [0.5]
        assert found["false_positive_rate"] == [0.0] * 4 + [1.0]
        assert found["pr_auc"] == [1.0] * 5

    def test_no_label_of_a_fold_moves_its_own_threshold(self, made_up):
        held_out = out_of_fold(made_up.matrix, made_up.labels, PLAIN | {"n_estimators": 10})
        verdicts = model(made_up.labels, held_out).verdicts(F1)
        for seed, fold in ((0, 0), (2, 3)):
            mine = held_out.assignment[seed] == fold
            lied = np.where(mine, 1 - made_up.labels, made_up.labels)
            after = model(lied, held_out).verdicts(F1)
            assert np.array_equal(after[seed, mine], verdicts[seed, mine])
            assert not np.array_equal(after, verdicts)

    @pytest.mark.parametrize("text", ["f1", "precision>=0.9", "recall>=0.9"])
    def test_each_fold_is_measured_by_itself_at_the_point(self, made_up, text):
        point = OperatingPoint.parse(text)
        held_out = out_of_fold(made_up.matrix, made_up.labels, PLAIN | {"n_estimators": 10})
        found = model(made_up.labels, held_out).by_fold(point)
        assert {len(values) for values in found.values()} == {25}
        for seed, fold in ((0, 1), (4, 2)):
            mine = held_out.assignment[seed] == fold
            answers = held_out.probabilities[seed].astype(float)
            threshold = threshold_at(point, made_up.labels[~mine], answers[~mine])
            truth, kept = made_up.labels[mine], answers[mine] >= threshold
            at = 5 * seed + fold
            assert found["recall"][at] == pytest.approx(recall_score(truth, kept))
            assert found["f1"][at] == pytest.approx(f1_score(truth, kept))
            ranked = average_precision_score(truth, answers[mine])
            assert found["pr_auc"][at] == pytest.approx(ranked)

    def test_recall_and_precision_are_told_at_a_least_of_either_too(self, made_up):
        held_out = out_of_fold(made_up.matrix, made_up.labels, PLAIN | {"n_estimators": 10})
        contender = model(made_up.labels, held_out)
        found = contender.by_fold(F1)
        for point, at in ((PRECISION_80, "p80"), (RECALL_95, "r95")):
            expected = contender.by_fold(point)
            assert found[f"recall_at_{at}"] == expected["recall"]
            assert found[f"precision_at_{at}"] == expected["precision"]
        assert found["recall_at_p80"] != found["recall_at_r95"]
        assert found["precision_at_p80"] != found["precision_at_r95"]
        assert np.mean(found["recall_at_r95"]) > 0.85

    def test_a_part_is_measured_once_a_seed_over_all_its_folds(self, made_up):
        held_out = out_of_fold(made_up.matrix, made_up.labels, PLAIN | {"n_estimators": 10})
        contender = model(made_up.labels, held_out)
        part = np.arange(len(made_up.labels)) % 7 == 0
        found = contender.of_part(part, F1)
        verdicts = contender.verdicts(F1)
        for seed in SEEDS:
            ranked = average_precision_score(
                made_up.labels[part], held_out.probabilities[seed, part]
            )
            assert found["pr_auc"][seed] == pytest.approx(ranked)
            recall = recall_score(made_up.labels[part], verdicts[seed, part])
            assert found["recall"][seed] == pytest.approx(recall)
        assert {len(values) for values in found.values()} == {len(SEEDS)}

    def test_where_the_point_is_out_of_reach_elsewhere_nothing_is_kept(self):
        labels = np.tile([0, 1], 10)
        assignment = np.repeat(np.arange(5), 4)[None]
        same = told(labels, np.full((1, 20), 0.5), assignment)
        assert not same.verdicts(OperatingPoint("precision", 0.8)).any()
        assert same.by_fold(F1)["recall_at_p80"] == [0.0] * 5
        assert same.by_fold(F1)["recall_at_r95"] == [1.0] * 5


QUICK = PLAIN | {"n_estimators": 10}


class TestRefitted:
    def test_a_recipe_is_asked_once_a_fold_with_that_fold_left_out(self, made_up):
        assignment = np.stack([assign_folds(made_up.labels, seed) for seed in (0, 1)])
        asked = []

        def recipe(train):
            asked.append(train.copy())
            return QUICK

        refitted(made_up.matrix, made_up.labels, assignment, recipe)
        assert len(asked) == 2 * FOLDS
        for at, train in enumerate(asked):
            seed, fold = divmod(at, FOLDS)
            assert train.dtype == bool
            assert np.array_equal(train, assignment[seed] != fold)

    def test_each_fold_is_told_by_its_own_recipe_fitted_on_the_rest(self, made_up):
        assignment = assign_folds(made_up.labels, 0)[None]
        recipes = iter(PLAIN | {"n_estimators": trees} for trees in (1, 2, 3, 4, 5))
        found = refitted(made_up.matrix, made_up.labels, assignment, lambda train: next(recipes))
        for fold in range(FOLDS):
            mine = assignment[0] == fold
            expected = fit(
                made_up.matrix[~mine], made_up.labels[~mine], PLAIN | {"n_estimators": fold + 1}
            )
            answers = predict(expected, made_up.matrix[mine])
            assert np.array_equal(found.scores[0, mine], answers.astype(float))

    def test_thresholds_come_from_answers_blind_within_the_rest(self, made_up):
        assignment = assign_folds(made_up.labels, 0)[None]
        found = refitted(made_up.matrix, made_up.labels, assignment, lambda train: QUICK)
        rest = assignment[0] != 2
        blind = out_of_fold(made_up.matrix[rest], made_up.labels[rest], QUICK, seeds=(0,))
        assert np.array_equal(found.elsewhere(0, 2), blind.probabilities[0].astype(float))

    def test_a_label_that_can_be_memorised_does_not_help(self):
        # Each row has a column of its own: who has seen a row's label knows it for certain.
        draw = np.random.default_rng(3)
        labels = np.repeat([0, 1], 60)
        matrix = np.hstack([np.eye(120), draw.random((120, 2))]).astype(np.float32)
        recipe = {"max_depth": 6, "learning_rate": 0.3, "n_estimators": 60}
        recipe |= {"min_child_weight": 0, "lambda": 0}
        assert average_precision_score(labels, predict(fit(matrix, labels, recipe), matrix)) > 0.99
        assignment = assign_folds(labels, 0)[None]
        found = refitted(matrix, labels, assignment, lambda train: recipe)
        assert average_precision_score(labels, found.scores[0]) < 0.7
        for fold in range(FOLDS):
            rest = labels[assignment[0] != fold]
            assert average_precision_score(rest, found.elsewhere(0, fold)) < 0.7

    def test_rows_that_are_never_held_out_only_teach(self, made_up):
        newest = np.arange(len(made_up.labels)) >= 200
        assignment = np.where(newest, 0, -1)[None]
        found = refitted(made_up.matrix, made_up.labels, assignment, lambda train: QUICK)
        expected = fit(made_up.matrix[:200], made_up.labels[:200], QUICK)
        answers = predict(expected, made_up.matrix[200:])
        assert np.array_equal(found.scores[0, newest], answers.astype(float))
        by_fold = found.by_fold(F1)
        ranked = average_precision_score(made_up.labels[newest], answers)
        assert by_fold["pr_auc"] == [pytest.approx(ranked)]
        assert not found.verdicts(F1)[0, ~newest].any()


class TestAlwaysSkip:
    @pytest.mark.parametrize("share", [0.02, 0.2, 0.5, 0.97])
    def test_its_pr_auc_is_the_share_of_keeps_and_its_recall_0(self, share):
        labels = (np.arange(1000) < 1000 * share).astype(int)
        assignment = np.stack([assign_folds(labels, seed) for seed in (0, 1)])
        for point in (F1, OperatingPoint("precision", 0.5), OperatingPoint("recall", 0.95)):
            found = always_skip(labels, assignment).by_fold(point)
            np.testing.assert_allclose(found["pr_auc"], share)
            np.testing.assert_allclose(found["roc_auc"], 0.5)
            np.testing.assert_allclose(found["brier"], share)
            for name in ("recall", "precision", "f1", "false_positive_rate", "recall_at_p80"):
                assert found[name] == [0.0] * 10
            assert found["recall_at_r95"] == [0.0] * 10
            assert all(math.isinf(loss) for loss in found["log_loss"])


class TestSingleFeatureRule:
    names = ("year_norm", "score_norm")

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
        assert (high.feature, high.high_is_keep) == ("score_norm", True)
        assert str(high) == "score alone, the highest first"
        low = single_feature_rule(-numbers, self.names, labels, assignment)
        assert (low.feature, low.high_is_keep) == ("score_norm", False)
        assert str(low) == "score alone, the lowest first"
        found = high.contender.by_fold(F1)
        assert low.contender.by_fold(F1)["pr_auc"] == found["pr_auc"]
        held_out = assignment[0] == 0
        expected = average_precision_score(labels[held_out], numbers[held_out, 1])
        assert found["pr_auc"][0] == pytest.approx(expected)
        assert len(found["pr_auc"]) == 25

    def test_it_gives_a_ranking_and_no_probabilities(self):
        numbers, labels, assignment = self.library()
        found = single_feature_rule(numbers, self.names, labels, assignment).contender.by_fold(F1)
        assert np.isnan(found["brier"]).all()
        assert np.isnan(found["log_loss"]).all()
        assert np.mean(found["f1"]) > 0.7

    def test_unknown_ranks_last_in_both_directions(self):
        labels = np.tile([1, 0, 0, 0], 20)
        number = np.where(labels == 1, 5.0, np.nan)[:, None]
        assignment = assign_folds(labels, 0)[None]
        for sign in (1, -1):
            rule = single_feature_rule(sign * number, ("score",), labels, assignment)
            assert rule.contender.by_fold(F1)["pr_auc"] == [1.0] * 5

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
        found = rule.contender.by_fold(F1)
        by_score = average_precision_score(labels[first], score[first])
        assert found["pr_auc"][0] == pytest.approx(by_score)
        assert found["pr_auc"][0] < 0.9

    def test_the_threshold_of_a_fold_is_on_the_scale_of_its_own_ranking(self):
        # 'low' is the best where fold 0 is held out, 'big' (a thousand times it) elsewhere.
        draw = np.random.default_rng(6)
        labels = draw.integers(0, 2, 300)
        assignment = assign_folds(labels, 0)[None]
        first = assignment[0] == 0
        low = labels + draw.normal(0, 0.3, 300)
        big = 1000 * (labels + draw.normal(0, 0.35, 300))
        big[first] = 1000 * labels[first]
        rule = single_feature_rule(np.stack([low, big], axis=1), ("low", "big"), labels, assignment)
        assert rule.contender.scores[0, first].max() < 10
        assert rule.contender.scores[0, ~first].max() > 1000
        assert min(rule.contender.by_fold(F1)["recall"]) > 0.8
