"""The search for hyperparameters, and the quality of what such a search finds.

Not here: how a search works (`learning/tuning.py`), training a model with its winner.
"""

import json
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.defs.assets import asset_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.defs.resources.mlflow import Mlflow
from atx_assets.errors import AtxError
from atx_assets.settings import Learning

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from atx_assets.learning.models import Hyperparameters
    from atx_assets.learning.search_result import SearchResult
    from atx_assets.learning.tuning import Part, Progress
    from atx_assets.models.training_data import TrainingData

#: The metadata key under which the table of results carries the record of its search.
_RECORD = b"atx_search"

#: The columns on the page: the 30 of single folds are one line.
_COLUMNS = (
    *(c for c in schemas.GRID_SEARCH_RESULTS if not re.match("fold[0-9]", c.name)),
    schemas.Column("fold0_… to fold4_…", schemas.FLOAT, "each of these scores in each fold"),
)


@dg.asset(
    deps=["training_table", "feature_encoding"],
    group_name=asset_page.MODEL,
    kinds={"xgboost", "scikitlearn", "parquet"},
    owners=asset_page.OWNERS,
    code_version="2",
    metadata={"dagster/column_schema": asset_page.table_schema(_COLUMNS)},
)
def hyperparameters(
    context: dg.AssetExecutionContext,
    current_settings: CurrentSettings,
    files: DataFiles,
    mlflow: Mlflow,
) -> dg.MaterializeResult[None]:
    """The combinations tried, scored in five folds. The simplest near the best is chosen."""
    import pyarrow as pa

    from atx_assets.models.training_data import (
        read_training_data,
        training_sha256,
        what_was_learned,
    )

    clock = asset_page.Clock()
    settings = current_settings.read()
    learning = settings.learning
    mlflow.check(settings, context.log)
    data = read_training_data(files)
    say = _logged(context.log.info, "hyperparameters", 10)
    result = _search(learning, data.matrix, data.labels, len(data.encoding.numeric), say)
    record: dict[str, Any] = {
        "search": learning.search,
        "objective": learning.objective,
        "operating_point": str(learning.operating_point),
        "training_table_sha256": training_sha256(data),
        "nested": _nested(data, learning, context.log.info),
    }
    rows: list[dict[str, Any]] = _rows(result)
    table = pa.Table.from_pylist(rows, schemas.arrow_schema(schemas.GRID_SEARCH_RESULTS))
    carried = table.replace_schema_metadata({_RECORD: json.dumps(record)})
    parts = files.fingerprints("training_table")
    path = files.write_table("hyperparameters", carried, parts)
    best_first: list[dict[str, Any]] = sorted(rows, key=_best_first)
    best, chosen, score = rows[result.best], rows[result.chosen], result.objective
    shown = ["rank", "chosen", *schemas.GRID_KEYS, "folds", f"mean_{score}", f"std_{score}"]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "combinations": len(rows),
            "seconds": clock.seconds,
            "search": _SEARCHES[learning.search],
            "optimised": f"{score}, mean over five folds (ATX_OBJECTIVE)",
            "chosen by": "the simplest (fewest trees, then least depth) of those scored in every "
            f"fold and within one standard error of the best, {result.standard_error:.4f}",
            "chosen": dict(result.combinations[result.chosen]),
            f"mean {score} of the chosen": chosen[f"mean_{score}"],
            "best": dict(result.combinations[result.best]),
            f"mean {score} of the best": best[f"mean_{score}"],
            "scored in every fold": int(result.in_every_fold.sum()),
            "within one standard error of the best": int(result.near_best.sum()),
            "nested PR-AUC": record["nested"]["pr_auc"]["mean"],
            "nested means": "search, threshold and model do not use the fold that they are "
            "measured on: this is what to expect of such a model on unlabelled films",
            "preview": asset_page.preview(best_first, shown),
            "dagster/column_lineage": asset_page.lineage(
                {
                    c.name: [(dg.AssetKey("training_table"), "label")]
                    for c in _COLUMNS
                    if c.name not in schemas.GRID_KEYS
                }
            ),
            "file": dg.MetadataValue.path(str(path)),
            **what_was_learned(data, settings),
        }
    )


_SEARCHES = {
    "race": "race: drops combinations that fall behind, after one fold and after two (ATX_SEARCH)",
    "full": "full: every combination in every fold (ATX_SEARCH)",
    "off": "off: plain hyperparameters, no search (ATX_SEARCH)",
}


