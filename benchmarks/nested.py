"""The nested evaluation: races over a fifth of the grid each, against races over the whole grid.

What: the headline figures, from searches inside the training part of five outer folds. atx divides
the grid among them, a fifth for each (`share_out`), so that each combination is in one of them.

Against: the same with the whole grid in each search, as atx did before.

On: the sample library and exports in either layout (`--data`), under ten seeds of the outer folds.
The noise is that of the whole grid's figure: its standard deviation over the seeds, and over the
folds of one seed.

To reach: the mean figure over the seeds moves by less than its standard deviation over the seeds,
in a third of the CPU time or less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timing

SHARED_OUT, WHOLE = "a fifth each", "all of it"
SHOWN = ("pr_auc", "precision", "recall", "f1")
SEEDS, LEAST_FASTER = 10, 3


def nested(data: dict[str, Any], seed: int, parts: Sequence[Any]) -> dict[str, Any]:
    """The figures of one seed, as means of five folds, with the CPU seconds they took."""
    from atx_assets.learning import contenders, tuning
    from atx_assets.learning.evaluation import assign_folds, fold_rows
    from atx_assets.learning.measures import spreads
    from atx_assets.operating_point import OperatingPoint

    matrix, labels, numeric = data["matrix"], data["labels"], data["numeric"]
    left = iter(parts)

    def recipe(train: Any) -> Any:
        result = tuning.race(
            matrix[train],
            labels[train],
            fold_rows(labels[train]),
            tuning.GRID,
            flags_from=numeric,
            part=next(left),
        )
        return result.combinations[result.chosen]

    began = time.process_time()
    answers = contenders.refitted(matrix, labels, assign_folds(labels, seed)[None], recipe)
    taken = time.process_time() - began
    found = spreads(answers.by_fold(OperatingPoint()))
    means = {name: found[name]["mean"] for name in SHOWN}
    return {**means, "std": found["pr_auc"]["std"], "seconds": taken}


def read(export: Path) -> dict[str, Any]:
    """The training rows of an export."""
    from exports import read_export

    _, training, encoding = read_export(export)
    return {
        "matrix": encoding.matrix(training),
        "labels": training["label"].to_numpy().astype(int),
        "numeric": len(encoding.numeric),
    }


def main() -> None:
    """Measure each export under each seed, in turns."""
    from atx_assets.sample import LIBRARY

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    shared = Path(__file__).resolve().parents[2] / "shared" / "data"
    given = [LIBRARY, shared / "media.parquet", shared / "training.parquet"]
    parser.add_argument("--data", type=Path, nargs="+", default=given, help="parquet exports")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of the outer folds, two or more")
    options = parser.parse_args()
    for export in options.data:
        compare(export, options.seeds)


def compare(export: Path, seeds: int) -> None:
    """Print the figures of one export, seed by seed."""
    import numpy as np

    from atx_assets.learning.folds import FOLDS
    from atx_assets.learning.tuning import WHOLE as EVERYTHING
    from atx_assets.learning.tuning import share_out

    data = read(export)
    ways = {SHARED_OUT: share_out(FOLDS), WHOLE: [EVERYTHING] * FOLDS}
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    print(f"\n{export.name}: {len(data['labels']):,} training titles")
    for seed in range(seeds):
        for way, parts in ways.items():
            found[way].append(one := nested(data, seed, parts))
            figures = ", ".join(f"{name} {one[name]:.4f}" for name in SHOWN)
            print(f"  seed {seed}, {way}: {figures}; {one['seconds']:.1f} s of CPU", flush=True)
    rows = []
    for name in SHOWN:
        ours, theirs = ([one[name] for one in found[way]] for way in (SHARED_OUT, WHOLE))
        shown = (f"{np.mean(v):.4f} ± {np.std(v, ddof=1):.4f}" for v in (ours, theirs))
        rows.append((name, *shown, f"{np.mean(ours) - np.mean(theirs):+.4f}"))
    timing.print_table(("mean ± over seeds", SHARED_OUT, WHOLE, "moved by"), rows)
    ours, theirs = ([one["pr_auc"] for one in found[way]] for way in (SHARED_OUT, WHOLE))
    of_fold = float(np.mean([one["std"] for one in found[WHOLE]]))
    print(f"a fold's standard deviation, the noise shown beside the figure: {of_fold:.4f}")
    furthest = np.abs(np.subtract(ours, theirs)).max()
    print(f"furthest in one seed: {furthest:.4f}")
    moved = abs(float(np.mean(ours) - np.mean(theirs)))
    over_seeds = float(np.std(theirs, ddof=1))
    print(timing.verdict("PR-AUC moved by", moved / over_seeds, 1, " standard deviations"))
    took = [float(np.sum([one["seconds"] for one in found[way]])) for way in ways]
    print(timing.verdict("CPU time, share", took[0] / took[1], 1 / LEAST_FASTER))


if __name__ == "__main__":
    main()
