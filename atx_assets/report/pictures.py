"""The figures as PNG: for MLflow, the assets' pages, and the files beside the report.

Not here: what is in them (`figures.py`, `quality_figures.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atx_assets.learning.curves import Blind
from atx_assets.report import figures, quality_figures
from atx_assets.report.drawing import png
from atx_assets.report.report_figures import Drawn
from atx_assets.report.scored_films import Scored
from atx_assets.report.shares import KINDS, share_kept


def film_pictures(scored: Scored) -> dict[str, bytes]:
    """Draw what a model says of films: `probabilities`, `violins`, ..., each as PNG."""
    return {
        "probabilities": png(figures.probabilities(scored)),
        "importances": png(figures.importances(scored)[0]),
        **{f"shares_{k}": png(figures.shares(k, share_kept(scored, k))) for k in KINDS},
        "violins": png(figures.violins(scored)),
        "correlations": png(figures.correlations(scored)),
    }


def quality_pictures(blind: Blind, quality: dict[str, Any]) -> dict[str, bytes]:
    """Draw the curves: `precision_recall`, `roc` and `calibration`, each as PNG."""
    return {
        "precision_recall": png(quality_figures.precision_recall(blind, quality)),
        "roc": png(quality_figures.roc(blind, quality)),
        "calibration": png(quality_figures.calibration(blind, quality)),
    }


def page_pictures(scored: Scored, drawn: Sequence[Drawn]) -> dict[str, bytes]:
    """Return the page's figures as PNG; for the numbers, one with those of the original."""
    pictures = {one.name: png(one.figure) for one in drawn if one.number is None}
    return {**pictures, "violins": png(figures.violins(scored))}
