"""What must hold of each asset's file, as Dagster asset checks. A blocking one stops the run.

Not here: tests of our code. A check reads the files on the disk.
"""

from collections import Counter
from itertools import zip_longest
from typing import TYPE_CHECKING

import dagster as dg

from atx_assets.automation.failures import started_by_itself
from atx_assets.automation.losses import BY_HAND, lost_at_once
from atx_assets.automation.observe import held_of
from atx_assets.automation.tags import LABELS_STILL_THERE
from atx_assets.defs.resources.current_settings import CurrentSettings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.sources.extracted import (
    in_words,
    layout_of,
    read_titles,
    snapshot_of,
    too_many,
)

if TYPE_CHECKING:
    import pyarrow as pa

_EXAMPLES = 3

#: For a check that stops nothing: it waits until everything that people read is made. Dagster runs
#: the steps that are ready in the order of this priority.
_AFTER_ALL = {"dagster/priority": "-1"}


@dg.asset_check(asset="quarantine", additional_deps=["raw_media"], blocking=True)
def source_contract(current_settings: CurrentSettings, files: DataFiles) -> dg.AssetCheckResult:
    """Few rows of the source are set aside, and every row that was read is accounted for."""
    import pyarrow.parquet as pq

    from atx_assets.sources.contract import wrong_columns
    from atx_assets.sources.quarantine import keys_to_list
    from atx_assets.sources.sorted_library import sort_extracted

    layout = layout_of(files.read_table("raw_media", ()))
    file = pq.read_metadata(files.path("raw_media"))
    if faults := wrong_columns(file.schema.to_arrow_schema(), layout):
        return dg.AssetCheckResult(
            passed=False, description=f"atp.{layout.table}: {'; '.join(faults)}"
        )
    counts = sort_extracted(files)
    go_on = counts.good + counts.mended
    listed = files.read_table("quarantine")
    wanted = keys_to_list(files.path("raw_media"), counts, layout)
    if go_on + listed.num_rows != file.num_rows or listed["source_key"].to_pylist() != wanted:
        return dg.AssetCheckResult(
            passed=False,
            description=f"{file.num_rows} rows were read, {go_on} are used ({counts.good} good, "
            f"{counts.mended} mended) and {counts.quarantined} are set aside, but quarantine "
            f"lists {listed.num_rows} rows, or other ones: materialise quarantine again",
        )
    settings = current_settings.read()
    block = too_many(counts.quarantined, counts.read, settings)
    warn = counts.share > settings.quarantine_warn and not block
    limit = f", more than ATX_QUARANTINE_WARN ({settings.quarantine_warn:g})" if warn else block
    line = f"atp.{layout.table}: {in_words(counts.quarantined, counts.read)}{limit}"
    return dg.AssetCheckResult(
        passed=not limit,
        # A warning stops nothing, although the check is a blocking one.
        severity=dg.AssetCheckSeverity.WARN if warn else dg.AssetCheckSeverity.ERROR,
        description=line
        + _set_aside(listed)
        + ("; `atx show quarantine` lists them" if block else ""),
        metadata={
            "read": counts.read,
            "good": counts.good,
            "mended": counts.mended,
            "set aside": counts.quarantined,
            "share set aside": counts.share,
        },
    )


def _set_aside(listed: "pa.Table") -> str:
    """Name the first rows that are set aside, with their reasons."""
    first = listed.slice(0, _EXAMPLES).to_pylist()
    more = ", …" if listed.num_rows > _EXAMPLES else ""
    named = ", ".join(f"{row['source_key']} ({'; '.join(row['reasons'])})" for row in first)
    return f": {named}{more}" if named else ""


def _unique(table: "pa.Table", key: str, what: str) -> dg.AssetCheckResult:
    import pyarrow as pa
    import pyarrow.compute as pc

    counts = pa.table({key: table[key]}).group_by(key).aggregate([(key, "count")])
    twice = counts.filter(pc.greater(counts[f"{key}_count"], 1))
    missing = table[key].null_count
    examples = ", ".join(map(str, twice[key].slice(0, _EXAMPLES).to_pylist()))
    passed = twice.num_rows == 0 and missing == 0
    return dg.AssetCheckResult(
        passed=passed,
        description=f"{table.num_rows} {what}, each {key} once"
        if passed
        else f"{twice.num_rows} values of {key} occur more than once ({examples}), {missing} are "
        "missing",
        metadata={"repeated": twice.num_rows, "missing": missing},
    )


