"""Which features a model goes by, and in which direction."""

import numpy as np
import pytest

from atx_assets.learning.importance import importance
from atx_assets.learning.models import fit
from atx_assets.learning.reasons import contributions_of

RECIPE = {"max_depth": 2, "learning_rate": 0.3, "n_estimators": 20}


@pytest.fixture(scope="module")
def taste() -> tuple[np.ndarray, np.ndarray]:
    """Keeps are high in the first number and low in the third, which matters less."""
    draw = np.random.default_rng(5)
    matrix = draw.random((600, 4)).astype(np.float32)
    labels = (3 * matrix[:, 0] - matrix[:, 2] + 0.1 * draw.random(600) > 1).astype(int)
    matrix[::7, 2] = np.nan
    return matrix, labels


def test_features_come_by_their_mean_absolute_contribution(taste):
    matrix, labels = taste
    model = fit(matrix, labels, RECIPE)
    found = importance(model, matrix)
    assert [feature.at for feature in found[:2]] == [0, 2]
    expected = np.abs(contributions_of(model, matrix)[:, :-1]).mean(axis=0)
    for feature in found:
        assert feature.strength == pytest.approx(expected[feature.at])


def test_the_direction_says_what_more_of_a_feature_speaks_for(taste):
    matrix, labels = taste
    by_feature = {f.at: f for f in importance(fit(matrix, labels, RECIPE), matrix)}
    assert by_feature[0].direction > 0.8
    assert by_feature[2].direction < -0.7


def test_a_flag_has_a_direction_too():
    """Kept out: a column of two values taken for one that never changes."""
    draw = np.random.default_rng(7)
    flag = (draw.random(300) < 0.4).astype(np.float32)
    model = fit(flag[:, None], flag.astype(int), {**RECIPE, "n_estimators": 1})
    assert importance(model, flag[:, None])[0].direction == pytest.approx(1)


def test_a_feature_that_moves_nothing_is_left_out(taste):
    matrix, labels = taste
    matrix = np.column_stack([matrix, np.zeros(len(matrix), np.float32)])
    assert 4 not in [f.at for f in importance(fit(matrix, labels, RECIPE), matrix)]


def test_no_titles_have_no_features_that_matter(taste):
    matrix, labels = taste
    assert importance(fit(matrix, labels, RECIPE), matrix[:0]) == []
