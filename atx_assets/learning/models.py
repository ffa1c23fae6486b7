"""Fitting XGBoost models and predicting with them: one way each, for search, evaluation, scoring.

Not here: which hyperparameters (`tuning.py`), how good the answers are (`evaluation.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray

from atx_assets.learning.processors import usable_processors

Given = TypeVar("Given")
Answer = TypeVar("Answer")

#: One value for each key of the search grid, for instance `{"max_depth": 3, ...}`.
Hyperparameters = Mapping[str, float | int]


def training_parameters(hyperparameters: Hyperparameters) -> dict[str, Any]:
    """Return the parameters of `xgboost.train` for a combination of the grid."""
    chosen = {k: v for k, v in hyperparameters.items() if k != "n_estimators"}
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "seed": 0,
        # One thread per model, several models in parallel: trees this small gain nothing from more.
        "nthread": 1,
        "verbosity": 0,
        **chosen,
    }


def fit(
    matrix: NDArray[np.float32], labels: NDArray[np.int64], hyperparameters: Hyperparameters
) -> xgb.Booster:
    """Fit a classifier on a dense float32 matrix.

    Args:
        matrix: shape (n, features); 0 is 0.0, unknown is NaN.
        labels: shape (n,), 0 or 1.
        hyperparameters: `n_estimators` and any other parameter of the booster.
    """
    data = xgb.QuantileDMatrix(matrix, labels, nthread=1)
    return xgb.train(
        training_parameters(hyperparameters), data, int(hyperparameters["n_estimators"])
    )


def predict(model: xgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of a keep, float32, shape (n,), for a dense matrix (n, features)."""
    answer: NDArray[np.float32] = model.inplace_predict(matrix, missing=np.nan)
    return answer


def alone(ask: Callable[[], Answer]) -> Answer:
    """Call XGBoost for something small, in a thread that wakes none of XGBoost's own.

    Reading a model takes 1 ms this way, and 8 ms with its threads, which spin while they wait for
    each other: on a busy machine that adds up to seconds for the 25 models of the folds.
    """
    (answer,) = side_by_side(lambda _: ask(), [None])
    return answer


def side_by_side(ask: Callable[[Given], Answer], given: Sequence[Given]) -> list[Answer]:
    """Call `ask` for several things in parallel, as `alone` does; return answers in order."""

    def wake_no_others() -> None:
        # Applies to the calling thread and cannot be undone, so that thread is one that ends.
        xgb.set_config(nthread=1)

    threads = min(usable_processors(), len(given)) or 1
    with ThreadPoolExecutor(threads, initializer=wake_no_others) as pool:
        return list(pool.map(ask, given))


def fingerprint(models: Iterable[xgb.Booster], features: int) -> str:
    """Return a sha256 of what models answer about made-up films.

    A model read by another version of XGBoost may answer differently: 2.1 reads models of 3.2, and
    every probability differs without a warning.
    """
    random = np.random.default_rng(0)
    films = random.random((64, features), np.float32)
    films[random.random(films.shape) < 0.1] = np.nan
    digest = hashlib.sha256()
    for answer in alone(lambda: [predict(model, films) for model in models]):
        digest.update(answer.tobytes())
    return digest.hexdigest()
