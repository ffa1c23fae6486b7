"""What is reported of a model against the truth, where the truth is known because we made it.

Titles are drawn from a known distribution, and each is a keep with a known chance. What a report
on 1,500 of them promises is compared with what 100,000 fresh ones give. The margins held for ten
seeds; all ten are in `make soak`, three in `make test`, and one in its fast part.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
import pytest
import xgboost as xgb
from scipy import stats
from sklearn.metrics import average_precision_score, roc_auc_score

from atx_assets.learning import contenders
from atx_assets.learning.evaluation import OutOfFold, assign_folds, fold_rows, out_of_fold
from atx_assets.learning.leaks import telling_features
from atx_assets.learning.measures import calibration_error
from atx_assets.learning.models import fit, predict
from atx_assets.learning.review import likely_wrong
from atx_assets.learning.thresholds import threshold_at
from atx_assets.learning.tuning import PLAIN, race
from atx_assets.operating_point import ALTERNATIVES, OperatingPoint
from atx_assets_tests.builders.scale import times

TITLES, FRESH = 1500, 100_000
F1 = OperatingPoint()
RECIPE = PLAIN | {"n_estimators": 60}
#: Without any restraint: it learns the noise by heart and is far too sure.
BOLD = PLAIN | {"max_depth": 9, "learning_rate": 0.3, "n_estimators": 200}
BOLD |= {"lambda": 0, "min_child_weight": 0}
GRID = {
    "max_depth": (2, 4),
    "learning_rate": (0.1,),
    "n_estimators": (30, 80),
    "subsample": (0.8,),
    "colsample_bytree": (0.8,),
    "gamma": (0,),
}
MORE = (0, 1, 2, 4, 5, 6, 7, 8, 9)[: times(2, 9)]
SEEDS = [3, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MORE)]
MEASURES: dict[str, Callable[..., float]] = {
    "pr_auc": average_precision_score,
    "roc_auc": roc_auc_score,
}


@dataclass(frozen=True)
class Planted:
    """A library with a known taste in it; a quarter are keeps."""

    matrix: np.ndarray
    labels: np.ndarray

    @cached_property
    def held_out(self) -> OutOfFold:
        return out_of_fold(self.matrix, self.labels, RECIPE)

    @cached_property
    def of_fresh(self) -> list[np.ndarray]:
        """What the models of one seed say of fresh titles.

        Of four fifths of the titles, as those that the figures are measured on.
        """
        return answers_to_fresh(self.held_out.models[0])

    @property
    def models(self) -> contenders.Contender:
        return contenders.model(self.labels, self.held_out)

    @property
    def blind(self) -> np.ndarray:
        """The mean of the five blind answers, float64, as scoring has it."""
        return self.held_out.probabilities.mean(axis=0, dtype=float)


@cache
def planted(seed: int, titles: int = TITLES) -> Planted:
    draw = np.random.default_rng(seed)
    numbers = draw.random((titles, 4))
    flags = draw.random((titles, 8)) < np.linspace(0.05, 0.4, 8)
    taste = -5.5 + 7 * numbers[:, 0] + 4 * (numbers[:, 1] > 0.6) * flags[:, 7]
    taste += 3 * flags[:, 5] * numbers[:, 2] - 5 * flags[:, 6]
    labels = (draw.random(titles) < 1 / (1 + np.exp(-1.5 * taste))).astype(int)
    # The last number tells nothing, and of a tenth it is not known.
    numbers[draw.random(titles) < 0.1, 3] = np.nan
    return Planted(np.hstack([numbers, flags]).astype(np.float32), labels)


def fresh() -> Planted:
    return planted(999, FRESH)


def answers_to_fresh(models: list[xgb.Booster]) -> list[np.ndarray]:
    return [predict(model, fresh().matrix).astype(float) for model in models]


def truth(answers: list[np.ndarray], measure: Callable[..., float]) -> float:
    """The mean of a measure of answers to fresh titles."""
    return float(np.mean([measure(fresh().labels, given) for given in answers]))


def margin(values: list[float]) -> float:
    """Half of the 95% interval of the mean over folds, which share their training rows."""
    error = np.std(values, ddof=1) * (1 / len(values) + 1 / 4) ** 0.5
    return float(stats.t.ppf(0.975, len(values) - 1) * error)


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_the_reported_areas_cover_those_on_fresh_titles(seed):
    library = planted(seed)
    by_fold = contenders.model(library.labels, library.held_out).by_fold(F1)
    for name, measure in MEASURES.items():
        true = truth(library.of_fresh, measure)
        assert abs(np.mean(by_fold[name]) - true) < margin(by_fold[name])


@pytest.mark.parametrize("seed", SEEDS)
def test_figures_on_titles_that_the_models_saw_lie_outside_of_what_is_allowed(seed):
    """Without this the test above would prove little."""
    library = planted(seed)
    by_fold = contenders.model(library.labels, library.held_out).by_fold(F1)
    seen = []
    for fold, model in enumerate(library.held_out.models[0]):
        rows = library.held_out.assignment[0] != fold
        answers = predict(model, library.matrix[rows])
        seen.append(average_precision_score(library.labels[rows], answers))
    true = truth(library.of_fresh, average_precision_score)
    assert np.mean(seen) > true + margin(by_fold["pr_auc"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.slow
def test_the_nested_figures_of_a_search_cover_those_on_fresh_titles(seed):
    library = planted(seed)
    models = []

    def recipe(train: np.ndarray) -> dict[str, Any]:
        labels = library.labels[train]
        found = race(library.matrix[train], labels, fold_rows(labels), GRID, flags_from=4)
        chosen = found.combinations[found.chosen]
        models.append(fit(library.matrix[train], labels, chosen))
        return chosen

    outer = assign_folds(library.labels, 0)[None]
    answers = contenders.refitted(library.matrix, library.labels, outer, recipe)
    by_fold = answers.by_fold(F1)
    assert len(models) == len(by_fold["pr_auc"]) == 5
    for name, measure in MEASURES.items():
        true = truth(answers_to_fresh(models), measure)
        assert abs(np.mean(by_fold[name]) - true) < margin(by_fold[name])


def reported_calibration(library: Planted, held_out: OutOfFold) -> float:
    errors = [calibration_error(library.labels, a.astype(float)) for a in held_out.probabilities]
    return float(np.mean(errors))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_reported_calibration_error_is_near_that_on_fresh_titles(seed):
    library = planted(seed)
    reported = reported_calibration(library, library.held_out)
    assert reported == pytest.approx(truth(library.of_fresh, calibration_error), abs=0.02)
    assert reported < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(times(1, 3)))
def test_the_calibration_error_of_models_that_are_too_sure_is_reported_too(seed):
    library = planted(seed)
    held_out = out_of_fold(library.matrix, library.labels, BOLD)
    reported = reported_calibration(library, held_out)
    true = truth(answers_to_fresh(held_out.models[0]), calibration_error)
    assert reported == pytest.approx(true, abs=0.02)
    assert reported > 0.07


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("text", ["f1", "precision>=0.8", "recall>=0.95"])
def test_precision_and_recall_that_a_threshold_promises_hold_on_fresh_titles(seed, text):
    library, new = planted(seed), fresh()
    point = OperatingPoint.parse(text)
    assert point in ALTERNATIVES
    threshold = threshold_at(point, library.labels, library.blind)
    promised = library.models.at(point)
    champion = fit(library.matrix, library.labels, RECIPE)
    kept = predict(champion, new.matrix) >= threshold
    # Three standard errors of a share of the 400 keeps that the promise rests on.
    near = 3 * (0.8 * 0.2 / 400) ** 0.5
    assert np.mean(promised["precision"]) == pytest.approx(new.labels[kept].mean(), abs=near)
    assert np.mean(promised["recall"]) == pytest.approx(kept[new.labels == 1].mean(), abs=near)


@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_labels_come_first_among_those_to_label_again(seed):
    honest = planted(seed)
    wrong = np.zeros(TITLES, bool)
    wrong[np.random.default_rng(1000 + seed).choice(TITLES, TITLES // 20, replace=False)] = True
    library = Planted(honest.matrix, np.where(wrong, 1 - honest.labels, honest.labels))
    ranked = likely_wrong(library.labels, library.blind, library.blind, np.zeros(TITLES, bool))
    first = ranked[: wrong.sum()]
    assert wrong[first].mean() > 5 * wrong.mean()
    worth = np.zeros(TITLES)
    worth[ranked] = np.arange(len(ranked), 0, -1)
    assert roc_auc_score(wrong, worth) > 0.8


@pytest.mark.parametrize("seed", range(10))
def test_a_planted_leak_is_found_and_nothing_honest_is(seed):
    library = planted(seed)
    draw = np.random.default_rng(2000 + seed)
    noisy = np.where(draw.random(TITLES) < 0.002, 1 - library.labels, library.labels)
    honest = [f"honest {number}" for number in range(library.matrix.shape[1])]
    leaks = {
        "copy": noisy,
        "negative": -noisy,
        "known for keeps": np.where(noisy == 1, draw.random(TITLES), np.nan),
        "known for skips": np.where(noisy == 0, draw.random(TITLES), np.nan),
    }
    matrix = np.column_stack([library.matrix, *leaks.values()]).astype(np.float32)
    found = telling_features(matrix, library.labels, [*honest, *leaks])
    assert {name for name, _ in found} == set(leaks)
    assert telling_features(library.matrix, library.labels, honest) == []
