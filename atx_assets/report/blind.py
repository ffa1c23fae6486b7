"""What the models of the folds said of films that they had not seen: the data of the curves.

Not here: the curves (`learning/curves.py`), how they are drawn (`quality_figures.py`).
"""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from atx_assets.learning.curves import Blind
from atx_assets.learning.folds import SEEDS
from atx_assets.learning.scoring import blind_answers
from atx_assets.report.scored_films import Scored


def blind_of(scored: Scored) -> Blind:
    """Return what the models of the folds say of the films that they did not learn from.

    Only films that still exist count, with the labels that were learned from.
    """
    learned = scored.bundle.learned_from
    known = scored.titles.filter(scored.titles["learned_key"].is_valid())
    _, answers = blind_answers(known, scored.bundle)
    then = learned.take(pc.index_in(known["learned_key"], learned["key"].combine_chunks()))
    return Blind(
        then["label"].to_numpy().astype(int),
        answers.astype(float),
        np.stack([then[f"seed{seed}"].to_numpy() for seed in SEEDS]),
    )
