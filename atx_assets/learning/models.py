"""Fitting and asking XGBoost models: one way to do each, used by search, evaluation and scoring.

Not here: which hyperparameters (`tuning.py`), how good the answer is (`evaluation.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import xgboost as xgb

#: A value of each key of the search grid, for instance `{"max_depth": 3, ...}`.
Hyperparameters = Mapping[str, float | int]


def training_parameters(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return the parameters of `xgboost.train` for a combination of the grid."""
    chosen = {k: v for k, v in hyperparameters.items() if k != "n_estimators"}
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "seed": 0,
        # One thread a model, several models at once: trees this small gain nothing from more.
        "nthread": 1,
        "verbosity": 0,
        **chosen,
    }


def fit(
    matrix: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], hyperparameters: Hyperparameters
) -> xgb.Booster:
    """Fit a classifier on a dense float32 matrix.

    Args:
        matrix: shape (n, features); 0 is 0.0, unknown is NaN.
        labels: shape (n,), 0 or 1.
        hyperparameters: `n_estimators` and any other parameter of the booster.
    """
    import xgboost as xgb

    data = xgb.QuantileDMatrix(matrix, labels, nthread=1)
    return xgb.train(
        training_parameters(hyperparameters), data, int(hyperparameters["n_estimators"])
    )


def predict(model: xgb.Booster, matrix: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the probability of a keep, float32, shape (n,), for a dense matrix (n, features)."""
    import numpy as np

    answer: np.ndarray[Any, Any] = model.inplace_predict(matrix, missing=np.nan)
    return answer


@contextmanager
def one_thread() -> Iterator[None]:
    """Have XGBoost work in one thread within the block; the answers are the same to the bit.

    For a few films: its threads wait for one another, turning, ten times longer than they work.
    """
    import xgboost as xgb

    with xgb.config_context(nthread=1):
        yield


def fingerprint(models: Iterable[xgb.Booster], features: int) -> str:
    """Return a sha256 of what models answer about made-up films.

    A model that another XGBoost reads may answer otherwise: 2.1 reads those of 3.2, and no warning
    tells that every probability is another one.
    """
    import numpy as np

    random = np.random.default_rng(0)
    films = random.random((64, features), np.float32)
    films[random.random(films.shape) < 0.1] = np.nan
    digest = hashlib.sha256()
    for model in models:
        digest.update(predict(model, films).tobytes())
    return digest.hexdigest()
