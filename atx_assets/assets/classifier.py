"""The search for hyperparameters, and the classifier made with the best of them.

Not here: how search, fit and evaluation work (`learning/`), how a bundle is kept
(`resources/bundles.py`).
"""

import hashlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets import schemas
from atx_assets.assets import story
from atx_assets.assets.training import feature_columns
from atx_assets.errors import AtxError
from atx_assets.recipe import recipe_version
from atx_assets.resources.bundles import Bundle, Bundles, NewBundle
from atx_assets.resources.files import DataFiles
from atx_assets.resources.mlflow import Mlflow
from atx_assets.settings import read_settings

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from atx_assets.learning.evaluation import OutOfFold, Rule
    from atx_assets.learning.features import FeatureEncoding
    from atx_assets.learning.tuning import SearchResult


@dataclass(frozen=True)
class TrainingData:
    """The training table as models take it: n rows ordered by key."""

    table: "pa.Table"
    encoding: "FeatureEncoding"
    matrix: "np.ndarray[Any, Any]"
    labels: "np.ndarray[Any, Any]"


def read_training_data(files: DataFiles) -> TrainingData:
    """Read the training table and its encoding.

    Raises:
        AtxError: one is missing, they do not belong together, or there are too few labels.
    """
    import numpy as np

    from atx_assets.learning.evaluation import require_enough_labels
    from atx_assets.learning.features import FeatureEncoding

    table = files.read_table("training_table")
    encoding = FeatureEncoding.from_json(files.read_text("feature_encoding"))
    if table.column_names[len(schemas.TRAINING_TABLE) :] != encoding.names:
        raise AtxError(
            "training_table was made with another feature_encoding: materialise "
            "training_table again, or run full_rebuild"
        )
    labels = table["label"].to_numpy().astype(int)
    require_enough_labels(labels)
    matrix = np.empty((table.num_rows, len(encoding.names)), np.float32)
    for at, name in enumerate(encoding.names):
        matrix[:, at] = table[name].to_numpy()
    return TrainingData(table, encoding, matrix, labels)


@dg.asset(
    deps=["training_table", "feature_encoding"],
    group_name=story.MODEL,
    kinds={"xgboost", "scikitlearn", "parquet"},
    owners=story.OWNERS,
    code_version="1",
    metadata={"dagster/column_schema": story.table_schema(schemas.GRID_SEARCH_RESULTS)},
)
def hyperparameters(
    context: dg.AssetExecutionContext, files: DataFiles
) -> dg.MaterializeResult[None]:
    """Every combination of the search grid, scored in five folds; the best one trains."""
    import numpy as np
    import pyarrow as pa

    from atx_assets.learning.evaluation import FOLDS, assign_folds
    from atx_assets.learning.tuning import GRID, grid_search

    data = read_training_data(files)
    folds = assign_folds(data.labels, seed=0)

    def say(done: int, total: int) -> None:
        if done % (total // 10 or 1) == 0:
            context.log.info("hyperparameters: %d of %d fits", done, total)

    result = grid_search(
        data.matrix,
        data.labels,
        [np.flatnonzero(folds == fold) for fold in range(FOLDS)],
        GRID,
        flags_from=len(data.encoding.numeric),
        on_progress=say,
    )
    rows = _grid_rows(result)
    table = pa.Table.from_pylist(rows, schemas.arrow_schema(schemas.GRID_SEARCH_RESULTS))
    path = files.write_table("hyperparameters", table)
    best = rows[result.best]
    best_first = sorted(rows, key=lambda r: r["rank"])
    shown = ["rank", *schemas.GRID_KEYS, "mean_average_precision", "std_average_precision"]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "combinations": len(rows),
            "folds": FOLDS,
            "chosen by": "mean average precision (PR-AUC) over the folds, the first of equals",
            "best": dict(result.combinations[result.best]),
            "best PR-AUC": best["mean_average_precision"],
            "standard deviation over the folds": best["std_average_precision"],
            "within one standard error of the best": _near(rows, best, FOLDS),
            "preview": story.preview(best_first, shown),
            "dagster/column_lineage": story.lineage(
                {
                    c.name: [(dg.AssetKey("training_table"), "label")]
                    for c in schemas.GRID_SEARCH_RESULTS
                    if c.name not in schemas.GRID_KEYS
                }
            ),
            "file": dg.MetadataValue.path(str(path)),
            **_learned(data),
        }
    )


