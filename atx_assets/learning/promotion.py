"""Whether a new model replaces the champion. Not here: how it is replaced.

The rule: the guards pass, and either the labels changed or the new recipe is not worse than the
champion's, refitted on the same folds of the same rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

#: The chance of calling a recipe worse although it is not.
LEVEL = 0.05
#: Rows held out in a fold, as a share of those trained on: one fifth over four fifths.
HELD_OUT = 0.25
#: A champion's calibration error must stay below this.
CALIBRATION = 0.1


@dataclass(frozen=True)
class Comparison:
    """A new recipe and the champion's, in the same folds.

    Attributes:
        difference: new minus champion, in average precision, mean over the folds.
        p_worse: the p-value for the new one being worse.
    """

    difference: float
    p_worse: float

    @property
    def worse(self) -> bool:
        """Return whether the new recipe is worse by more than chance explains."""
        # NaN, which fails every comparison, counts as worse.
        return not self.p_worse >= LEVEL


@dataclass(frozen=True)
class Decision:
    """Whether a model is promoted, and why, in words; `warning` is empty if all is well."""

    promoted: bool
    reason: str
    warning: str = ""


def compare(new: Sequence[float], champion: Sequence[float]) -> Comparison:
    """Compare two recipes over the same folds: the corrected resampled t-test, one-sided.

    Folds of repeated cross-validation share most of their training rows, so their differences
    vary less than those of new data would: the variance is that of a fold times
    (1/folds + 1/4). Nadeau and Bengio (2003), Inference for the Generalization Error, section 3.

    Args:
        new: the measure in each fold, higher is better.
        champion: the same for the other recipe.
    """
    differences = np.subtract(new, champion)
    mean = float(differences.mean())
    error = float(np.sqrt(differences.var(ddof=1) * (1 / len(differences) + HELD_OUT)))
    if error == 0:
        return Comparison(mean, 0.0 if mean < 0 else 1.0)
    return Comparison(mean, float(stats.t.cdf(mean / error, len(differences) - 1)))


def failed_guards(quality: dict[str, Any]) -> list[str]:
    """Return, in words, which guards a model's quality fails.

    Args:
        quality: the record of `quality.measure_quality`.
    """
    model, rule = quality["model"]["all"], quality["rule"]["all"]["pr_auc"]["mean"]
    missing = sorted(_not_numbers(model))
    if missing:
        return [f"{', '.join(missing)} cannot be measured"]
    failed = []
    # Written so that NaN fails.
    if rule is None or not model["pr_auc"]["mean"] > rule:
        failed.append(
            f"PR-AUC {model['pr_auc']['mean']:.3f} is not above that of the best "
            f"single-feature rule, {'unknown' if rule is None else f'{rule:.3f}'}"
        )
    error = quality["calibration"]["error"]["mean"]
    if error is None or not error < CALIBRATION:
        failed.append(
            f"calibration error {'unknown' if error is None else f'{error:.3f}'} is not "
            f"below {CALIBRATION}"
        )
    return failed


def _not_numbers(measured: dict[str, Any]) -> Iterator[str]:
    for name, value in measured.items():
        if value["mean"] is None or not math.isfinite(value["mean"]):
            yield name


def decide(
    quality: dict[str, Any],
    *,
    champion: int | None = None,
    champion_quality: dict[str, Any] | None = None,
    comparison: Comparison | None = None,
    labels_changed: bool = False,
    declined: bool = False,
) -> Decision:
    """Decide whether a new model becomes the champion.

    Args:
        quality: of the new model.
        champion: the version that it would replace; None if no version scores.
        champion_quality: of that version. If it fails the guards itself, they are no obstacle.
        comparison: with the champion, or with its recipe fitted to the new labels; None if
            that is the new model's recipe.
        labels_changed: the champion learned from other labels.
        declined: a person removed this same model as champion, or one that knew all of its
            labels.
    """
    failed = "; ".join(failed_guards(quality))
    warning = f"a guard fails: {failed}" if failed else ""
    if champion is None or champion_quality is None:
        return Decision(True, "the first model for these films", warning)
    against = (
        f"PR-AUC {comparison.difference:+.4f} against version {champion} in the same folds "
        f"(p of being worse {comparison.p_worse:.2f})"
        if comparison
        else f"the recipe is that of version {champion}"
    )
    if declined:
        return Decision(
            False, f"a person put version {champion} in its place; no label is newer; {against}"
        )
    if failed and not failed_guards(champion_quality):
        return Decision(False, f"{warning}; {against}")
    if labels_changed and not failed:
        return Decision(True, f"the labels changed and all guards pass; {against}")
    if comparison and comparison.worse:
        return Decision(False, f"worse; {against}")
    return Decision(True, f"not worse; {against}", warning)
