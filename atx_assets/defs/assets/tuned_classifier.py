"""Trains, measures and logs the classifier, and promotes it if it is good enough.

Not here: how training, evaluation and the decision work (`learning/`), how a bundle is kept
(`models/bundles.py`), what is logged to MLflow (`report/tracking.py`).
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from atx_assets.defs.assets import asset_page
from atx_assets.defs.assets.hyperparameters import read_search
from atx_assets.defs.assets.model_page import model_page
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.defs.resources.mlflow import Mlflow
from atx_assets.errors import SettingError
from atx_assets.schemas import FLOAT, Column
from atx_assets.settings import Settings
from atx_assets.sources.extracted import read_titles

if TYPE_CHECKING:
    import pyarrow as pa

    from atx_assets.learning.evaluation import OutOfFold
    from atx_assets.learning.models import Hyperparameters
    from atx_assets.learning.quality import Evidence
    from atx_assets.models.bundle import Bundle
    from atx_assets.models.new_bundle import NewBundle
    from atx_assets.models.training_data import TrainingData
    from atx_assets.operating_point import OperatingPoint
    from atx_assets.report.tracking import Trained

#: The model's output.
_ANSWER = Column("probability", FLOAT, "probability of a keep, from the features of a film")
_UNCHANGED = "trained again, and identical to the last byte"


@dg.asset(
    deps=["titles", "training_table", "feature_encoding", "hyperparameters"],
    group_name=asset_page.MODEL,
    kinds={"xgboost", "mlflow"},
    owners=asset_page.OWNERS,
    code_version="3",
    # Without the features, which the encoding lists: they would hide everything else on the page.
    metadata={"dagster/column_schema": asset_page.table_schema([_ANSWER])},
)
def tuned_classifier(
    context: dg.AssetExecutionContext,
    current_settings: CurrentSettings,
    files: DataFiles,
    mlflow: Mlflow,
) -> dg.MaterializeResult[None]:
    """The classifier, trained on every labelled film; champion if it is not worse."""
    from atx_assets.learning.curves import Blind
    from atx_assets.learning.evaluation import out_of_fold
    from atx_assets.learning.identity import as_learned
    from atx_assets.models.bundles import Bundles
    from atx_assets.models.judging import judge
    from atx_assets.models.training_data import read_training_data, what_was_learned
    from atx_assets.report.pictures import quality_pictures

    clock = asset_page.Clock()
    settings = current_settings.read()
    data = read_training_data(files)
    chosen, search, grid = read_search(files)
    files.require("training_table", "titles")
    films = read_titles(files)
    titles = films.filter(films["trains"])
    evidence = _evidence(data, titles, settings)
    bundles = Bundles(files)
    page = {}
    with mlflow.run(context, settings) as run:
        held_out = out_of_fold(data.matrix, data.labels, chosen)
        nested = _comparable(search, data, evidence.point)
        new, pr_auc = _train(evidence, data, chosen, held_out, nested, titles)
        blind = Blind(data.labels, held_out.probabilities.astype(float), held_out.assignment)
        curves = quality_pictures(blind, new.about["quality"])
        before = bundles.champion_to_meet(data.encoding.layout)
        bundle = bundles.keep(new)
        unchanged = before is not None and before.version == bundle.version
        judged = (
            {**bundle.judged, "promoted": True}
            if unchanged
            else judge(bundles, bundle, before, titles, evidence, pr_auc)
        )
        champion = bundle if judged["promoted"] or before is None else before
        if run:
            # Imported here: they import MLflow, which is slow and unused with ATX_MLFLOW=off.
            from atx_assets.models.registered_model import mirror
            from atx_assets.report.tracking import Trained

            known = as_learned(films, bundle.learned_from)
            trained = Trained(bundle, judged, data, search, grid, known, curves)
            challenger = None if judged["promoted"] else bundle
            with mlflow.telling(settings):
                url = _log_to_mlflow(run, trained, mlflow, context.run.run_id, settings)
                # Before the champion changes: if MLflow goes away here, the last model stays.
                mirror(run.tracking_client, settings.model_name, champion, challenger)
            page = {"MLflow run": dg.MetadataValue.url(url)}
        if judged["promoted"]:
            bundles.promote(bundle)
        else:
            bundles.challenge(bundle)
        bundles.prune()
    _say(context, bundle, judged, unchanged)
    return dg.MaterializeResult(
        metadata={
            **model_page(settings, bundle, champion, judged, curves),
            **({"this training": _UNCHANGED} if unchanged else {}),
            "seconds": clock.seconds,
            **page,
            "file": dg.MetadataValue.path(str(files.path("tuned_classifier"))),
            "bundle": dg.MetadataValue.path(str(bundle.folder)),
            "dagster/column_lineage": asset_page.lineage(
                {_ANSWER.name: [(dg.AssetKey("training_table"), n) for n in data.encoding.names]}
            ),
            **what_was_learned(data, settings),
        }
    )


def _evidence(data: "TrainingData", titles: "pa.Table", settings: Settings) -> "Evidence":
    """Return the data on which quality is measured."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from atx_assets.learning.quality import Evidence

    created = pc.cast(pc.cast(titles["created_at"], pa.int64()), pa.float64())
    return Evidence(
        matrix=data.matrix,
        labels=data.labels,
        names=data.encoding.names,
        numeric=len(data.encoding.numeric),
        sources=np.array(data.table["label_source"].to_pylist(), object),
        created=created.to_numpy(),
        point=settings.learning.operating_point,
    )