def _near(rows: list[dict[str, Any]], best: dict[str, Any], folds: int) -> int:
    least = best["mean_average_precision"] - best["std_average_precision"] / folds**0.5
    return sum(row["mean_average_precision"] >= least for row in rows)


def _grid_rows(result: "SearchResult") -> list[dict[str, Any]]:
    import numpy as np

    means = result.scores.mean(axis=1)
    stds = result.scores.std(axis=1, ddof=1)
    objective = means[:, schemas.FOLD_SCORES.index("average_precision")]
    # As scikit-learn ranks: equals share the best rank.
    ranks = [int(np.count_nonzero(objective > value)) + 1 for value in objective]
    rows = []
    for at, combination in enumerate(result.combinations):
        row = {key: combination[key] for key in schemas.GRID_KEYS} | {"rank": ranks[at]}
        for number, score in enumerate(schemas.FOLD_SCORES):
            row[f"mean_{score}"] = float(means[at, number])
            row[f"std_{score}"] = float(stds[at, number])
            for fold in range(result.scores.shape[1]):
                row[f"fold{fold}_{score}"] = float(result.scores[at, fold, number])
        rows.append(row)
    return rows


def best_combination(table: "pa.Table") -> dict[str, float | int]:
    """Return the combination that the search ranked first, the first of equals."""
    import pyarrow.compute as pc

    first = table.filter(pc.equal(table["rank"], 1)).slice(0, 1).to_pylist()[0]
    return {key: first[key] for key in schemas.GRID_KEYS}


@dg.asset(
    deps=["training_table", "feature_encoding", "hyperparameters"],
    group_name=story.MODEL,
    kinds={"xgboost", "mlflow"},
    owners=story.OWNERS,
    code_version="1",
)
def tuned_classifier(
    context: dg.AssetExecutionContext, files: DataFiles, mlflow: Mlflow
) -> dg.MaterializeResult[None]:
    """The classifier trained on every judged film, and how good its recipe is out of fold."""

    from atx_assets.learning import evaluation
    from atx_assets.learning.models import fit

    data = read_training_data(files)
    chosen = best_combination(files.read_table("hyperparameters"))
    with mlflow.run(context) as mlflow_run:
        held_out = evaluation.out_of_fold(data.matrix, data.labels, chosen)
        # In float64, as scoring does: in float32 the threshold may lie above its own title.
        blind = held_out.probabilities.mean(axis=0, dtype=float)
        threshold = evaluation.best_f1_threshold(data.labels, blind)
        measures = evaluation.fold_measures(
            data.labels, held_out.assignment, held_out.probabilities, threshold
        )
        numeric = len(data.encoding.numeric)
        rule = evaluation.single_feature_rule(
            data.matrix[:, :numeric], data.encoding.names, data.labels, held_out.assignment
        )
        quality = _quality(measures, rule)
        new = NewBundle(
            model=fit(data.matrix, data.labels, chosen),
            fold_models=held_out.models,
            encoding=data.encoding,
            learned_from=_learned_from(data.table, held_out),
            about={
                "hyperparameters": chosen,
                "threshold": threshold,
                "quality": quality,
                "learned_from": {
                    "layout": data.encoding.layout,
                    "rows": len(data.labels),
                    "keeps": int(data.labels.sum()),
                    "training_table_sha256": _sha256(files),
                },
            },
        )
        url, model_uri = _log(mlflow_run, mlflow, new, data, files)
        bundle = Bundles(files).promote(new)
        mlflow.mirror_champion(mlflow_run, model_uri, bundle.version)
    context.log.info("version %d, PR-AUC %.3f", bundle.version, quality["pr_auc"]["mean"])
    figures = {f"out-of-fold {k}": q["mean"] for k, q in quality.items() if k in measures}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(data.labels),
            "version": bundle.version,
            **figures,
            "PR-AUC of the best single-feature rule": quality["rule_pr_auc"]["mean"],
            "the rule": _rule_in_words(rule),
            "threshold": threshold,
            "trained on": len(data.labels),
            "keeps": int(data.labels.sum()),
            "hyperparameters": chosen,
            "preview": dg.MetadataValue.md(_quality_table(quality)),
            "evaluation": "mean over 25 folds (five folds, five seeds) of models that did not see "
            "the labels they are measured on; hyperparameters and threshold were chosen by these "
            "labels, which flatters the figures a little",
            "MLflow run": dg.MetadataValue.url(url),
            "file": dg.MetadataValue.path(str(files.path("tuned_classifier"))),
            "bundle": dg.MetadataValue.path(str(bundle.folder)),
            "dagster/column_schema": story.table_schema(feature_columns(data.encoding)),
            "dagster/column_lineage": story.lineage(
                {n: [(dg.AssetKey("training_table"), n)] for n in data.encoding.names}
            ),
            **_learned(data),
        }
    )


