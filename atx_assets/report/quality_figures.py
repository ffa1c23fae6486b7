"""The figures of a model's quality: curves with their spread. Not here: other figures."""

from __future__ import annotations

from typing import Any

from atx_assets.learning import curves
from atx_assets.learning.curves import Blind, Curve
from atx_assets.report.drawing import KEEP, NEITHER, SKIP, canvas


def precision_recall(blind: Blind, quality: dict[str, Any]) -> Any:
    """Draw precision against recall, with the operating point in use."""
    return _alone(_precision_recall, blind, quality)


def roc(blind: Blind, quality: dict[str, Any]) -> Any:
    """Draw the share of keeps found against the share of skips let through."""
    return _alone(_roc, blind, quality)


def calibration(blind: Blind, quality: dict[str, Any]) -> Any:
    """Draw the observed share of keeps against the predicted one."""
    return _alone(_calibration, blind, quality)


def _alone(draw: Any, blind: Blind, quality: dict[str, Any]) -> Any:
    figure, axes = canvas(1, 1, (4.8, 4.2))
    draw(axes.flat[0], blind, quality)
    return figure


def _precision_recall(axis: Any, blind: Blind, quality: dict[str, Any]) -> None:
    _with_spread(axis, curves.precision_recall(blind))
    keeps = blind.labels.mean()
    axis.axhline(keeps, color=NEITHER, linestyle=":", linewidth=1)
    axis.annotate("chance", (0, keeps), xytext=(3, 3), textcoords="offset points", fontsize=9)
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
                fontsize=9,
            )
    _square(
        axis,
        "recall: share of the keeps that is found",
        "precision: share of the found that are keeps",
    )
    axis.set_title("Precision and recall", fontsize=10)


def _roc(axis: Any, blind: Blind, quality: dict[str, Any]) -> None:
    _with_spread(axis, curves.roc(blind))
    axis.plot([0, 1], [0, 1], color=NEITHER, linestyle=":", linewidth=1)
    area = quality["model"]["all"]["roc_auc"]["mean"]
    _square(axis, "share of the skips let through", "share of the keeps that is found")
    axis.set_title(f"ROC: area {area:.3f}", fontsize=10)


def _calibration(axis: Any, blind: Blind, quality: dict[str, Any]) -> None:
    curve = curves.calibration(blind)
    axis.plot([0, 1], [0, 1], color=NEITHER, linestyle=":", linewidth=1)
    axis.errorbar(curve.x, curve.mean, curve.std, color=KEEP, marker="o", capsize=3, linewidth=1.2)
    _square(axis, "chance that the model gave", "share that were keeps")
    error = quality["calibration"]["error"]["mean"]
    axis.set_title(f"Calibration: off by {error:.3f} on average", fontsize=10)


def _with_spread(axis: Any, curve: Curve) -> None:
    low, high = curve.mean - curve.std, curve.mean + curve.std
    axis.fill_between(curve.x, low.clip(0, 1), high.clip(0, 1), color=KEEP, alpha=0.25, linewidth=0)
    axis.plot(curve.x, curve.mean, color=KEEP, linewidth=1.8)


def _square(axis: Any, x: str, y: str) -> None:
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
