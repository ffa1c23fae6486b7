"""The comparison of a new version with the champion, on the same rows, before it may score.

Not here: the decision itself (`learning/promotion.py`), who is champion (`models/bundles.py`).
"""

from typing import Any

import pyarrow as pa

from atx_assets.learning.evaluation import OutOfFold, assignments, out_of_fold
from atx_assets.learning.promotion import compare, decide
from atx_assets.learning.quality import Evidence, measure_recipe
from atx_assets.learning.scoring import blind_answers
from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles


def judge(
    bundles: Bundles,
    bundle: Bundle,
    before: Bundle | None,
    titles: pa.Table,
    evidence: Evidence,
    pr_auc: list[float],
) -> dict[str, Any]:
    """Decide whether a version becomes champion, and record why.

    Args:
        bundles: the versions that are kept.
        bundle: the new one.
        before: the champion; None if no version scores these films.
        titles: the training rows as titles.
        evidence: the same rows as features.
        pr_auc: of the new version, in each fold.

    Returns:
        `promoted`, `reason`, `warning`; and from the comparison `champion`, `difference`,
        `p_worse` and `champion_recipe`, its figures by slice and measure.
    """
    quality = bundle.about["quality"]
    met: dict[str, Any] = {}
    if before is None:
        decision = decide(quality)
    else:
        labels_changed = not _labels(bundle).equals(_labels(before))
        answers = _champions_answers(bundle, before, titles, evidence, labels_changed)
        recipe = before.about["hyperparameters"]
        comparison = figures = None
        if answers is not None:
            figures, by_fold = measure_recipe(evidence, recipe, answers)
            comparison = compare(pr_auc, by_fold["pr_auc"])
        decision = decide(
            quality,
            champion=before.version,
            champion_quality=before.about["quality"],
            comparison=comparison,
            labels_changed=labels_changed,
            declined=_declined(bundles, bundle),
        )
        met["champion"] = before.version
        if comparison:
            met |= {
                "difference": comparison.difference,
                "p_worse": comparison.p_worse,
                "champion_recipe": figures,
            }
    judged = {
        "promoted": decision.promoted,
        "reason": decision.reason,
        "warning": decision.warning,
        **met,
    }
    bundles.judge(bundle, judged)
    return judged


def _champions_answers(
    bundle: Bundle,
    before: Bundle,
    titles: pa.Table,
    evidence: Evidence,
    labels_changed: bool,
) -> OutOfFold | None:
    """Return what the champion says of the training rows, in the folds of the new version.

    If the labels are those that it learned from, its own models answer: their folds are the same.
    If they are others, or this XGBoost reads its models differently, its recipe is fitted again;
    None if the new version has the same recipe.
    """
    if not labels_changed and before.answers_as_then:
        _, answers = blind_answers(titles, before)
        return OutOfFold(assignments(evidence.labels), [], answers)
    recipe = before.about["hyperparameters"]
    if recipe == bundle.about["hyperparameters"]:
        return None
    return out_of_fold(evidence.matrix, evidence.labels, recipe)


def _declined(bundles: Bundles, bundle: Bundle) -> bool:
    """Return whether a person replaced this version as champion, or one with its labels."""
    if bundle.version in bundles.place().declined:
        return True
    return any(not has_newer_labels(bundle, other) for other in bundles.declined())


def has_newer_labels(bundle: Bundle, other: Bundle) -> bool:
    """Return whether a version learned from a label that another one did not know.

    A title is the same by its key or by its name and year: a film whose IMDb id is found later has
    another key, but no newer label. Removed labels are not newer either.
    """

    def given(by: str, learned: pa.Table) -> list[tuple[Any, ...]]:
        columns = (by, "label", "label_source")
        return list(zip(*(learned[name].to_pylist() for name in columns), strict=True))

    ours, known = bundle.learned_from, other.learned_from
    keys, names = (set(given(by, known)) for by in ("key", "named"))
    both = zip(given("key", ours), given("named", ours), strict=True)
    return any(key not in keys and name not in names for key, name in both)


def _labels(bundle: Bundle) -> pa.Table:
    return bundle.learned_from.select(["key", "label", "label_source"])
