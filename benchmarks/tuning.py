"""The hyperparameter search: ours against scikit-learn's `GridSearchCV`.

What: all 324 combinations of the grid over five folds, with six scores for each (`full`); and the
race over the same grid (`race`), the default.

Against: the original's way, `GridSearchCV(XGBClassifier(), n_jobs=-1)` on the training table as a
pandas frame, with one score, as the original ran it. For information, a peer that gets more than
the original had: the dense float32 matrix, and the same six scores as ours.

On: training tables of exports in either layout (`--data`, by default the owner's next to the
repository). Reading and encoding them and imports are excluded.

To reach: `full` 6 times faster than the original's way, with every score equal to 1e-12 and the
same winner; `race` 20 times faster, its winner's mean score below the best of the full grid by at
most half a standard error on average over 20 seeds of the folds, and never by more than one.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import timing

FULL, RACE, PEER, HARD_PEER = "full", "race", "the original's way", "dense matrix, six scores"
FASTER = {FULL: 6, RACE: 20}
SEEDS = 20


def make_training(export: Path, into: Path) -> None:
    """Leave the training matrix of an export, in a process of its own."""
    import numpy as np
    from exports import read_export

    _, training, encoding = read_export(export)
    np.savez(
        into,
        matrix=encoding.matrix(training),
        labels=training["label"].to_numpy().astype(int),
        names=encoding.names,
        numeric=len(encoding.numeric),
    )


def folds_of(labels: Any, seed: int = 0) -> list[Any]:
    """The rows of each fold."""
    from atx_assets.learning.evaluation import fold_rows

    return fold_rows(labels, seed)


def ours(way: str, data: Any) -> Callable[[], Any]:
    """Our search, full or by race."""
    import sklearn.metrics
    import sklearn.model_selection  # noqa: F401  (not to be timed)
    import xgboost  # noqa: F401

    from atx_assets.learning import tuning

    search = tuning.grid_search if way == FULL else tuning.race
    labels = data["labels"]

    def work() -> Any:
        result = search(
            data["matrix"],
            labels,
            folds_of(labels),
            tuning.GRID,
            flags_from=int(data["numeric"]),
        )
        return result.scores.tolist(), result.best

    return work


def peers(way: str, data: Any) -> Callable[[], Any]:
    """scikit-learn's search, on a frame with one score or on the matrix with six."""
    import numpy as np
    import pandas as pd
    from sklearn.model_selection import GridSearchCV
    from xgboost import XGBClassifier

    from atx_assets.learning.tuning import GRID
    from atx_assets.schemas import FOLD_SCORES

    matrix, labels, numeric = data["matrix"], data["labels"], int(data["numeric"])
    everything = np.arange(len(labels))
    scores: Any = "average_precision"
    if way == PEER:
        flags = dict.fromkeys(data["names"][numeric:], "uint8")
        matrix = pd.DataFrame(matrix, columns=data["names"]).astype(flags)
    else:
        scores = {name: name for name in FOLD_SCORES} | {"log_loss": "neg_log_loss"}

    def work() -> Any:
        found = GridSearchCV(
            XGBClassifier(objective="binary:logistic", random_state=0),
            {key: list(values) for key, values in GRID.items()},
            scoring=scores,
            cv=[(np.setdiff1d(everything, held), held) for held in folds_of(labels)],
            n_jobs=-1,
            refit=False,
        )
        found.fit(matrix, labels)
        if way == PEER:
            return None
        results = found.cv_results_
        table = [
            [
                [
                    (-1 if name == "log_loss" else 1) * results[f"split{fold}_test_{name}"][at]
                    for name in FOLD_SCORES
                ]
                for fold in range(5)
            ]
            for at in range(len(results["params"]))
        ]
        means = results["mean_test_average_precision"]
        return table, int(np.argmax(means))

    return work


def behind(data: Any, seed: int) -> float:
    """How many standard errors the race's winner is behind the best of the full grid."""
    from atx_assets.learning.tuning import GRID, grid_search, race

    matrix, labels, numeric = data["matrix"], data["labels"], int(data["numeric"])
    folds = folds_of(labels, seed)
    full = grid_search(matrix, labels, folds, GRID, flags_from=numeric)
    raced = race(matrix, labels, folds, GRID, flags_from=numeric)
    lost: float = full.means[full.best] - full.means[raced.best]
    return lost / full.standard_error


def main() -> None:
    """Take turns, compare medians, scores and winners; then the race's winners over seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    given = [shared / "media.parquet", shared / "training.parquet"]
    parser.add_argument("--data", type=Path, nargs="+", default=given, help="parquet exports")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of the folds, for the race")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        import numpy as np

        way, path = options.child
        data = dict(np.load(path))
        timing.report((ours if way in FASTER else peers)(way, data))
        return
    os.environ["PYTHONWARNINGS"] = "ignore"  # no keep predicted, says scikit-learn a thousand times
    with tempfile.TemporaryDirectory() as folder:
        for export in options.data:
            compare(export, Path(folder) / f"{export.stem}.npz", options.runs, options.seeds)


def compare(export: Path, made: Path, runs: int, seeds: int) -> None:
    """Print the figures of one export."""
    import numpy as np

    make_training(export, made)
    data = dict(np.load(made))
    titles, features = data["matrix"].shape
    print(f"\n{export.name}: {titles:,} training titles, {features} features")
    found = timing.take_turns(
        (FULL, RACE, PEER, HARD_PEER),
        runs,
        lambda way: timing.in_process(__file__, "--child", way, str(made)),
    )
    base = found[PEER].seconds
    timing.print_table(
        ("", "seconds", "times faster"),
        ((way, f"{s.seconds:.1f}", f"{base / s.seconds:.1f}") for way, s in found.items()),
    )
    scores, best = found[FULL].runs[0].said
    theirs, theirs_best = found[HARD_PEER].runs[0].said
    worst = np.abs(np.array(scores) - np.array(theirs)).max()
    print(f"scores differ by {worst:.1e} at most; same winner: {best == theirs_best}")
    if worst > 1e-12 or best != theirs_best:
        raise SystemExit("the scores are not those of GridSearchCV")
    for way, times in FASTER.items():
        print(timing.verdict(f"{way} / original's way", found[way].seconds / base, 1 / times))
    lost = [behind(data, seed) for seed in range(seeds)]
    if lost:
        print(
            timing.verdict(f"race behind, mean of {seeds} seeds", float(np.mean(lost)), 0.5, " SE")
        )
        print(timing.verdict(f"race behind, worst of {seeds} seeds", max(lost), 1.0, " SE"))


if __name__ == "__main__":
    main()