def _comparable(
    search: dict[str, Any], data: "TrainingData", point: "OperatingPoint"
) -> dict[str, Any]:
    """Return the search's measures, without those at the threshold if the operating point changed.

    `current` says whether they were measured on the labels and features of this training.
    """
    from atx_assets.models.training_data import training_sha256

    nested = {
        **search["nested"],
        "current": search.get("training_table_sha256") == training_sha256(data),
    }
    if search["operating_point"] == str(point):
        return nested
    at_the_point = ("recall", "precision", "f1", "false_positive_rate")
    return {name: value for name, value in nested.items() if name not in at_the_point}


def _train(
    evidence: "Evidence",
    data: "TrainingData",
    chosen: "Hyperparameters",
    held_out: "OutOfFold",
    nested: dict[str, Any],
    titles: "pa.Table",
) -> tuple["NewBundle", list[float]]:
    """Train and measure; return everything in the new version, and its PR-AUC in each fold.

    Raises:
        SettingError: no threshold reaches the operating point.
    """
    from atx_assets.learning.models import fit
    from atx_assets.learning.quality import measure_quality
    from atx_assets.models.new_bundle import NewBundle
    from atx_assets.models.training_data import training_sha256

    quality, pr_auc = measure_quality(evidence, chosen, held_out, nested)
    in_use = next(row for row in quality["alternatives"] if row["in_use"])
    if in_use["threshold"] is None:
        raise SettingError(
            f"ATX_OPERATING_POINT={evidence.point} is out of reach: no threshold reaches it out "
            "of fold; ask for less, or set f1. The last model stays in place"
        )
    new = NewBundle(
        model=fit(data.matrix, data.labels, chosen),
        fold_models=held_out.models,
        encoding=data.encoding,
        learned_from=_learned_from(data, titles, chosen, held_out),
        about={
            "hyperparameters": dict(chosen),
            "operating_point": str(evidence.point),
            "threshold": in_use["threshold"],
            "quality": quality,
            "learned_from": {
                "layout": data.encoding.layout,
                "rows": len(data.labels),
                "keeps": int(data.labels.sum()),
                "training_table_sha256": training_sha256(data),
            },
        },
    )
    return new, pr_auc


def _log_to_mlflow(
    run: Any, trained: "Trained", mlflow: Mlflow, dagster_run: str, settings: Settings
) -> str:
    """Log and register a model, unless MLflow already has it; return its run's page."""
    from atx_assets.models.mlflow_client import run_url
    from atx_assets.models.registered_model import register, registered
    from atx_assets.report.tracking import describe, log

    client = run.tracking_client
    known = registered(client, settings.model_name, trained.bundle)
    if known is not None:
        # One run per model: the first that made these bytes. It may have failed afterwards.
        mlflow.forget(run)
        client.set_terminated(known.run_id, "FINISHED")
        client.set_tag(known.run_id, "atx.promotion", trained.judged.get("reason", ""))
        return run_url(settings, client, known.run_id)
    mlflow_run = run.active_run().info.run_id
    model_uri = log(run, trained, settings)
    register(
        client,
        settings.model_name,
        trained.bundle,
        run_id=mlflow_run,
        model_uri=model_uri,
        description=describe(client, mlflow_run, dagster_run, trained, settings),
    )
    return run_url(settings, client, mlflow_run)


def _say(
    context: dg.AssetExecutionContext, bundle: "Bundle", judged: dict[str, Any], unchanged: bool
) -> None:
    place = "champion" if judged["promoted"] else "challenger"
    reason = _UNCHANGED if unchanged else judged["reason"]
    context.log.info("version %d is %s: %s", bundle.version, place, reason)
    if judged.get("warning"):
        context.log.warning("version %d: %s", bundle.version, judged["warning"])


def _learned_from(
    data: "TrainingData", titles: "pa.Table", chosen: "Hyperparameters", held_out: "OutOfFold"
) -> "pa.Table":
    """Return the films learned from, the folds that held each out, and a sceptical probability.

    `sceptical` is the probability by models that do not trust a rule's keeps, or by the models of
    the folds if people gave too few keeps to train without those.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from atx_assets.learning.identity import names_and_years
    from atx_assets.learning.review import can_be_sceptical, sceptical_probabilities

    by_person = pc.equal(data.table["label_source"], "human").to_numpy()
    if can_be_sceptical(data.labels, by_person):
        sceptical = sceptical_probabilities(
            data.matrix, data.labels, by_person, chosen, held_out.assignment
        )
    else:
        sceptical = held_out.probabilities.mean(axis=0, dtype=np.float64)
    learned = data.table.select(["key", "media_title", "label", "label_source"])
    learned = learned.replace_schema_metadata(None)
    learned = learned.append_column("named", names_and_years(titles))
    for name in ("hash", "tmdb_id"):
        learned = learned.append_column(name, titles[name].combine_chunks())
    for seed, folds in enumerate(held_out.assignment):
        learned = learned.append_column(f"seed{seed}", pa.array(folds))
    return learned.append_column("sceptical", pa.array(sceptical))