@dg.asset_check(asset="raw_media", name=LABELS_STILL_THERE, blocking=True)
def labels_still_there(
    context: dg.AssetCheckExecutionContext, current_settings: CurrentSettings, files: DataFiles
) -> dg.AssetCheckResult:
    """Labels and films are still there, unless a person started the run."""
    snapshot = snapshot_of(files.read_table("raw_media", ()))["fingerprints"]
    held = held_of(context.instance, files.folder)
    limit = current_settings.read().automation.label_drop_limit
    lost = lost_at_once(held, snapshot["labels"], snapshot["media"], limit)
    if not lost:
        return dg.AssetCheckResult(passed=True, description="labels and films are there as before")
    if not started_by_itself(context.run):
        return dg.AssetCheckResult(passed=True, description=f"{lost}; the run was started by hand")
    return dg.AssetCheckResult(passed=False, description=f"{lost}: {BY_HAND}")


@dg.asset_check(asset="training_table", blocking=True)
def training_keys_unique(files: DataFiles) -> dg.AssetCheckResult:
    """Each training row has a key, and no two rows share one."""
    return _unique(files.read_table("training_table", ["key"]), "key", "training rows")


@dg.asset_check(asset="training_table", blocking=True)
def enough_labels(files: DataFiles) -> dg.AssetCheckResult:
    """There are enough keeps and enough skips to learn from."""
    import pyarrow.compute as pc

    from atx_assets.learning.folds import LEAST_LABELS, too_few_labels

    table = files.read_table("training_table", ["label"])
    keeps = pc.sum(pc.cast(table["label"], "int64")).as_py() or 0
    skips = table.num_rows - keeps
    passed = min(keeps, skips) >= LEAST_LABELS
    return dg.AssetCheckResult(
        passed=passed,
        description=f"{keeps} keeps and {skips} skips" if passed else too_few_labels(keeps, skips),
        metadata={"keeps": keeps, "skips": skips, "needed of each": LEAST_LABELS},
    )


@dg.asset_check(asset="training_table", blocking=True)
def only_trusted_labels(files: DataFiles) -> dg.AssetCheckResult:
    """No training row is unlabelled, and a model labelled none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = files.read_table("training_table", ["key", "label", "label_source"])
    trusted = pc.is_in(table["label_source"], pa.array(["human", "rule"]))
    bad = table.filter(pc.or_(pc.invert(trusted), table["label"].is_null()))
    examples = ", ".join(bad["key"].slice(0, _EXAMPLES).to_pylist())
    return dg.AssetCheckResult(
        passed=bad.num_rows == 0,
        description=f"{bad.num_rows} training rows have no label, or one by a model: {examples}"
        if bad.num_rows
        else f"all {table.num_rows} training rows were labelled by a person or a rule",
        metadata={"untrusted": bad.num_rows},
    )


@dg.asset_check(asset="training_table", additional_deps=["feature_encoding"], op_tags=_AFTER_ALL)
def no_feature_tells_the_label(files: DataFiles) -> dg.AssetCheckResult:
    """No single feature ranks keeps before skips almost perfectly, as a leaked label would."""
    from atx_assets.learning.leaks import TOO_GOOD, telling_features
    from atx_assets.models.training_data import read_training_data

    data = read_training_data(files)
    features = telling_features(data.matrix, data.labels, data.encoding.names)
    named = ", ".join(f"{name} (ROC-AUC {area:.3f})" for name, area in features)
    return dg.AssetCheckResult(
        passed=not features,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{named}: a feature that predicts the label by itself may be derived from it; "
        "check where the column comes from"
        if features
        else f"no feature's own ROC-AUC exceeds {TOO_GOOD}",
        metadata={"features": [name for name, _ in features]},
    )


@dg.asset_check(asset="tuned_classifier", op_tags=_AFTER_ALL)
def champion_passes_guards(files: DataFiles) -> dg.AssetCheckResult:
    """The version that scores beats the best single-feature rule, and is calibrated."""
    from atx_assets.learning.promotion import failed_guards
    from atx_assets.models.bundles import Bundles

    champion = Bundles(files).champion()
    failed = failed_guards(champion.about["quality"])
    return dg.AssetCheckResult(
        passed=not failed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"version {champion.version}: "
        + ("; ".join(failed) if failed else "PR-AUC, calibration and all measures are sound"),
        metadata={"version": champion.version, "failed": len(failed)},
    )


@dg.asset_check(
    asset="training_table", additional_deps=["feature_encoding", "titles"], op_tags=_AFTER_ALL
)
def encoder_round_trip(files: DataFiles) -> dg.AssetCheckResult:
    """The encoding, read back from its file, gives the training table's numbers, bit for bit."""
    import numpy as np
    import pyarrow as pa

    from atx_assets.learning.features import FeatureEncoding

    table = files.read_table("training_table")
    encoding = FeatureEncoding.from_json(files.read_text("feature_encoding"))
    titles = read_titles(files)
    titles = titles.filter(titles["trains"])
    if not pa.array(table["key"]).equals(pa.array(titles["key"])):
        return dg.AssetCheckResult(
            passed=False, description="training_table has other titles than the file titles has now"
        )
    matrix = encoding.matrix(titles)
    different = [
        name
        for at, name in enumerate(encoding.names)
        if name not in table.column_names
        or not np.array_equal(
            table[name].to_numpy().astype(np.float32), matrix[:, at], equal_nan=True
        )
    ]
    return dg.AssetCheckResult(
        passed=not different,
        description=f"features that differ: {', '.join(different[:_EXAMPLES])}"
        if different
        else f"{len(encoding.names)} features of {table.num_rows} titles are the same",
        metadata={"different features": len(different)},
    )


