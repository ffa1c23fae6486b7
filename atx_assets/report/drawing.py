"""How figures are made and saved: as PNG for Dagster and MLflow, as SVG for the report.

Not here: what is drawn (`figures.py`, `quality_figures.py`).
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Orange and blue: distinguishable with colour blindness, and in grey.
SKIP, KEEP, NEITHER = "#d95f02", "#1f5fa8", "#808080"

#: For PNG files: a figure of 6.4 inches fits into the table of an asset's page.
_DPI = 80

#: What a page may recolour in an SVG, for light and dark: each colour's name in its style.
_COLOURS = {"#000000": "currentColor", SKIP: "var(--skip)", KEEP: "var(--keep)"}


def canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Make a figure without pyplot, whose global state two runs in a process would share.

    Args:
        rows: number of rows of axes.
        columns: number of columns of axes.
        size: width and height, in inches.

    Returns:
        The figure, and its axes as an array of shape (rows, columns).
    """
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def png(figure: Any) -> bytes:
    """Return the figure as a PNG file, the same bytes for the same figure."""
    buffer = io.BytesIO()
    with _any_letter():
        _lay_out(figure)
        figure.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def _lay_out(figure: Any) -> None:
    """Lay the figure out once: otherwise matplotlib does so at each saving, and draws it twice."""
    if engine := figure.get_layout_engine():
        engine.execute(figure)
        figure.set_layout_engine(None)  # "none" is an engine, too, and draws twice at each saving


@contextmanager
def _any_letter() -> Iterator[None]:
    """Hide warnings about letters that matplotlib's font lacks; an SVG uses the browser's."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


def svg(figure: Any, name: str) -> str:
    """Return the figure as an SVG element that takes its colours from the page.

    Args:
        figure: drawn with this module's colours, and black for text and axes.
        name: a prefix for its ids, so that no two figures of a page share one.
    """
    buffer = io.StringIO()
    # Text stays text: smaller, and searchable.
    with _any_letter(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "atx"}):
        _lay_out(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # The page decides the size.
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    return re.sub(r"<[^>]*>", lambda tag: _adapted(tag[0], name), text)


def _adapted(tag: str, name: str) -> str:
    """Prefix the ids in a tag, and replace its colours by the page's names; texts are not tags."""
    tag = re.sub(r'\bid="|(?<=url\()#|(?<=href=")#', lambda m: f"{m[0]}{name}-", tag)
    for colour, of_page in _COLOURS.items():
        tag = tag.replace(colour, of_page)
    return tag
