"""What is drawn of films: each group whole, and something to see where little is known."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from atx_assets.report import figures
from atx_assets.report.drawing import KEEP, SKIP, canvas, png
from atx_assets.report.scored_films import Scored


class Encoding:
    """Knows the numbers that it is given."""

    def __init__(self, **numbers: list[float]) -> None:
        self.numbers = numbers
        self.numeric = [SimpleNamespace(column=name) for name in numbers]

    def known_numbers(self, titles: pa.Table, name: str) -> np.ndarray:
        return np.array(self.numbers[name], float)


def scored(probability: list[float], labels: list[bool | None], **numbers: list[float]) -> Scored:
    results = pa.table(
        {
            "probability": pa.array(probability, pa.float64()),
            "predicted": [p >= 0.5 for p in probability],
            "actual": pa.array(labels, pa.bool_()),
        }
    )
    bundle = SimpleNamespace(encoding=Encoding(**numbers), threshold=0.5)
    return Scored(pa.table({"key": [str(n) for n in range(len(labels))]}), results, bundle)


def labels_of(axis) -> list[str]:
    return [label.get_text() for label in axis.get_xticklabels()]


def test_a_violin_draws_enough_of_each_group_and_counts_all_of_it(monkeypatch):
    """Kept out: of a few labels among a million films, hardly one was drawn."""
    monkeypatch.setattr(figures, "_MOST", 50)
    _, axes = canvas(1, 1, (3, 3))
    drawn = []
    plot = axes.flat[0].violinplot
    axes.flat[0].violinplot = lambda values, **how: drawn.append(len(values)) or plot(values, **how)
    keep = np.arange(1000) < 40
    values = np.arange(1000.0)
    values[0] = np.nan
    figures._violin(axes.flat[0], values, {"skip": (SKIP, ~keep), "keep": (KEEP, keep)}, log=False)
    assert labels_of(axes.flat[0]) == ["skip\nn=960", "keep\nn=39"]
    assert drawn[1] == 39
    assert 25 < drawn[0] <= 50


def test_films_are_told_apart_by_prediction_and_by_label():
    films = scored([0.9, 0.8, 0.1, 0.2], [True, None, False, True], metascore=[80, 70, 20, 30])
    drawn = figures.violin(films, "metascore")
    assert labels_of(drawn.axes[0]) == ["skip\nn=2", "keep\nn=2"]
    assert labels_of(drawn.axes[1]) == ["skip\nn=1", "keep\nn=2", "no label\nn=1"]


def test_votes_are_drawn_on_a_log_scale_without_the_unknown():
    films = scored([0.9, 0.1, 0.1], [True, False, None], imdb_votes=[100_000, 10, 0])
    assert figures._values(films, "imdb_votes")[:2].tolist() == [5.0, 1.0]
    assert np.isnan(figures._values(films, "imdb_votes")[2])
    assert figures.axis_name("imdb_votes") == "IMDb votes (log scale)"


def test_a_number_that_no_film_knows_is_not_shown():
    unknown = [float("nan")] * 2
    films = scored([0.9, 0.1], [True, False], metascore=[80, 20], imdb_rating=unknown)
    assert figures.numbers_of(films) == ["metascore"]


@pytest.mark.parametrize("numbers", [{}, {"metascore": [50, 50, 50]}])
def test_films_that_do_not_differ_are_drawn_all_the_same(numbers):
    """Kept out: a library of which nothing is known had no report."""
    films = scored([0.5, 0.5, 0.5], [True, None, False], **numbers)
    for draw in (figures.correlations, figures.probabilities):
        assert png(draw(films)).startswith(b"\x89PNG")


def test_correlations_are_those_of_what_both_films_know():
    films = scored(
        [0.1, 0.2, 0.3, 0.9],
        [None] * 4,
        metascore=[10, 20, 30, float("nan")],
        rt_score=[3, 2, 1, 9],
    )
    texts = [text.get_text() for text in figures.correlations(films).axes[0].texts]
    # From the bottom: probability, Metascore, Rotten Tomatoes, each with RT, Metascore and itself.
    assert texts[3:6] == ["-1.00", "1.00", "1.00"]
    assert texts[6] == "1.00"
