"""A model's quality as tables of text: for asset pages, MLflow, the report, and the terminal.

Not here: how quality is measured (`learning/quality.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Table = tuple[list[str], list[list[str]]]

#: The measures in the order in which people look for them, and their names.
MEASURES = {
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "false_positive_rate": "false positive rate",
    "recall_at_p80": "recall, precision set to .80",
    "precision_at_p80": "  precision reached",
    "precision_at_r95": "precision, recall set to .95",
    "recall_at_r95": "  recall reached",
    "brier": "Brier score",
    "log_loss": "log loss",
    "calibration_error": "calibration error",
}
SLICES = {
    "all": "all labels",
    "human": "labelled by a person",
    "rule": "labelled by a rule",
    "newest": "newest in the database",
}
_NONE = "–"


def measure_tables(
    quality: Mapping[str, Any], judged: Mapping[str, Any]
) -> Iterator[tuple[str, Table]]:
    """Yield a heading and a table for each slice: one row per measure, one column per contender.

    Args:
        quality: the record of `learning/quality.py`.
        judged: how the version was judged, with the figures of the champion's recipe.
    """
    for name, about in quality["slices"].items():
        columns = {
            "model": quality["model"][name],
            "always skip": quality["always_skip"][name],
            "best rule": quality["rule"][name],
        }
        if name == "all":
            columns = {
                f"nested{nested_mark(quality)}": quality["nested"],
                "model, same 5 folds": quality["model_there"],
                **columns,
            }
        recipe = judged.get("champion_recipe", {}).get(name)
        if recipe:
            columns[f"version {judged['champion']}"] = recipe
        since = f", there since {about['since']}" if "since" in about else ""
        spread = ", ± over five seeds" if name in ("human", "rule") else ""
        heading = (
            f"{SLICES[name]}: {about['titles']:,} titles, {about['keeps']:,} keeps{since}{spread}"
        )
        rows = [
            [title, *(shown(column.get(measure)) for column in columns.values())]
            for measure, title in MEASURES.items()
            if quality["model"][name].get(measure, {}).get("mean") is not None
        ]
        yield heading, (["measure", *columns], rows)


def headline_table(quality: Mapping[str, Any]) -> Table:
    """Return the measures that people look at first, as one short table."""
    columns = {
        "nested": quality["nested"],
        "model": quality["model"]["all"],
        "always skip": quality["always_skip"]["all"],
        "best rule": quality["rule"]["all"],
    }

    def mean(column: Mapping[str, Any], measure: str) -> str:
        return _number(column.get(measure, {}).get("mean"))

    return ["measure", *columns], [
        [MEASURES[measure], *(mean(column, measure) for column in columns.values())]
        for measure in ("pr_auc", "recall", "precision", "f1", "brier")
    ]


def nested_mark(quality: Mapping[str, Any]) -> str:
    """Say where nested figures come from, if they are not for these labels and features."""
    nested = quality["nested"]
    return "" if nested.get("current") else f" (last search, {nested['labels']:,} labels)"


def threshold_table(quality: Mapping[str, Any]) -> Table:
    """Return what each operating point would give, with the one in use marked."""
    heads = ["operating point", "threshold", "precision", "recall", "F1", "predicted keeps"]
    return heads, [
        [
            row["operating_point"] + (" (in use)" if row["in_use"] else ""),
            *(_number(row[name]) for name in ("threshold", "precision", "recall", "f1")),
            f"{row['predicted_keep']:,}",
        ]
        for row in quality["alternatives"]
    ]


def calibration_table(quality: Mapping[str, Any]) -> Table:
    """Return predicted and observed shares of keeps, in bins of probability."""
    heads = ["probability of a keep", "share", "mean probability", "share of keeps"]
    titles = sum(row["titles"] for row in quality["calibration"]["table"]) or 1
    return heads, [
        [
            f"{row['low']:.1f} to {row['high']:.1f}",
            f"{row['titles'] / titles:.1%}",
            _number(row["probability"]),
            _number(row["keeps"]),
        ]
        for row in quality["calibration"]["table"]
    ]


def markdown(table: Table) -> str:
    """Return a table as Markdown."""
    heads, rows = table
    lines = [heads, ["---"] + ["---:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def plain(table: Table) -> Iterator[str]:
    """Yield a table's lines for a terminal: the first column left-aligned, others right-aligned."""
    heads, rows = table
    lines: Sequence[list[str]] = [heads, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for first, *others in lines:
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        yield "  ".join(cells).rstrip()


def shown(spread: Mapping[str, Any] | None) -> str:
    """Return mean and standard deviation as text."""
    if spread is None or spread["mean"] is None:
        return _NONE
    of_fold = "" if spread["std"] is None else f" ± {spread['std']:.3f}"
    return f"{spread['mean']:.3f}{of_fold}"


def _number(value: float | None) -> str:
    return _NONE if value is None else f"{value:.3f}"
