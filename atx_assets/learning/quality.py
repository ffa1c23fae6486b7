"""Everything known about how good a model is, as one record that JSON can hold.

Each contender is measured on all labels fold by fold, on those from people and from rules, and on
the titles newest in the database. Not here: how (`contenders.py`, `measures.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning import contenders
from atx_assets.learning.contenders import Contender
from atx_assets.learning.evaluation import OutOfFold
from atx_assets.learning.folds import FOLDS, LEAST_LABELS
from atx_assets.learning.measures import calibration_table, spreads
from atx_assets.learning.models import Hyperparameters
from atx_assets.learning.thresholds import threshold_at
from atx_assets.operating_point import ALTERNATIVES, OperatingPoint

#: The share of the titles, the earliest in the database, that trains for the figures of the newest.
OLDEST = 0.8
#: The largest share for the newest, if many titles came at the moment of the cut.
MOST = 0.4
#: The slices that every contender is measured on; a slice without titles is left out.
ALL, HUMAN, RULE, NEWEST = "all", "human", "rule", "newest"


@dataclass(frozen=True)
class Evidence:
    """What quality is measured on: n training rows ordered by key.

    Attributes:
        matrix: dense float32, shape (n, features), the numeric features first.
        labels: shape (n,), 0 or 1.
        names: of the features.
        numeric: how many of them are numeric.
        sources: shape (n,): `human` or `rule`, who gave the label.
        created: microseconds since 1970, shape (n,): when the title came to the database, NaN
            if unknown.
        point: where verdicts are taken.
    """

    matrix: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: list[str]
    numeric: int
    sources: NDArray[np.object_]
    created: NDArray[np.float64]
    point: OperatingPoint

    def slices(self) -> dict[str, NDArray[np.bool_]]:
        """Return the rows of each slice; bool, shape (n,)."""
        found = {ALL: np.ones(len(self.labels), bool)}
        found |= {source: self.sources == source for source in (HUMAN, RULE)}
        newest = newest_rows(self.created, self.labels)
        if newest is not None:
            found[NEWEST] = newest
        return {name: rows for name, rows in found.items() if rows.any()}


def newest_rows(
    created: NDArray[np.float64], labels: NDArray[np.int64]
) -> NDArray[np.bool_] | None:
    """Return which titles are the newest fifth in the database; None if the times do not show it.

    They do not if some are unknown, if the fifth cannot be cut between two moments (a table filled
    in one step), or if a part would have too few labels of a class.

    Args:
        created: microseconds since 1970, shape (n,), NaN for unknown.
        labels: shape (n,), 0 or 1.
    """
    if np.isnan(created).any():
        return None
    moment = np.sort(created)[round(OLDEST * len(created))]
    newest: NDArray[np.bool_] = created >= moment
    if newest.mean() > MOST:
        return None
    fewest = min(np.bincount(labels[part], minlength=2).min() for part in (newest, ~newest))
    return newest if fewest >= LEAST_LABELS else None


def measure_recipe(
    evidence: Evidence, hyperparameters: Hyperparameters, held_out: OutOfFold
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """Measure the models of one recipe on every slice.

    Args:
        evidence: the training rows.
        hyperparameters: the recipe.
        held_out: its models of the folds.

    Returns:
        By slice and measure, mean and standard deviation; and by measure, the value in each of
        the 25 folds.
    """
    models = contenders.model(evidence.labels, held_out)
    newest = _newest_assignment(evidence)
    refitted = None
    if newest is not None:
        refitted = contenders.refitted(
            evidence.matrix, evidence.labels, newest, lambda _: hyperparameters
        )
    return _by_slice(models, refitted, evidence)


def measure_quality(
    evidence: Evidence,
    hyperparameters: Hyperparameters,
    held_out: OutOfFold,
    nested: dict[str, Any],
) -> tuple[dict[str, Any], list[float]]:
    """Measure a recipe, together with what it must beat.

    Args:
        evidence: the training rows.
        hyperparameters: the recipe.
        held_out: its models of the folds.
        nested: the headline figures, by measure, from a search that did not see the rows that
            they are measured on.

    Returns:
        The record: `slices` (titles and keeps of each), by contender (`model`, `always_skip`,
        `rule`), slice and measure the mean and standard deviation, `the_rule` in words,
        `nested`, `model_there` (the model in the folds of `nested`), `calibration` and
        `alternatives`; and the average precision in each fold.
    """
    numbers, labels = evidence.matrix[:, : evidence.numeric], evidence.labels
    model, by_fold = measure_recipe(evidence, hyperparameters, held_out)
    rule = contenders.single_feature_rule(numbers, evidence.names, labels, held_out.assignment)
    skip = contenders.always_skip(labels, held_out.assignment)
    newest = _newest_assignment(evidence)
    newest_rule = newest_skip = None
    if newest is not None:
        found = contenders.single_feature_rule(numbers, evidence.names, labels, newest)
        newest_rule, newest_skip = found.contender, contenders.always_skip(labels, newest)
    blind = held_out.probabilities.astype(float)
    return {
        "slices": _about_slices(evidence),
        "model": model,
        "always_skip": _by_slice(skip, newest_skip, evidence)[0],
        "rule": _by_slice(rule.contender, newest_rule, evidence)[0],
        "the_rule": str(rule),
        "nested": nested,
        # The nested folds are those of the first seed, so the comparison must use the same ones.
        "model_there": spreads({name: values[:FOLDS] for name, values in by_fold.items()}),
        "calibration": {
            "error": model[ALL]["calibration_error"],
            "table": calibration_table(np.tile(labels, len(blind)), blind.ravel()),
        },
        "alternatives": _alternatives(contenders.model(labels, held_out), evidence.point),
    }, by_fold["pr_auc"]


def _alternatives(models: Contender, in_use: OperatingPoint) -> list[dict[str, Any]]:
    """Return what each operating point would give.

    The threshold is that of the mean over the seeds on all rows, as scores use it; its results are
    measured with thresholds that did not see the fold.
    """
    # In float64, as scoring does: in float32 a threshold may be above its own title.
    answers = models.scores.mean(axis=0)
    points = ALTERNATIVES if in_use in ALTERNATIVES else (in_use, *ALTERNATIVES)
    rows = []
    for point in points:
        threshold = threshold_at(point, models.labels, answers)
        reached = threshold != float("inf")
        measured = spreads(models.at(point))
        rows.append(
            {
                "operating_point": str(point),
                "in_use": point == in_use,
                "threshold": threshold if reached else None,
                **{name: measured[name]["mean"] for name in ("precision", "recall", "f1")},
                "predicted_keep": int((answers >= threshold).sum()),
            }
        )
    return rows


def _by_slice(
    everywhere: Contender, newest: Contender | None, evidence: Evidence
) -> tuple[dict[str, dict[str, Any]], dict[str, list[float]]]:
    """Measure a contender on every slice; return that, and its measures in each fold."""
    point = evidence.point
    by_fold = everywhere.by_fold(point)
    found = {}
    for name, rows in evidence.slices().items():
        contender = newest if name == NEWEST and newest is not None else everywhere
        if name == ALL:
            measured = by_fold
        else:
            of_newest = name == NEWEST
            measured = contender.by_fold(point) if of_newest else contender.of_part(rows, point)
        errors = contender.calibration_errors(rows)
        found[name] = spreads({**measured, "calibration_error": errors})
    return found, by_fold


def _newest_assignment(evidence: Evidence) -> NDArray[np.int64] | None:
    """Hold out the newest titles, once, and no others; shape (1, n)."""
    newest = newest_rows(evidence.created, evidence.labels)
    return None if newest is None else np.where(newest, 0, -1)[None]


def _about_slices(evidence: Evidence) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {
        name: {"titles": int(rows.sum()), "keeps": int(evidence.labels[rows].sum())}
        for name, rows in evidence.slices().items()
    }
    if NEWEST in found:
        first = evidence.created[evidence.slices()[NEWEST]].min()
        since = datetime.fromtimestamp(first / 1e6, UTC)
        found[NEWEST]["since"] = since.date().isoformat()
    return found
