"""What MLflow is told of a model: one run, with all that is known of it, and the model itself.

Not here: where MLflow is (`resources/mlflow.py`), which model is champion (`classifier.py`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from atx_assets.assets.quality_tables import markdown, measure_tables, threshold_table
from atx_assets.assets.training import TrainingData, what_was_learned
from atx_assets.resources.bundle import Bundle, NewBundle
from atx_assets.resources.mlflow import run_url
from atx_assets.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Trained:
    """A model as it is logged: what it is made of, what it learned, the search, the figure."""

    new: NewBundle
    data: TrainingData
    search: dict[str, Any]
    grid: pa.Table
    figure: bytes


def log_figures(run: Any, trained: Trained, settings: Settings) -> None:
    """Log parameters, metrics, tables and the figure of a model."""
    about, data = trained.new.about, trained.data
    run.log_params(
        {
            **about["hyperparameters"],
            "search": trained.search["search"],
            "objective": trained.search["objective"],
            "operating_point": about["operating_point"],
        }
    )
    run.log_metrics(dict(_metrics(about)))
    for name, value in what_was_learned(data).items():
        run.set_tag(name.replace("/", "."), value)
    run.set_tag("training_table_sha256", about["learned_from"]["training_table_sha256"])
    run.set_tag("atx.dagster_run", dagster_url(settings, run.active_run().data.tags))
    run.log_text(trained.new.encoding.to_json(), "feature_encoding.json")
    run.log_dict(about["quality"], "quality.json")
    run.log_table({n: trained.grid[n].to_pylist() for n in trained.grid.column_names}, "grid.json")
    with_image(run, trained.figure)


def with_image(run: Any, figure: bytes) -> None:
    """Log the figure of quality as a PNG file."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quality.png"
        path.write_bytes(figure)
        run.log_artifact(str(path))


def log_model(run: Any, trained: Trained) -> str:
    """Log the model in XGBoost's own format, without pickle; return its address.

    Loaded through pyfunc it answers with probabilities, as the Booster does.
    """
    import pandas as pd
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    names = trained.data.encoding.names
    example = pd.DataFrame(trained.data.matrix[:2], columns=names)
    signature = ModelSignature(
        inputs=Schema([ColSpec("float", name) for name in names]),
        outputs=Schema([ColSpec("float", "probability")]),
    )
    logged = run.xgboost.log_model(
        trained.new.model,
        name="model",
        model_format="ubj",
        signature=signature,
        input_example=example,
        pip_requirements=_requirements(),
    )
    return str(logged.model_uri)


def describe(run: Any, bundle: Bundle, judged: dict[str, Any], settings: Settings) -> str:
    """Name the run so that a person finds it, and tell its story; return the story."""
    about = bundle.about
    quality, rows = about["quality"], about["learned_from"]["rows"]
    promoted = judged["promoted"]
    run.set_tag(
        "mlflow.runName",
        f"{settings.model_name} {bundle.version}, {rows} labels, "
        f"{'champion' if promoted else 'challenger'}",
    )
    run.set_tag("atx_version", bundle.version)
    run.set_tag("atx.promotion", judged["reason"])
    url = dagster_url(settings, run.active_run().data.tags)
    parts = [
        f"Version {bundle.version}, {'champion' if promoted else 'challenger'}: {judged['reason']}."
        + (f" **{judged['warning']}**." if judged.get("warning") else ""),
        f"Trained by [this run of Dagster]({url}).",
    ]
    for heading, table in measure_tables(quality, judged):
        parts.append(f"### {heading}\n\n{markdown(table)}")
    parts.append(f"### Thresholds\n\n{markdown(threshold_table(quality))}")
    story = "\n\n".join(parts)
    run.set_tag("mlflow.note.content", story)
    return story


def page_of(run: Any) -> str:
    """Return the address of the run's page."""
    active = run.active_run().info
    return run_url(active.experiment_id, active.run_id)


def dagster_url(settings: Settings, tags: dict[str, str]) -> str:
    """Return the address of the Dagster run that an MLflow run belongs to."""
    return f"http://127.0.0.1:{settings.ui_port}/runs/{tags.get('dagster_run_id', '')}"


def _metrics(about: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield every figure that is known: `pr_auc_mean`, `rule/newest/recall_std`, ..."""
    quality = about["quality"]
    groups = {"nested/": {k: v for k, v in quality["nested"].items() if k != "labels"}}
    groups["calibration/"] = {"error": quality["calibration"]["error"]}
    for contender in ("model", "always_skip", "rule"):
        for name, measured in quality[contender].items():
            prefix = "" if contender == "model" and name == "all" else f"{contender}/{name}/"
            groups[prefix] = measured
    for prefix, measured in groups.items():
        for measure, spread in measured.items():
            for kind in ("mean", "std"):
                if spread[kind] is not None:
                    yield f"{prefix}{measure}_{kind}", spread[kind]
    yield "threshold", about["threshold"]
    yield "training_rows", about["learned_from"]["rows"]
    yield "training_keeps", about["learned_from"]["keeps"]
    for name, slice_ in quality["slices"].items():
        if name != "all":
            yield f"training_rows_{name}", slice_["titles"]


def _requirements() -> list[str]:
    """Name what loading the model needs; left to itself, MLflow takes seconds to work it out."""
    names = ["xgboost" if sys.platform == "darwin" else "xgboost-cpu", "numpy", "pandas"]
    return [f"{name}=={version(name)}" for name in names]
