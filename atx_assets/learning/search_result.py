"""What a search found, and which combination it chooses. Not here: the search (`tuning.py`)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atx_assets.learning.models import Hyperparameters
from atx_assets.schemas import FOLD_SCORES


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        combinations: the combinations tried, in the order of scikit-learn's `ParameterGrid`.
        scores: shape (combinations, folds, len(FOLD_SCORES)), NaN in folds in which a combination
            was not scored; log loss is positive, lower is better.
        objective: the score, one of FOLD_SCORES, that decides.
    """

    combinations: list[Hyperparameters]
    scores: NDArray[np.float64]
    objective: str

    @property
    def values(self) -> NDArray[np.float64]:
        """The objective, higher is better; shape (combinations, folds)."""
        sign = -1 if self.objective == "log_loss" else 1
        values: NDArray[np.float64] = sign * self.scores[:, :, FOLD_SCORES.index(self.objective)]
        return values

    @property
    def means(self) -> NDArray[np.float64]:
        """The mean objective over the scored folds, higher is better; shape (combinations,).

        A fold in which the objective is undefined (ROC-AUC without keeps) is left out.
        """
        return _mean(self.values)

    @property
    def best(self) -> int:
        """Index of the best mean among those scored in every fold, the first if tied."""
        return int(np.nanargmax(np.where(self.in_every_fold, self.means, np.nan)))

    @property
    def in_every_fold(self) -> NDArray[np.bool_]:
        """Which combinations were scored in every fold; shape (combinations,)."""
        # Log loss is defined in every scored fold.
        scored = ~np.isnan(self.scores[:, :, FOLD_SCORES.index("log_loss")])
        found: NDArray[np.bool_] = np.all(scored, axis=1)
        return found

    @property
    def standard_error(self) -> float:
        """The standard error of the best combination's mean objective over the folds."""
        values = self.values[self.best]
        values = values[~np.isnan(values)]
        return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else 0.0

    @property
    def near_best(self) -> NDArray[np.bool_]:
        """Which combinations are within one standard error of the best; shape (combinations,)."""
        means = self.means
        near = means >= means[self.best] - self.standard_error
        found: NDArray[np.bool_] = np.logical_and(near, self.in_every_fold)
        return found

    @property
    def chosen(self) -> int:
        """Index of the simplest of those near the best: fewest trees, then smallest depth.

        Ties go to the best mean, then to the first. The one-standard-error rule is from
        Breiman et al., Classification and Regression Trees (1984), 3.4.3.
        """
        means = self.means

        def simplicity(at: int) -> tuple[float, ...]:
            combination = self.combinations[at]
            return combination["n_estimators"], combination["max_depth"], -means[at]

        return min((int(at) for at in np.flatnonzero(self.near_best)), key=simplicity)


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the known folds, NaN if there are none; shape (combinations,)."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = np.where(known, values, 0).sum(axis=1) / known.sum(axis=1)
    return mean
