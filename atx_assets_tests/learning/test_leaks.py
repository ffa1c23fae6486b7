"""Features that tell the label all by themselves."""

import numpy as np
import pytest

from atx_assets.learning.leaks import TOO_GOOD, telling_features


@pytest.fixture
def labels() -> np.ndarray:
    return (np.random.default_rng(0).random(500) < 0.3).astype(int)


def found(labels, **columns) -> list[tuple[str, float]]:
    return telling_features(np.column_stack(list(columns.values())), labels, list(columns))


def test_a_copy_of_the_label_and_its_negative_are_found(labels):
    noise = np.random.default_rng(1).random(500)
    assert found(labels, noise=noise, copy=labels, negative=1 - labels) == [
        ("copy", 1.0),
        ("negative", 1.0),
    ]


@pytest.mark.parametrize("known_for", [0, 1])
def test_a_number_known_for_one_class_alone_is_found(labels, known_for):
    noise = np.random.default_rng(1).random(500)
    number = np.where(labels == known_for, noise, np.nan)
    assert found(labels, noise=noise, number=number) == [("number", 1.0)]


def test_a_number_missing_at_random_is_not_found(labels):
    draw = np.random.default_rng(1)
    number = np.where(draw.random(500) < 0.5, draw.normal(2 * labels, 1), np.nan)
    assert found(labels, number=number) == []


def test_constant_and_unknown_columns_are_not_found(labels):
    assert found(labels, one=np.ones(500), unknown=np.full(500, np.nan)) == []


@pytest.mark.parametrize(("worse", "expected"), [(0.012, []), (0.008, ["number"])])
def test_the_limit_is_a_roc_auc_of_99_hundredths(worse, expected):
    # One keep below a share of the skips: the area is 1 - share / keeps.
    skips, keeps = 1000, 10
    labels = np.repeat([0, 1], [skips, keeps])
    number = np.arange(skips + keeps, dtype=float)
    number[-1] = skips * (1 - worse * keeps) - 0.5
    (area,) = [area for _, area in found(labels, number=number)] or [1 - worse]
    assert [name for name, _ in found(labels, number=number)] == expected
    assert area == pytest.approx(1 - worse)
    assert TOO_GOOD == 0.99


def test_the_best_comes_first(labels):
    draw = np.random.default_rng(1)
    good, better = draw.normal(8 * labels, 2), draw.normal(12 * labels, 2)
    names = found(labels, good=good, better=better, copy=labels)
    assert [name for name, _ in names] == ["copy", "better", "good"]


@pytest.mark.real_data
@pytest.mark.slow
@pytest.mark.parametrize("layout", ["media", "training"])
def test_no_feature_of_a_real_library_is_called_a_leak(real, layout):
    library = real(layout)
    assert telling_features(library.matrix, library.labels, library.encoding.names) == []
