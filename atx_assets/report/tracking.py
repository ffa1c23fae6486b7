"""What atx logs to MLflow about a model: one run, with all that is known of it, and the model.

Not here: where MLflow is (`defs/resources/mlflow.py`), which model is champion
(`defs/assets/tuned_classifier.py`).
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from mlflow import MlflowClient
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from atx_assets.models.bundle import Bundle
from atx_assets.models.scoring import score_titles
from atx_assets.models.training_data import TrainingData, what_was_learned
from atx_assets.report.mlflow_dataset import training_dataset
from atx_assets.report.pictures import film_pictures
from atx_assets.report.quality_tables import (
    calibration_table,
    markdown,
    measure_tables,
    threshold_table,
)
from atx_assets.report.scored_films import Scored
from atx_assets.report.shares import weak_table
from atx_assets.settings import Settings


@dataclass(frozen=True)
class Trained:
    """A model to log: its version, what it learned from, the search.

    `films` are all titles, and `curves` the figures of its quality, as PNG by name.
    """

    bundle: Bundle
    judged: dict[str, Any]
    data: TrainingData
    search: dict[str, Any]
    grid: pa.Table
    films: pa.Table
    curves: dict[str, bytes]


def log(run: Any, trained: Trained, settings: Settings) -> str:
    """Log the model and all that is known of it; return the model's address."""
    about, data = trained.bundle.about, trained.data
    run.log_params(
        {
            **about["hyperparameters"],
            "search": trained.search["search"],
            "objective": trained.search["objective"],
            "operating_point": about["operating_point"],
        }
    )
    learned = about["learned_from"]
    run.log_input(training_dataset(data, learned["training_table_sha256"]), context="training")
    # Before the measures: for those that a run has, MLflow asks for each history, one by one.
    logged = _log_model(run, trained)
    run.log_metrics(dict(_metrics(about, trained.judged)), model_id=logged.model_id)
    run.set_tags(
        {name.replace("/", "."): value for name, value in what_was_learned(data, settings).items()}
        | {
            "atx.training_table": learned["training_table_sha256"],
            "atx.code_version": version("atx-assets"),
        }
    )
    run.log_text(trained.bundle.encoding.to_json(), "feature_encoding.json")
    run.log_dict(about["quality"], "quality.json")
    run.log_table({n: trained.grid[n].to_pylist() for n in trained.grid.column_names}, "grid.json")
    bundle = trained.bundle
    scored = Scored(trained.films, score_titles(trained.films, bundle), bundle)
    for name, (heads, rows) in _tables(scored, trained.judged):
        run.log_table({head: [row[at] for row in rows] for at, head in enumerate(heads)}, name)
    with tempfile.TemporaryDirectory() as folder:
        for name, picture in {**trained.curves, **film_pictures(scored)}.items():
            (Path(folder) / f"{name}.png").write_bytes(picture)
        run.log_artifacts(folder, "figures")
    return str(logged.model_uri)


def _tables(
    scored: Scored, judged: dict[str, Any]
) -> Iterator[tuple[str, tuple[list[str], list[list[str]]]]]:
    """Yield the tables of the report, each under the name of its file in the run."""
    quality = scored.bundle.about["quality"]
    for part, (_, table) in zip(quality["slices"], measure_tables(quality, judged), strict=True):
        yield f"tables/measures_{part}.json", table
    yield "tables/thresholds.json", threshold_table(quality)
    yield "tables/calibration.json", calibration_table(quality)
    yield "tables/weak_parts.json", weak_table(scored)


def _log_model(run: Any, trained: Trained) -> Any:
    """Log the model in XGBoost's own format, without pickle; return what MLflow knows of it.

    Loaded through pyfunc it returns probabilities, as the Booster does.
    """
    names = trained.data.encoding.names
    example = pd.DataFrame(trained.data.matrix[:2], columns=names)
    signature = ModelSignature(
        inputs=Schema([ColSpec("float", name) for name in names]),
        outputs=Schema([ColSpec("float", "probability")]),
    )
    return run.xgboost.log_model(
        trained.bundle.model,
        name="model",
        model_format="ubj",
        signature=signature,
        input_example=example,
        pip_requirements=_requirements(),
    )


def describe(
    client: MlflowClient, mlflow_run: str, dagster_run: str, trained: Trained, settings: Settings
) -> str:
    """Give a run a name that a person can find, and describe it on its page.

    Args:
        client: of the MLflow server.
        mlflow_run: id of the run.
        dagster_run: id of the Dagster run that trained the model.
        trained: the model.
        settings: of the process.

    Returns:
        The description, as Markdown.
    """
    bundle, judged = trained.bundle, trained.judged
    quality, rows = bundle.about["quality"], bundle.about["learned_from"]["rows"]
    pr_auc = quality["model"]["all"]["pr_auc"]["mean"]
    url = f"http://{settings.web_host}:{settings.ui_port}/runs/{dagster_run}"
    place = "champion" if judged["promoted"] else "challenger"
    parts = [
        f"Version {bundle.version} became {place}: {judged.get('reason', '')}."
        + (f" **{judged['warning']}**." if judged.get("warning") else ""),
        f"Trained by [this Dagster run]({url}).",
    ]
    for heading, table in measure_tables(quality, judged):
        parts.append(f"### {heading}\n\n{markdown(table)}")
    parts.append(f"### Thresholds\n\n{markdown(threshold_table(quality))}")
    story = "\n\n".join(parts)
    for name, value in {
        "mlflow.runName": f"{settings.model_name} {bundle.version}: {rows} labels, "
        f"PR-AUC {pr_auc:.3f}",
        "mlflow.note.content": story,
        "atx_version": str(bundle.version),
        "atx.promotion": judged.get("reason", ""),
        "atx.dagster_run": url,
    }.items():
        client.set_tag(mlflow_run, name, value)
    return story


def _metrics(about: dict[str, Any], judged: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield every known figure: `pr_auc_mean`, `rule/newest/recall_std`, ..."""
    quality = about["quality"]
    groups = {"nested/": {k: v for k, v in quality["nested"].items() if isinstance(v, dict)}}
    groups["calibration/"] = {"error": quality["calibration"]["error"]}
    contenders = {name: quality[name] for name in ("model", "always_skip", "rule")}
    contenders["champion_recipe"] = judged.get("champion_recipe", {})
    for contender, slices in contenders.items():
        for name, measured in slices.items():
            prefix = "" if contender == "model" and name == "all" else f"{contender}/{name}/"
            groups[prefix] = measured
    for prefix, measured in groups.items():
        for measure, spread in measured.items():
            for kind in ("mean", "std"):
                if spread[kind] is not None:
                    yield f"{prefix}{measure}_{kind}", spread[kind]
    for name in ("difference", "p_worse"):
        if name in judged:
            yield f"champion_recipe/{name}", judged[name]
    yield "threshold", about["threshold"]
    yield "training_rows", about["learned_from"]["rows"]
    yield "training_keeps", about["learned_from"]["keeps"]
    for name, slice_ in quality["slices"].items():
        if name != "all":
            yield f"training_rows_{name}", slice_["titles"]


def _requirements() -> list[str]:
    """Return what loading the model requires; MLflow itself takes seconds to work it out."""
    names = ["xgboost" if sys.platform == "darwin" else "xgboost-cpu", "numpy", "pandas"]
    return [f"{name}=={version(name)}" for name in names]