def _learned(data: TrainingData) -> dict[str, str]:
    """Say what was learned from, as sensors and the nightly schedule compare it."""
    fingerprints = story.fingerprint_metadata(story.snapshot_of(data.table))
    return {**fingerprints, "atx/recipe": recipe_version(read_settings())}


def _quality(measures: dict[str, list[float]], rule: "Rule") -> dict[str, dict[str, Any]]:
    import numpy as np

    def spread(values: list[float]) -> dict[str, Any]:
        return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1))}

    about_rule = {"feature": rule.feature, "high_is_keep": rule.high_is_keep}
    return {name: spread(values) for name, values in measures.items()} | {
        "rule_pr_auc": spread(rule.pr_auc) | about_rule
    }


def _rule_in_words(rule: "Rule") -> str:
    name = rule.feature.removesuffix("_norm")
    return f"rank by {name}, the {'highest' if rule.high_is_keep else 'lowest'} first"


def _quality_table(quality: dict[str, dict[str, Any]]) -> str:
    lines = ["| measure | mean of a fold | standard deviation |", "| --- | --- | --- |"]
    lines += [f"| {k} | {q['mean']:.4f} | {q['std']:.4f} |" for k, q in quality.items()]
    return "\n".join(lines)


def _learned_from(table: "pa.Table", held_out: "OutOfFold") -> "pa.Table":
    import pyarrow as pa

    learned = table.select(["key", "media_title", "label", "label_source"]).replace_schema_metadata(
        None
    )
    for seed, folds in enumerate(held_out.assignment):
        learned = learned.append_column(f"seed{seed}", pa.array(folds))
    return learned


def _sha256(files: DataFiles) -> str:
    """Fingerprint the rows alone, and not the state of the other films that they carry along."""
    import pyarrow as pa

    rows = files.read_table("training_table").replace_schema_metadata(None).combine_chunks()
    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_stream(stream, rows.schema) as writer:
            writer.write_table(rows)
        return hashlib.sha256(stream.getvalue()).hexdigest()


def _log(
    run: Any, mlflow: Mlflow, new: NewBundle, data: TrainingData, files: DataFiles
) -> tuple[str, str]:
    """Log the model to its MLflow run; return the address of the run's page, and the model's."""
    quality = new.about["quality"]
    run.set_tag("mlflow.runName", f"atx, {len(data.labels)} labels")
    run.log_params(new.about["hyperparameters"])
    run.log_metrics(
        {f"{name}_{kind}": quality[name][kind] for name in quality for kind in ("mean", "std")}
        | {
            "threshold": new.about["threshold"],
            "training_rows": len(data.labels),
            "training_keeps": int(data.labels.sum()),
        }
    )
    run.log_text(new.encoding.to_json(), "feature_encoding.json")
    run.log_artifact(str(files.path("hyperparameters")))
    logged = run.xgboost.log_model(
        new.model,
        name="model",
        model_format="ubj",
        input_example=data.matrix[:2],
        pip_requirements=_requirements(),
    )
    active = run.active_run().info
    return mlflow.run_url(active.experiment_id, active.run_id), logged.model_uri


def _requirements() -> list[str]:
    """Name what loading the model needs; left to itself, MLflow takes seconds to work it out."""
    from importlib.metadata import version

    names = ["xgboost" if sys.platform == "darwin" else "xgboost-cpu", "numpy"]
    return [f"{name}=={version(name)}" for name in names]


def champion(files: DataFiles, layout: str) -> Bundle:
    """Return the bundle that scores, if it knows the layout that the films are in.

    Raises:
        AtxError: nothing is trained yet, or it was trained on the other layout.
    """
    bundle = Bundles(files).champion()
    if bundle.encoding.layout != layout:
        raise AtxError(
            f"the champion (version {bundle.version}) learned from the {bundle.encoding.layout} "
            f"layout, but the films are now in the {layout} layout: run full_rebuild"
        )
    return bundle
