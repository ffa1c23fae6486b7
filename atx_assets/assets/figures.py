"""The report's figures as PNG. Not here: the page they are put in."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from atx_assets.assets.records import Scored

if TYPE_CHECKING:
    import numpy as np

#: The numbers that the original looked at, and how their axes are named.
NUMBERS = {
    "rt_score": "Rotten Tomatoes, %",
    "metascore": "Metascore",
    "imdb_rating": "IMDb rating × 10",
    "imdb_votes": "IMDb votes (log scale)",
    "release_year": "release year",
}
# Orange and blue: told apart by people who see colours differently, and in grey.
SKIP, KEEP = "#d95f02", "#1f5fa8"


def violins(scored: Scored) -> bytes:
    """Draw how each number is distributed among predicted skips and keeps."""
    import numpy as np

    values = _numbers(scored)
    predicted = scored.results["predicted"].to_numpy()
    figure, axes = canvas(1, len(NUMBERS), (3.0 * len(NUMBERS), 3.8))
    for axis, (name, label) in zip(axes.flat, NUMBERS.items(), strict=True):
        axis.set_title(label, fontsize=10)
        if not np.isfinite(values[name]).any():
            axis.text(0.5, 0.5, "not known for any film", ha="center", transform=axis.transAxes)
            axis.set_xticks([])
            axis.set_yticks([])
            continue
        axis.set_xticks([0, 1], ["skip", "keep"])
        for at, (colour, wanted) in enumerate(((SKIP, ~predicted), (KEEP, predicted))):
            shown = values[name][wanted & ~np.isnan(values[name])]
            if len(np.unique(shown)) > 1:
                body = axis.violinplot(shown, positions=[at], showmedians=True, widths=0.8)
                for part in body["bodies"]:
                    part.set_facecolor(colour)
                    part.set_alpha(0.7)
            axis.annotate(
                f"n={len(shown)}",
                (at, 0),
                xycoords=("data", "axes fraction"),
                ha="center",
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=8,
            )
        if name == "imdb_votes":
            ticks = axis.get_yticks()
            axis.set_yticks(ticks, [f"{10**t:,.0f}" for t in ticks])
    return png(figure)


def correlations(scored: Scored) -> bytes:
    """Draw the correlations of the numbers with each other and with the probability."""
    import numpy as np

    values = _numbers(scored) | {"probability": scored.results["probability"].to_numpy()}
    known = {name: v for name, v in values.items() if len(np.unique(v[~np.isnan(v)])) > 1}
    names = list(known)
    matrix = np.array([[_correlation(known[a], known[b]) for b in names] for a in names])
    figure, axes = canvas(1, 1, (6.2, 5.2))
    axis = axes.flat[0]
    image = axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
    shown = [name.replace("_", " ") for name in names]
    axis.set_xticks(range(len(names)), shown, rotation=40, ha="right")
    axis.set_yticks(range(len(names)), shown)
    for (row, column), value in np.ndenumerate(matrix):
        text = "" if np.isnan(value) else f"{value:.2f}"
        dark = abs(value) > 0.6
        axis.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    figure.colorbar(image, ax=axis, shrink=0.8)
    return png(figure)


def _numbers(scored: Scored) -> dict[str, np.ndarray[Any, Any]]:
    import numpy as np

    encoding = scored.bundle.encoding
    values = {name: encoding.known_numbers(scored.titles, name) for name in NUMBERS}
    values["imdb_votes"] = np.log10(values["imdb_votes"])
    return values


def _correlation(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> float:
    import numpy as np

    both = ~np.isnan(a) & ~np.isnan(b)
    if min(len(np.unique(a[both])), len(np.unique(b[both]))) < 2:
        return float("nan")
    return float(np.corrcoef(a[both], b[both])[0, 1])


def canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Make a figure without pyplot, whose global state two runs in a process would share."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def png(figure: Any) -> bytes:
    """Return the figure as the bytes of a PNG file, the same ones for the same figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
