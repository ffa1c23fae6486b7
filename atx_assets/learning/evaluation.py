"""How good a recipe is, from models that did not see the labels they are measured on.

Folds, out-of-fold probabilities, measures, the threshold, and the rule to compare with.
Not here: choosing hyperparameters (`tuning.py`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atx_assets.errors import AtxError
from atx_assets.learning.models import Hyperparameters, fit, predict

if TYPE_CHECKING:
    import numpy as np
    import xgboost as xgb

SEEDS = (0, 1, 2, 3, 4)
FOLDS = 5


@dataclass(frozen=True)
class OutOfFold:
    """The models of every fold and seed, and what each said of the rows it had not seen.

    Attributes:
        assignment: shape (seeds, n): the fold in which each row is held out.
        models: models[seed][fold].
        probabilities: float32, shape (seeds, n).
    """

    assignment: np.ndarray[Any, Any]
    models: list[list[xgb.Booster]]
    probabilities: np.ndarray[Any, Any]


def assign_folds(labels: np.ndarray[Any, Any], seed: int) -> np.ndarray[Any, Any]:
    """Return the fold, 0 to 4, in which each row is held out; shape (n,), stratified by label.

    Rows must come ordered by key, so that a title's fold does not depend on the table's order.
    """
    import numpy as np
    from sklearn.model_selection import StratifiedKFold

    fold = np.empty(len(labels), np.int8)
    splitter = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    for number, (_, held_out) in enumerate(splitter.split(labels, labels)):
        fold[held_out] = number
    return fold


def out_of_fold(
    matrix: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], hyperparameters: Hyperparameters
) -> OutOfFold:
    """Fit a model for each fold of each seed, and ask each about the rows it did not see.

    Args:
        matrix: dense float32, shape (n, features), rows ordered by key.
        labels: shape (n,), 0 or 1.
        hyperparameters: the recipe.
    """
    import numpy as np

    assignment = np.stack([assign_folds(labels, seed) for seed in SEEDS])
    probabilities = np.empty((len(SEEDS), len(labels)), np.float32)

    def one(at: tuple[int, int]) -> xgb.Booster:
        seed, fold = at
        held_out = assignment[seed] == fold
        model = fit(matrix[~held_out], labels[~held_out], hyperparameters)
        probabilities[seed, held_out] = predict(model, matrix[held_out])
        return model

    places = [(seed, fold) for seed in range(len(SEEDS)) for fold in range(FOLDS)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        models = list(pool.map(one, places))
    by_seed = [models[at : at + FOLDS] for at in range(0, len(models), FOLDS)]
    return OutOfFold(assignment, by_seed, probabilities)


def fold_measures(
    labels: np.ndarray[Any, Any],
    assignment: np.ndarray[Any, Any],
    probabilities: np.ndarray[Any, Any],
    threshold: float,
) -> dict[str, list[float]]:
    """Measure each fold of each seed by itself.

    Args:
        labels: shape (n,), 0 or 1.
        assignment: shape (seeds, n).
        probabilities: shape (seeds, n), out of fold.
        threshold: the least probability that counts as a keep, for recall, precision and F1.

    Returns:
        By name of measure, a value for each of the folds.
    """
    from sklearn import metrics

    found: dict[str, list[float]] = {}
    for seed in range(len(assignment)):
        for fold in range(FOLDS):
            held_out = assignment[seed] == fold
            truth = labels[held_out]
            answer = probabilities[seed, held_out].astype(float)
            verdict = answer >= threshold
            for name, value in (
                ("pr_auc", metrics.average_precision_score(truth, answer)),
                ("roc_auc", metrics.roc_auc_score(truth, answer)),
                ("recall", metrics.recall_score(truth, verdict, zero_division=0)),
                ("precision", metrics.precision_score(truth, verdict, zero_division=0)),
                ("f1", metrics.f1_score(truth, verdict, zero_division=0)),
                ("brier", metrics.brier_score_loss(truth, answer)),
                ("log_loss", metrics.log_loss(truth, answer, labels=[0, 1])),
            ):
                found.setdefault(name, []).append(float(value))
    return found


def best_f1_threshold(labels: np.ndarray[Any, Any], probability: np.ndarray[Any, Any]) -> float:
    """Return the threshold with the best F1 of keeps, the highest of equals.

    Args:
        labels: shape (n,), 0 or 1.
        probability: out of fold, shape (n,).
    """
    import numpy as np
    from sklearn.metrics import precision_recall_curve

    precision, recall, thresholds = precision_recall_curve(labels, probability)
    both = np.maximum(precision + recall, 1e-12)
    f1 = (2 * precision * recall / both)[:-1]
    return float(thresholds[np.flatnonzero(f1 == f1.max())[-1]])


@dataclass(frozen=True)
class Rule:
    """A rule with no model: rank titles by one number, and its PR-AUC in each fold."""

    feature: str
    high_is_keep: bool
    pr_auc: list[float]


def single_feature_rule(
    numbers: np.ndarray[Any, Any],
    names: Sequence[str],
    labels: np.ndarray[Any, Any],
    assignment: np.ndarray[Any, Any],
) -> Rule:
    """Find the best ranking by one numeric feature, chosen in each fold's training rows.

    Args:
        numbers: shape (n, len(names)), unknown as NaN, which is ranked last.
        names: names of the features.
        labels: shape (n,), 0 or 1.
        assignment: shape (seeds, n).

    Returns:
        The feature and direction best over all rows, and the PR-AUC of each held-out fold under
        the choice made without it.
    """
    import numpy as np
    from sklearn.metrics import average_precision_score

    rankings = [
        np.where(np.isnan(column), -np.inf, sign * column)
        for column in numbers.T
        for sign in (1, -1)
    ]
    rankings = [np.nan_to_num(ranking, neginf=-1e30) for ranking in rankings]

    def best(rows: np.ndarray[Any, Any]) -> int:
        found = [average_precision_score(labels[rows], ranking[rows]) for ranking in rankings]
        return int(np.argmax(found))

    scores = []
    for folds in assignment:
        for fold in range(FOLDS):
            held_out = folds == fold
            ranking = rankings[best(~held_out)]
            scores.append(float(average_precision_score(labels[held_out], ranking[held_out])))
    chosen = best(np.ones(len(labels), bool))
    return Rule(names[chosen // 2], chosen % 2 == 0, scores)


#: The labels of each class without which folds and figures mean nothing.
LEAST_LABELS = 20


def require_enough_labels(labels: np.ndarray[Any, Any]) -> None:
    """Make sure that both classes have `LEAST_LABELS` labels.

    Raises:
        AtxError: one has fewer; the line says how many there are and are needed.
    """
    keeps = int(labels.sum())
    if min(keeps, len(labels) - keeps) < LEAST_LABELS:
        raise AtxError(too_few_labels(keeps, len(labels) - keeps))


def too_few_labels(keeps: int, skips: int) -> str:
    """Say in a line that there are too few labels."""
    return (
        f"not enough labels to learn from: {keeps} keeps and {skips} skips, and at least "
        f"{LEAST_LABELS} of each are needed; judge more films, or check ATX_SOURCE"
    )
