"""The report's figures in the page's order, each with its texts. Not here: how they are drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from atx_assets.learning.curves import Blind
from atx_assets.report import figures, quality_figures
from atx_assets.report.quality_tables import shown
from atx_assets.report.scored_films import Scored
from atx_assets.report.shares import KINDS, share_kept


@dataclass(frozen=True)
class Drawn:
    """A figure of the page: matplotlib's, its caption, and in words what it shows.

    `number` is the number that it is about, None if it is about several.
    """

    name: str
    figure: Any
    caption: str
    alt: str
    number: str | None = None


def report_figures(scored: Scored, blind: Blind) -> Iterator[Drawn]:
    """Draw each figure of the page, once."""
    quality = scored.bundle.about["quality"]
    measured = quality["model"]["all"]
    for name, draw, caption, alt in (
        (
            "precision_recall",
            quality_figures.precision_recall,
            "Finding more keeps lets more skips through: the best precision at each "
            "recall. The dot is the operating point.",
            f"Precision against recall, mean over the folds; PR-AUC {shown(measured['pr_auc'])}.",
        ),
        (
            "roc",
            quality_figures.roc,
            "Keeps found against skips let through; the dotted line is guessing.",
            f"ROC curve, mean over the folds; area {shown(measured['roc_auc'])}.",
        ),
        (
            "calibration",
            quality_figures.calibration,
            "On the dotted line a chance of 70% is a keep in 70 of 100 films.",
            "Calibration: share of keeps against the chance given; off by "
            f"{shown(quality['calibration']['error'])} on average.",
        ),
    ):
        yield Drawn(name, draw(blind, quality), caption, alt)
    yield Drawn(
        "probabilities",
        figures.probabilities(scored),
        "How sure the model is: most films are at the ends, few near the threshold.",
        "Distribution of the chance of a keep by label, with the threshold at "
        f"{scored.bundle.threshold:.2f}.",
    )
    drawn, names = figures.importances(scored)
    yield Drawn(
        "importances",
        drawn,
        "How far each feature moves the answers about labelled films, and which way.",
        "Feature importance, the strongest first: " + ", ".join(names) + ".",
    )
    for kind in KINDS:
        parts = share_kept(scored, kind)
        yield Drawn(
            f"shares_{kind}",
            figures.shares(kind, parts),
            f"Share kept by {kind}; in brackets the labelled films, and all films.",
            f"Share kept by {kind}: "
            + "; ".join(
                f"{part.name} {part.labelled_kept:.0%}"
                for part in parts[: figures.SHOWN]
                if part.labelled_kept is not None
            )
            + ".",
        )
    for number in figures.numbers_of(scored):
        name = figures.axis_name(number)
        yield Drawn(
            f"violin_{number}",
            figures.violin(scored, number),
            f"{name[0].upper()}{name[1:]}, by what the model says and by what the label says.",
            f"Violin plots of {name} among predicted skips and keeps, and among films labelled "
            "skip, labelled keep, and not labelled.",
            number,
        )
    yield Drawn(
        "correlations",
        figures.correlations(scored),
        "How the numbers and the chance of a keep correlate: 1 is fully, 0 not at all.",
        "Correlation matrix of the numbers and the chance of a keep.",
    )
