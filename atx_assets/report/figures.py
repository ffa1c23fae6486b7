"""The figures of films and what the model says of them. Not here: its quality, how they are saved.

Those are in `quality_figures.py` and `drawing.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from atx_assets.learning.importance import MOST, importance
from atx_assets.learning.reasons import feature_words
from atx_assets.report.drawing import KEEP, NEITHER, SKIP, canvas
from atx_assets.report.scored_films import Scored
from atx_assets.report.shares import Share

#: How the axes of the numbers are named, and which are drawn on a log scale.
_AXES = {
    "rt_score": "Rotten Tomatoes, %",
    "metascore": "Metascore",
    "imdb_rating": "IMDb rating × 10",
    "imdb_votes": "IMDb votes",
    "release_year": "release year",
    "tmdb_rating": "TMDb rating",
    "tmdb_votes": "TMDb votes",
    "budget": "budget, US$",
    "revenue": "revenue, US$",
    "runtime": "running time, minutes",
}
_LOG = {"imdb_votes", "tmdb_votes", "budget", "revenue"}
#: The numbers of the original's violins.
ORIGINAL = ("rt_score", "metascore", "imdb_rating", "imdb_votes", "release_year")

#: Films drawn per group; if there are more, evenly spaced ones: the violin looks the same.
_MOST = 20_000
#: Features and categories named in a figure.
SHOWN = 15
#: The longest category name in a figure.
_LONGEST = 28
# Not plain black, which a page recolours: this colour must suit the cell's own.
_ON_LIGHT, _ON_DARK = "#111111", "#ffffff"

Groups = Mapping[str, tuple[str, NDArray[np.bool_]]]


def numbers_of(scored: Scored) -> list[str]:
    """Return the numbers that are known for any film, in the order in which they are shown."""
    encoded = {n.column for n in scored.bundle.encoding.numeric}
    known = [name for name in _AXES if name in encoded]
    return [name for name in known if np.isfinite(_values(scored, name)).any()]


def axis_name(number: str) -> str:
    """Return a number's name and unit for an axis."""
    return _AXES[number] + (" (log scale)" if number in _LOG else "")


def violins(scored: Scored) -> Any:
    """Draw how each of the original's numbers is distributed among predicted skips and keeps."""
    figure, axes = canvas(2, 3, (6.4, 5.6))
    for axis in axes.flat[len(ORIGINAL) :]:
        axis.set_axis_off()
    for axis, name in zip(axes.flat, ORIGINAL, strict=False):
        axis.set_title(axis_name(name), fontsize=10)
        _violin(axis, _values(scored, name), _predictions(scored), log=name in _LOG)
    return figure


def violin(scored: Scored, name: str) -> Any:
    """Draw how one number is distributed by prediction, and beside it by label."""
    figure, axes = canvas(1, 2, (5.2, 2.7))
    for axis, title, groups in zip(
        axes.flat,
        ("by prediction", "by label"),
        (_predictions(scored), _labels(scored)),
        strict=True,
    ):
        axis.set_title(title, fontsize=10)
        _violin(axis, _values(scored, name), groups, log=name in _LOG)
    axes.flat[0].set_ylabel(axis_name(name))
    axes.flat[1].sharey(axes.flat[0])
    return figure


def correlations(scored: Scored) -> Any:
    """Draw the correlations of the numbers with each other and with the probability."""
    values = {name: _thinned(_values(scored, name)) for name in numbers_of(scored)}
    values["probability"] = _thinned(scored.results["probability"].to_numpy())
    names = list(values)
    matrix = np.full((len(names), len(names)), np.nan)
    for row, one in enumerate(names):
        for column, other in enumerate(names[: row + 1]):
            found = _correlation(values[one], values[other])
            matrix[row, column] = matrix[column, row] = found
    side = 2.2 + 0.62 * len(names)
    figure, axes = canvas(1, 1, (side + 0.6, side - 0.6))
    axis = axes.flat[0]
    image = axis.pcolormesh(matrix[::-1], vmin=-1, vmax=1, cmap="RdBu_r", edgecolors="face")
    at = np.arange(len(names)) + 0.5
    shown = [_AXES.get(name, name).split(",")[0] for name in names]
    axis.set_xticks(at, shown, rotation=40, ha="right")
    axis.set_yticks(at, shown[::-1])
    for (row, column), value in np.ndenumerate(matrix[::-1]):
        text = "" if np.isnan(value) else f"{value:.2f}"
        colour = _ON_DARK if abs(value) > 0.6 else _ON_LIGHT
        axis.text(at[column], at[row], text, ha="center", va="center", color=colour, fontsize=9)
    figure.colorbar(image, ax=axis, shrink=0.8)
    return figure


def probabilities(scored: Scored) -> Any:
    """Draw how the probabilities are distributed, by label, and where the threshold is."""
    figure, axes = canvas(1, 1, (6.4, 3.2))
    axis = axes.flat[0]
    edges = np.linspace(0, 1, 41)
    values = scored.results["probability"].to_numpy()
    for name, (colour, rows) in _labels(scored).items():
        counts = np.histogram(values[rows], edges)[0]
        axis.stairs(counts, edges, color=colour, linewidth=1.8, label=f"{name} ({rows.sum():,})")
    axis.set_yscale("symlog", linthresh=1)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    threshold = scored.bundle.threshold
    axis.axvline(threshold, color="#000000", linestyle="--", linewidth=1)
    axis.annotate(
        f"threshold {threshold:.2f}",
        (threshold, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -13),
        textcoords="offset points",
        fontsize=9,
    )
    axis.set_xlabel("chance of a keep")
    axis.set_ylabel("films (log scale)")
    axis.set_xlim(0, 1)
    axis.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return figure