@dg.asset_check(asset="scored_results", additional_deps=["titles"], op_tags=_AFTER_ALL)
def every_film_scored_once(files: DataFiles) -> dg.AssetCheckResult:
    """Each film that was read has one score, a number from 0 to 1."""
    rows, no_number, same = _compare_scores(files)
    faults = {"scored more than once": 0, "not scored": 0, "scored but not read": 0}
    if not same:
        faults = _differing_films(files)
    faults["without a probability"] = no_number
    named = ", ".join(f"{number} films {what}" for what, number in faults.items() if number)
    return dg.AssetCheckResult(
        passed=not named,
        description=named or f"all {rows} films are scored, each once",
        metadata=dict(faults),
    )


def _compare_scores(files: DataFiles) -> tuple[int, int, bool]:
    """Compare scores and titles side by side, a part at a time.

    Returns:
        The number of scores, the number that are not from 0 to 1, and whether both files have the
        same films in the same parts, each once and in the order of their keys.
    """
    import numpy as np
    import pyarrow.compute as pc

    rows, no_number, same, last = 0, 0, True, ""
    scores = files.read_parts("scored_results", ["key", "probability"])
    for scored, titles in zip_longest(scores, files.read_parts("titles", ["key"])):
        if scored is None:
            return rows, no_number, False
        keys, probability = scored["key"], scored["probability"].to_numpy()
        rows += len(keys)
        no_number += int(np.count_nonzero(~((probability >= 0) & (probability <= 1))))
        same &= titles is not None and keys.equals(titles["key"])
        if len(keys):
            same &= (
                keys[0].as_py() > last and pc.all(pc.less(keys[:-1], keys[1:])).as_py() is not False
            )
            last = keys[-1].as_py()
    return rows, no_number, same


def _differing_films(files: DataFiles) -> dict[str, int]:
    """Count the films in which scores and titles differ."""
    scored = Counter(files.read_table("scored_results", ["key"])["key"].to_pylist())
    titles = set(read_titles(files, ["key"])["key"].to_pylist())
    return {
        "scored more than once": sum(scored.values()) - len(scored),
        "not scored": len(titles - scored.keys()),
        "scored but not read": len(scored.keys() - titles),
    }


def _agrees(files: DataFiles, asset: str, kind: str) -> dg.AssetCheckResult:
    import pyarrow.compute as pc

    results = files.read_table("scored_results", ["key", "cm_value"])
    expected = set(results.filter(pc.equal(results["cm_value"], kind))["key"].to_pylist())
    listed = [record["key"] for record in files.read_records(asset)]
    differing = expected.symmetric_difference(listed)
    passed = not differing and len(listed) == len(expected)
    return dg.AssetCheckResult(
        passed=passed,
        description=f"{len(listed)} films, as in the confusion matrix"
        if passed
        else f"{len(listed)} films are listed and {len(expected)} are {kind} in scored_results: "
        + ", ".join(sorted(differing)[:_EXAMPLES]),
        metadata={"listed": len(listed), "in the confusion matrix": len(expected)},
    )


@dg.asset_check(asset="false_positives", additional_deps=["scored_results"], op_tags=_AFTER_ALL)
def false_positives_agree(files: DataFiles) -> dg.AssetCheckResult:
    """The list holds the films that the confusion matrix counts as false positives."""
    return _agrees(files, "false_positives", "fp")


@dg.asset_check(asset="false_negatives", additional_deps=["scored_results"], op_tags=_AFTER_ALL)
def false_negatives_agree(files: DataFiles) -> dg.AssetCheckResult:
    """The list holds the films that the confusion matrix counts as false negatives."""
    return _agrees(files, "false_negatives", "fn")


CHECKS = [
    labels_still_there,
    source_contract,
    training_keys_unique,
    enough_labels,
    only_trusted_labels,
    no_feature_tells_the_label,
    encoder_round_trip,
    champion_passes_guards,
    every_film_scored_once,
    false_positives_agree,
    false_negatives_agree,
]
