"""Why a model gave a title its probability: exact tree contributions, in words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xgboost as xgb
from numpy.typing import NDArray

from atx_assets.learning.features import FeatureEncoding, column_in_words
from atx_assets.learning.folds import SEEDS
from atx_assets.learning.models import side_by_side
from atx_assets.learning.scoring import ScoringBundle, held_out_models

STRONGEST = 3


def reasons(titles: pa.Table, bundle: ScoringBundle) -> list[list[str]]:
    """Name the three features that moved each title's probability most.

    The contributions are those of the models that gave the probability: the mean over the five
    models that did not see the title's label, or the champion's if the bundle did not learn
    from the title.

    Returns:
        For each title, reasons such as "Metascore 88: +1.2"; the number is in log-odds, and
        above zero it favours a keep.
    """
    matrix = bundle.encoding.matrix(titles)
    contributions = np.zeros((titles.num_rows, matrix.shape[1] + 1))
    asked = np.zeros(titles.num_rows, int)
    models = list(held_out_models(titles, bundle))
    found = side_by_side(lambda one: contributions_of(one[2], matrix[one[1]]), models)
    for (_, at, _), of_each in zip(models, found, strict=True):
        contributions[at] += of_each / len(SEEDS)
        asked[at] += 1
    rest = np.flatnonzero(asked == 0)
    contributions[rest] = contributions_of(bundle.model, matrix[rest])
    words = feature_words(bundle.encoding)
    numbers = [_values(titles, n.column, bundle.encoding) for n in bundle.encoding.numeric]
    return [
        _in_words(contributions[row, :-1], matrix[row], words, [values[row] for values in numbers])
        for row in range(titles.num_rows)
    ]


def contributions_of(model: xgb.Booster, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return exact contributions in log-odds, shape (n, features + 1); the last is the bias."""
    if len(matrix) == 0:
        return np.zeros((0, matrix.shape[1] + 1), np.float32)
    found: NDArray[np.float32] = model.predict(
        xgb.DMatrix(matrix, missing=np.nan, nthread=1), pred_contribs=True
    )
    return found


def feature_words(encoding: FeatureEncoding) -> list[tuple[str, str]]:
    """Return each feature in words, in the order of the matrix's columns.

    Returns:
        For a number its name and an empty text; for a category its kind and its name, such as
        `("genre", "Sci-Fi")`.
    """
    numbers = [(column_in_words(n.column), "") for n in encoding.numeric]
    return numbers + [
        (column_in_words(g.column), c.values[0]) for g in encoding.categorical for c in g.categories
    ]


def _in_words(
    contributions: NDArray[np.float64],
    encoded: NDArray[np.float32],
    words: list[tuple[str, str]],
    numbers: list[str],
) -> list[str]:
    strongest = np.argsort(-np.abs(contributions), kind="stable")[:STRONGEST]
    reasons_named = []
    for at in strongest[np.abs(contributions[strongest]) >= 0.05]:
        kind, category = words[at]
        if not category:
            category = numbers[at]
        elif not encoded[at]:
            category = f"not {category}"
        reasons_named.append(f"{kind} {category}: {contributions[at]:+.1f}")
    return reasons_named


def _values(titles: pa.Table, column: str, encoding: FeatureEncoding) -> list[str]:
    """Return one number of each title in words."""
    # NaN, the only value unequal to itself, means unknown.
    form = "g" if column == "release_year" else ",.12g"
    return [
        "unknown" if value != value else format(value, form)
        for value in encoding.known_numbers(titles, column).tolist()
    ]