def _search(
    learning: Learning,
    matrix: "NDArray[np.float32]",
    labels: "NDArray[np.int64]",
    numeric: int,
    say: "Progress",
    part: "Part | None" = None,
) -> "SearchResult":
    """Search as ATX_SEARCH says; a race may cover only a part of the grid."""
    from functools import partial

    from atx_assets.learning import tuning
    from atx_assets.learning.evaluation import fold_rows

    plain = {name: (value,) for name, value in tuning.PLAIN.items()}
    race = partial(tuning.race, part=part or tuning.WHOLE)
    return (race if learning.search == "race" else tuning.grid_search)(
        matrix,
        labels,
        fold_rows(labels),
        plain if learning.search == "off" else tuning.GRID,
        flags_from=numeric,
        objective=learning.objective,
        on_progress=say,
    )


def _logged(log: Callable[..., None], what: str, lines: int) -> "Progress":
    """Return a function that logs a search's progress, in `lines` lines; `atx run` reads them."""

    def say(done: int, total: int) -> None:
        if done * lines // total > (done - 1) * lines // total:
            log("%s: %d of %d fits", what, done, total)

    return say


def _nested(data: "TrainingData", learning: Learning, say: Callable[..., None]) -> dict[str, Any]:
    """Measure what a search finds, in folds that it does not see.

    A figure measured on the labels that chose hyperparameters and threshold is too good: Cawley
    and Talbot (2010), On Over-fitting in Model Selection. Each of these races covers a fifth of the
    grid: five races over the whole grid take four times as long, and the figure stays within its
    noise (`benchmarks/nested.py`).
    """
    from atx_assets.learning.contenders import refitted
    from atx_assets.learning.evaluation import assign_folds
    from atx_assets.learning.folds import FOLDS
    from atx_assets.learning.measures import spreads
    from atx_assets.learning.tuning import share_out

    parts = enumerate(share_out(FOLDS), 1)

    def recipe(train: "NDArray[np.bool_]") -> "Hyperparameters":
        numeric = len(data.encoding.numeric)
        number, part = next(parts)
        logged = _logged(say, f"hyperparameters: nested search {number} of {FOLDS}", 4)
        result = _search(learning, data.matrix[train], data.labels[train], numeric, logged, part)
        return result.combinations[result.chosen]

    outer = assign_folds(data.labels, seed=0)[None]
    answers = refitted(data.matrix, data.labels, outer, recipe)
    return {**spreads(answers.by_fold(learning.operating_point)), "labels": len(data.labels)}


def _rows(result: "SearchResult") -> list[dict[str, Any]]:
    """Return one row per combination; scores that were not computed are None."""
    import numpy as np

    def known(value: float) -> float | None:
        return None if np.isnan(value) else float(value)

    every, near, means = result.in_every_fold, result.near_best, result.means
    rows = []
    for at, combination in enumerate(result.combinations):
        # Ranked like scikit-learn: equal scores share the best rank.
        ahead = np.count_nonzero(means[every] > means[at])
        scored = ~np.isnan(result.scores[at]).all(axis=1)
        row: dict[str, Any] = {key: combination[key] for key in schemas.GRID_KEYS}
        row["chosen"], row["near_best"] = at == result.chosen, bool(near[at])
        row["rank"] = int(ahead) + 1 if every[at] else None
        row["folds"] = int(scored.sum())
        for number, score in enumerate(schemas.FOLD_SCORES):
            values = result.scores[at, :, number]
            some = values[~np.isnan(values)]
            row[f"mean_{score}"] = known(some.mean()) if len(some) else None
            row[f"std_{score}"] = known(some.std(ddof=1)) if len(some) > 1 else None
            row |= {f"fold{fold}_{score}": known(value) for fold, value in enumerate(values)}
        rows.append(row)
    return rows


def _best_first(row: dict[str, Any]) -> tuple[bool, int]:
    return not row["chosen"], row["rank"] or sys.maxsize


def read_search(files: DataFiles) -> tuple["Hyperparameters", dict[str, Any], "pa.Table"]:
    """Return the combination that a search chose, the record of that search, and its table.

    Raises:
        AtxError: there was none, or an earlier atx made it.
    """
    table = files.read_table("hyperparameters")
    record = (table.schema.metadata or {}).get(_RECORD)
    if record is None:
        raise AtxError(
            f"{files.path('hyperparameters')} was made by an earlier atx: run full_rebuild"
        )
    chosen = table.filter(table["chosen"]).to_pylist()[0]
    return {key: chosen[key] for key in schemas.GRID_KEYS}, json.loads(record), table
