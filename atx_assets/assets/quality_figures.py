"""The figures of a model's quality as PNG. Not here: the report's other figures (`figures.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from atx_assets.assets.figures import KEEP, SKIP, canvas, png

if TYPE_CHECKING:
    import numpy as np


def quality_figure(
    labels: np.ndarray[Any, Any], blind: np.ndarray[Any, Any], quality: dict[str, Any]
) -> bytes:
    """Draw precision against recall, and what was promised against what was so.

    Args:
        labels: shape (n,), 0 or 1.
        blind: out-of-fold probabilities, shape (seeds, n).
        quality: the record of `learning/quality.py`.
    """
    figure, axes = canvas(1, 2, (11.0, 4.6))
    _precision_and_recall(axes.flat[0], labels, blind, quality)
    _calibration(axes.flat[1], quality)
    return png(figure)


def _precision_and_recall(
    axis: Any, labels: np.ndarray[Any, Any], blind: np.ndarray[Any, Any], quality: dict[str, Any]
) -> None:
    from sklearn.metrics import precision_recall_curve

    for answers in blind:
        precision, recall, _ = precision_recall_curve(labels, answers)
        axis.plot(recall, precision, color=KEEP, alpha=0.35, linewidth=1)
    keeps = labels.mean()
    axis.axhline(keeps, color="grey", linestyle=":", linewidth=1)
    axis.annotate("chance", (0, keeps), xytext=(3, 3), textcoords="offset points", color="grey")
    for row in quality["alternatives"]:
        if row["in_use"] and row["threshold"] is not None:
            axis.plot(row["recall"], row["precision"], "o", color=SKIP)
            axis.annotate(
                f"{row['operating_point']}\nthreshold {row['threshold']:.2f}",
                (row["recall"], row["precision"]),
                xytext=(-8, -8),
                textcoords="offset points",
                ha="right",
                va="top",
            )
    axis.set_xlim(0, 1.02)
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("recall: share of the keeps that is found")
    axis.set_ylabel("precision: share of the found that are keeps")
    axis.set_title("Each film judged by models that had not seen its label", fontsize=10)


def _calibration(axis: Any, quality: dict[str, Any]) -> None:
    rows = [row for row in quality["calibration"]["table"] if row["titles"]]
    most = max(row["titles"] for row in rows)
    axis.plot([0, 1], [0, 1], color="grey", linestyle=":", linewidth=1)
    axis.plot(
        [row["probability"] for row in rows], [row["keeps"] for row in rows], color=KEEP, alpha=0.4
    )
    axis.scatter(
        [row["probability"] for row in rows],
        [row["keeps"] for row in rows],
        s=[20 + 180 * row["titles"] / most for row in rows],
        color=KEEP,
    )
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("probability that the model gave")
    axis.set_ylabel("share that were keeps")
    error = quality["calibration"]["error"]["mean"]
    axis.set_title(f"Calibration: off by {error:.3f} on average", fontsize=10)
