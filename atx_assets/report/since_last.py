"""What has changed since the previous champion: labels, and verdicts on films.

Not here: which version is better (`models/judging.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atx_assets.errors import MissingError
from atx_assets.learning.identity import as_learned
from atx_assets.learning.scoring import blind_probabilities
from atx_assets.models.bundle import Bundle
from atx_assets.models.bundles import Bundles
from atx_assets.report.scored_films import Scored
from atx_assets.sources.label_changes import LabelChanges, label_changes
from atx_assets.storage.data_folder import DataFolder

#: The most films named whose verdict has changed.
NAMED = 50


@dataclass(frozen=True)
class SinceLast:
    """What has changed since version `version` scored.

    `flipped` counts the films whose verdict has changed; `films` are the first `NAMED` of
    them, those whose probability moved most first: `media_title`, `release_year`, `imdb_id`, `was`
    and `now` (probabilities), `predicted`, `label` (in words).
    """

    version: int
    labels: LabelChanges
    flipped: int
    films: list[dict[str, Any]]


def since_last(files: DataFolder, scored: Scored) -> SinceLast | None:
    """Compare labels and verdicts with those of the previous champion; None if none is kept."""
    try:
        before = Bundles(files).before_champion()
    except MissingError:  # the first model, or the only one that is kept
        return None
    if before.version == scored.bundle.version:
        return None
    flipped, films = _flips(scored, before)
    return SinceLast(
        before.version, label_changes(scored.titles, before.learned_from), flipped, films
    )


def _flips(scored: Scored, before: Bundle) -> tuple[int, list[dict[str, Any]]]:
    was = blind_probabilities(as_learned(scored.titles, before.learned_from), before)
    now = scored.results["probability"].to_numpy()
    differs = (was >= before.threshold) != scored.results["predicted"].to_numpy()
    rows = np.flatnonzero(differs)
    first = rows[np.argsort(-np.abs(now - was)[rows], kind="stable")][:NAMED]
    about = ["media_title", "release_year", "imdb_id", "predicted", "actual"]
    named = scored.results.select(about).take(first).to_pylist()
    labels = {True: "keep", False: "skip", None: "no label"}
    return len(rows), [
        {**film, "was": float(was[at]), "now": float(now[at]), "label": labels[film["actual"]]}
        for at, film in zip(first, named, strict=True)
    ]