def importances(scored: Scored) -> tuple[Any, list[str]]:
    """Draw which features move the answers most, and whether higher values favour a keep.

    Returns:
        The figure, and the features in it in words.
    """
    bundle = scored.bundle
    trained = scored.titles.filter(scored.titles["trains"])
    asked = trained.take(list(range(0, trained.num_rows, -(-trained.num_rows // MOST) or 1)))
    found = importance(bundle.model, bundle.encoding.matrix(asked))
    words = feature_words(bundle.encoding)
    names = [_shortened(" ".join(words[feature.at]).strip()) for feature in found[:SHOWN]]
    first = found[:SHOWN]
    figure, axes = canvas(1, 1, (6.4, 1.0 + 0.27 * max(len(first), 1)))
    axis = axes.flat[0]
    colours = [_speaks_for(feature.direction) for feature in first]
    axis.barh(range(len(first)), [feature.strength for feature in first], color=colours)
    # A category may be any text: as mathematics, a dollar sign in it would be an error.
    axis.set_yticks(range(len(first)), names, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlabel("mean absolute contribution, log-odds")
    axis.barh([0], [0], color=KEEP, label="more of it: keep")
    axis.barh([0], [0], color=SKIP, label="more of it: skip")
    axis.barh([0], [0], color=NEITHER, label="neither, or both")
    axis.legend(frameon=False, fontsize=9, loc="lower right")
    return figure, names


def _speaks_for(direction: float) -> str:
    """Return the colour of what higher values of a feature favour."""
    if abs(direction) < 0.1:
        return NEITHER
    return KEEP if direction > 0 else SKIP


def shares(kind: str, found: Sequence[Share]) -> Any:
    """Draw the share of keeps among labelled and all films, by genre, language or decade."""
    first = list(found[:SHOWN])
    figure, axes = canvas(1, 1, (5.0, 1.1 + 0.27 * max(len(first), 1)))
    axis = axes.flat[0]
    rows = np.arange(len(first))
    axis.barh(rows - 0.2, [s.labelled_kept or 0 for s in first], height=0.36, color=KEEP)
    axis.barh(rows + 0.2, [s.predicted_kept for s in first], height=0.36, color=NEITHER)
    names = [f"{_shortened(s.name)} ({s.labelled:,}; {s.films:,})" for s in first]
    axis.set_yticks(range(len(first)), names, parse_math=False)
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axis.set_xlabel(f"share kept by {kind} (labelled; all films)")
    axis.barh([0], [0], color=KEEP, label="labelled keep, of the labelled")
    axis.barh([0], [0], color=NEITHER, label="predicted keep, of all films")
    axis.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def _shortened(name: str) -> str:
    """Shorten a name that would leave no room for the bars."""
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"


def _thinned(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values that are drawn: evenly spaced ones if there are many."""
    return values[:: -(-len(values) // _MOST) or 1]


def _values(scored: Scored, name: str) -> NDArray[np.float64]:
    """Return a number of each film, as its decimal logarithm if it is drawn on a log scale."""
    values = scored.bundle.encoding.known_numbers(scored.titles, name)
    if name not in _LOG:
        return values
    positive = np.where(values > 0, values, np.nan)
    logarithms: NDArray[np.float64] = np.log10(positive)
    return logarithms


def _predictions(scored: Scored) -> Groups:
    predicted = scored.results["predicted"].to_numpy()
    return {"skip": (SKIP, ~predicted), "keep": (KEEP, predicted)}


def _labels(scored: Scored) -> Groups:
    actual = scored.results["actual"]
    keep, known = actual.fill_null(False).to_numpy(), actual.is_valid().to_numpy()
    return {
        "skip": (SKIP, known & ~keep),
        "keep": (KEEP, known & keep),
        "no label": (NEITHER, ~known),
    }


def _violin(axis: Any, values: NDArray[np.float64], groups: Groups, *, log: bool) -> None:
    if not np.isfinite(values).any():
        axis.text(0.5, 0.5, "not known for any film", ha="center", transform=axis.transAxes)
        axis.set_xticks([])
        axis.set_yticks([])
        return
    counted = []
    for at, (name, (colour, rows)) in enumerate(groups.items()):
        shown = values[rows & ~np.isnan(values)]
        counted.append(f"{name}\nn={len(shown):,}")
        if len(np.unique(shown)) > 1:
            body = axis.violinplot(_thinned(shown), positions=[at], showmedians=True, widths=0.8)
            for part in body["bodies"]:
                part.set_facecolor(colour)
                part.set_edgecolor(colour)
                part.set_alpha(0.6)
            for line in ("cmedians", "cmins", "cmaxes", "cbars"):
                body[line].set_color("#000000")
                body[line].set_linewidth(1)
    axis.set_xticks(range(len(counted)), counted, fontsize=9)
    axis.set_xlim(-0.6, len(counted) - 0.4)
    if log:
        axis.yaxis.set_major_locator(_whole_powers())
        axis.yaxis.set_major_formatter(lambda power, _: f"{10**power:,.0f}")


def _whole_powers() -> Any:
    return MaxNLocator(integer=True, nbins=6)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    if min(len(np.unique(a[both])), len(np.unique(b[both]))) < 2:
        return float("nan")
    return float(np.corrcoef(a[both], b[both])[0, 1])
