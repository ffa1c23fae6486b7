"""What the page of `tuned_classifier` shows of a model. Not here: measuring it (`learning/`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets.defs.assets import asset_page
from atx_assets.report.quality_tables import (
    calibration_table,
    headline_table,
    markdown,
    measure_tables,
    nested_mark,
    threshold_table,
)
from atx_assets.settings import Settings

if TYPE_CHECKING:
    from atx_assets.models.bundle import Bundle


def model_page(
    settings: Settings,
    bundle: Bundle,
    champion: Bundle,
    judged: Mapping[str, Any],
    pictures: Mapping[str, bytes],
) -> dict[str, Any]:
    """Return the metadata in the order of a reader's questions: place, figures, then the rest.

    Args:
        settings: say where the report is served.
        bundle: the model that was trained.
        champion: the one that scores.
        judged: the judgement of `bundle`, see `Bundle.judged`.
        pictures: of its quality, PNG by name.
    """
    about = bundle.about
    quality, learned = about["quality"], about["learned_from"]
    rule = quality["rule"]["all"]
    tables = {heading: markdown(table) for heading, table in measure_tables(quality, judged)}
    first, *parts = tables.items()
    page: dict[str, Any] = {
        "dagster/row_count": learned["rows"],
        "version": bundle.version,
        "place": "champion" if judged["promoted"] else "challenger",
        "because": judged.get("reason", ""),
        **({"warning": judged["warning"]} if judged.get("warning") else {}),
        "version that scores": champion.version,
        "preview": dg.MetadataValue.md(markdown(headline_table(quality))),
        "report": dg.MetadataValue.url(asset_page.report_address(settings)),
    }
    for name, picture in pictures.items():
        page |= asset_page.figure(settings, name, picture, "of the model that scores")
    return {
        **page,
        "trained on": learned["rows"],
        "keeps": learned["keeps"],
        "threshold": _rounded(about["threshold"]),
        "operating point": f"{about['operating_point']} (ATX_OPERATING_POINT)",
        "thresholds": dg.MetadataValue.md(markdown(threshold_table(quality))),
        f"nested PR-AUC{nested_mark(quality)}": _rounded(quality["nested"]["pr_auc"]["mean"]),
        **{
            f"out-of-fold {name}": _rounded(spread["mean"])
            for name, spread in quality["model"]["all"].items()
            if spread["mean"] is not None
        },
        "PR-AUC of the best single-feature rule": _rounded(rule["pr_auc"]["mean"]),
        "the rule": quality["the_rule"],
        "all measures": dg.MetadataValue.md(first[1]),
        "by who labelled, and for the newest": dg.MetadataValue.md(
            "\n\n".join(f"**{heading}**\n\n{table}" for heading, table in parts)
        ),
        "calibration table": dg.MetadataValue.md(markdown(calibration_table(quality))),
        "evaluation": "mean and standard deviation per fold, over five folds and five seeds (for a "
        "part of the labels: over the seeds). The models did not see the labels that they are "
        "measured on, and the thresholds come from the other folds. 'nested': so do the "
        "hyperparameters. See docs/method.md",
        "hyperparameters": about["hyperparameters"],
    }


def _rounded(value: float) -> float:
    """Round a figure for the page; the bundle has every digit."""
    return round(value, 4)
