"""The whole graph on 10,000, 100,000 and 1,000,000 films: time and memory of each asset.

What: a made-up library of that many films, with three releases for every two films, one in ten
labelled by a taste with noise, in the embedded PostgreSQL of a home of its own. Each asset of
`full_rebuild` is made in order, with its checks, in a fresh process, so that its peak memory is its
own; Dagster's storage and MLflow's store are the home's, as in `atx run`. Each step is timed
without imports. The checks of an asset, if it has any, are one line together.

Against: no peer, but growth like n log n. For each line, the exponent between two sizes is printed,
log(t2 / t1) / log(n2 / n1): 1 if the time is proportional to the films; n log n has 1.10 from
10,000 to 100,000, and 1.08 from there to 1,000,000. To reach: in each line of at least `WORTH_IT`
seconds at the larger size, at most a third more time than that, which is how much seconds differ
between two runs on a busy machine; and that the graph ends.

`--memory` answers another question: whether the memory of `titles` and `scored_results` grows from
1,000,000 to 10,000,000 films. At both sizes 20,000 are labelled, the search is off, and only what
the two need is made. To reach: `titles` (with `quarantine` and its checks) below 4 GB at the larger
size, and `scored_results` with its checks at most 1.1 times its memory at the smaller size.

`--before REV` answers a third: the time of everything but the search, against another commit, whose
own benchmark runs in a checkout. The two take turns. To reach: at most .6 of the time.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import timing
from commands import ROOT, checkout_of
from label_latency import environment

if TYPE_CHECKING:
    from atx_assets.settings import Settings

FILMS = (10_000, 100_000, 1_000_000)
LABELLED = 0.1
RELEASES_A_FILM = 1.5
#: By so much two runs of one thing may differ.
NOISE = 1.33
#: Seconds from which on an exponent says something, and anybody waits.
WORTH_IT = 2.0
CHECKS, ALL = "checks of ", "all"
#: What memory is measured on: films, those labelled, steps that are needed, and the two limits.
LARGE, LABELLED_FILMS = (1_000_000, 10_000_000), 20_000
NEEDED = (
    "raw_media",
    "titles",
    "feature_encoding",
    "training_table",
    "hyperparameters",
    "tuned_classifier",
    "scored_results",
)
TITLES_MB, SCORES_GROWTH = 4096, 1.1
#: The share of the time of a commit before.
OF_BEFORE = 0.6
#: Runs the benchmark of a checkout, be it one without `--no-search`.
_WITHOUT_SEARCH = """
import sys
sys.path.insert(0, "benchmarks")
import scale
environment = scale.environment
scale.environment = lambda home: environment(home) | {"ATX_SEARCH": "off"}
scale.main()
"""


@dataclass(frozen=True)
class Cost:
    """What making an asset, or its checks, took; memory is known of both together."""

    seconds: float
    peak_mb: float | None


def steps() -> dict[str, list[str]]:
    """Return the steps of `full_rebuild` in their order, each with the assets that it makes."""
    from atx_assets.definitions import build_defs

    graph = build_defs().resolve_asset_graph()
    found: dict[str, list[str]] = {}
    for key in (key for level in graph.toposorted_asset_keys_by_level for key in level):
        if key in graph.materializable_asset_keys:
            step = graph.get(key).assets_def.node_def.name
            found.setdefault(step, []).append(key.to_user_string())
    return found


def fill(settings: Settings, films: int, labelled: float) -> None:
    """Make the library in the home's database, a share of it labelled."""
    import library

    from atx_assets.sources.read.database import connect

    with connect(settings.database, statement_timeout=3600) as connection:
        library.fill_database(
            connection, int(films * RELEASES_A_FILM), labelled=labelled, films=1, taste=True
        )


def make(assets: list[str]) -> None:
    """Make the assets of one step, and their checks, in this process; print what it took."""
    # What assets import when they are made; not to be timed.
    import dagster as dg
    import jinja2  # noqa: F401
    import matplotlib.figure  # noqa: F401
    import mlflow.xgboost  # noqa: F401
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.model_selection  # noqa: F401

    from atx_assets.definitions import build_defs

    job = build_defs().resolve_job_def("full_rebuild")
    with dg.DagsterInstance.from_config(os.environ["DAGSTER_HOME"]) as instance:
        result = job.execute_in_process(
            instance=instance,
            asset_selection=[dg.AssetKey(asset) for asset in assets],
            run_config={"loggers": {"console": {"config": {"log_level": "WARNING"}}}},
        )
        times = {
            step.step_key: (step.end_time or 0) - (step.start_time or 0)
            for step in instance.get_run_step_stats(result.run_id)
        }
        failed = [
            f"{one.check_name}: {one.description}"
            for one in result.get_asset_check_evaluations()
            if not one.passed
        ]
    print(json.dumps({"times": times, "failed": failed, "peak_mb": timing.peak_mb()}))


def measure(
    films: int,
    names: dict[str, list[str]],
    keep: Path | None,
    settings: dict[str, str],
    labelled: float = LABELLED,
) -> dict[str, Cost]:
    """Fill a home with so many films, and run every step in a process of its own."""
    from atx_assets.home.home import exports, open_home
    from atx_assets.settings import read_settings

    found: dict[str, Cost] = {}
    with tempfile.TemporaryDirectory(prefix="atx-bench-", ignore_cleanup_errors=True) as folder:
        home = keep / str(films) if keep else Path(folder, "home")
        values = environment(home) | settings
        with open_home(read_settings(values)) as ready:
            print(f"{films:,} films ...", file=sys.stderr)
            fill(ready, films, labelled)
            for name, made in names.items():
                told = _child(made, values | exports(ready))
                _warn(told["failed"])
                own = told["times"].pop(name)
                found[name] = Cost(own, told["peak_mb"])
                if told["times"]:
                    found[CHECKS + name] = Cost(sum(told["times"].values()), None)
                print(f"  {name}: {own:.1f} s, {told['times']}", file=sys.stderr)
    return found


def _child(assets: list[str], values: dict[str, str]) -> dict[str, Any]:
    command = [sys.executable, __file__, "--child", *assets]
    done = subprocess.run(command, env=values, stdout=subprocess.PIPE, text=True, check=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def _warn(failed: list[str]) -> None:
    for line in failed:
        print(f"  did not pass: {line}", file=sys.stderr)


def measure_memory(sizes: Sequence[int], keep: Path | None) -> bool:
    """Print the peaks of memory of what is made of a large library; say whether all is reached."""
    names = {name: made for name, made in steps().items() if name in NEEDED}
    # No hurry: the copy of so many rows takes longer than a working database should be kept busy.
    off = {"ATX_SEARCH": "off", "ATX_STATEMENT_TIMEOUT": "3600"}
    costs = {films: measure(films, names, keep, off, LABELLED_FILMS / films) for films in sizes}
    print_costs(costs)
    small, large = (costs[films] for films in sizes)
    titles = large["titles"].peak_mb or math.inf
    grown = (large["scored_results"].peak_mb or math.inf) / (small["scored_results"].peak_mb or 1)
    print(f"titles at {sizes[-1]:,} films: {titles:,.0f} MB of {TITLES_MB:,}")
    print(f"scored_results: {grown:.2f} times the memory, of {SCORES_GROWTH}")
    return titles <= TITLES_MB and grown <= SCORES_GROWTH


def compare(before: str, films: int, runs: int) -> bool:
    """Print the time of all but the search, of another commit and of this; say if it is reached."""
    seconds: dict[str, list[float]] = {before: [], "this": []}
    with checkout_of(before) as path:
        for _ in range(runs):
            seconds[before].append(_all_but_the_search(path, films))
            seconds["this"].append(_all_but_the_search(ROOT, films))
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    timing.print_table(
        ("all but the search", "median, s", "runs"),
        [(n, f"{medians[n]:.1f}", " ".join(f"{s:.1f}" for s in seconds[n])) for n in seconds],
    )
    share = medians["this"] / medians[before]
    print(timing.verdict(f"time at {films:,} films, of {before}", share, OF_BEFORE))
    return share <= OF_BEFORE


def _all_but_the_search(checkout: Path, films: int) -> float:
    """Run the benchmark of a checkout, and add up what its table says."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_SEARCH, "--films", str(films)],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
        stdout=subprocess.PIPE,
        text=True,
        check=False,  # a line that grows too fast is not what is asked
    )
    rows = re.findall(r"^\|? *([a-z_ ]+?) *\|? +([\d,.]+)", done.stdout, re.MULTILINE)
    found = {name: float(seconds.replace(",", "")) for name, seconds in rows}
    return found[ALL] - found["hyperparameters"]


def exponent(one: float, other: float, before: int, after: int) -> float:
    """Return by which power of the films the time grew."""
    return math.log(max(other, 1e-3) / max(one, 1e-3)) / math.log(after / before)


def limit(before: int, after: int) -> float:
    """Return the exponent of n log n between two sizes, and what noise may add."""
    grown = after * math.log(after) / (before * math.log(before)) * NOISE
    return math.log(grown) / math.log(after / before)


def too_fast(before: dict[str, Cost], after: dict[str, Cost], one: int, other: int) -> list[str]:
    """Name the lines that grow too fast between two sizes."""
    return [
        name
        for name, cost in after.items()
        if cost.seconds >= WORTH_IT
        and exponent(before[name].seconds, cost.seconds, one, other) > limit(one, other)
    ]


def print_costs(costs: dict[int, dict[str, Cost]]) -> list[str]:
    """Print the table of all sizes; return what grew too fast, in words."""
    spans = list(pairwise(costs))
    if len(costs) > 2:
        spans.append((min(costs), max(costs)))
    heads = ["", *(f"{films:,}: s" for films in costs), *(f"{films:,}: MB" for films in costs)]
    heads += [f"exponent to {other:,}" for _, other in spans[: len(costs) - 1]]
    heads += ["exponent in all"] * (len(costs) > 2)
    rows = []
    for name in [*costs[max(costs)], ALL]:
        each = [_total(one) if name == ALL else one[name] for one in costs.values()]
        rows.append(
            (
                name,
                *(f"{one.seconds:,.1f}" for one in each),
                *("" if one.peak_mb is None else f"{one.peak_mb:,.0f}" for one in each),
                *(_shown(costs, name, span) for span in spans),
            )
        )
    timing.print_table(heads, rows)
    for one, other in spans:
        print(f"not to exceed from {one:,} to {other:,}: {limit(one, other):.2f}")
    return [
        f"{name} from {one:,} to {other:,}"
        for one, other in spans
        for name in too_fast(costs[one], costs[other], one, other)
    ]


def _total(costs: dict[str, Cost]) -> Cost:
    peaks = [one.peak_mb for one in costs.values() if one.peak_mb is not None]
    return Cost(sum(one.seconds for one in costs.values()), max(peaks))


def _shown(costs: dict[int, dict[str, Cost]], name: str, span: tuple[int, int]) -> str:
    """Return an exponent as the table has it; none of what takes no time to speak of."""
    one, other = (_total(costs[n]) if name == ALL else costs[n][name] for n in span)
    if other.seconds < WORTH_IT:
        return "-"
    return f"{exponent(one.seconds, other.seconds, *span):.2f}"


def main() -> None:
    """Measure each size, print the table, and fail where something grows too fast."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=int, nargs="+", help="sizes to measure")
    parser.add_argument("--memory", action="store_true", help="memory alone, of large libraries")
    parser.add_argument("--before", metavar="REV", help="against another commit, without search")
    parser.add_argument("--runs", type=int, default=1, help="turns of each, with --before")
    parser.add_argument("--keep", type=Path, help="keep the homes in this folder")
    parser.add_argument("--no-search", action="store_true", help="with plain hyperparameters")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        make(options.child)
        return
    # So that all is ended and removed then too.
    for sent in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sent, lambda number, _: sys.exit(128 + number))
    settings = {"ATX_SEARCH": "off"} if options.no_search else {}
    if options.before:
        sys.exit(not compare(options.before, max(options.films or FILMS), options.runs))
    if options.memory:
        reached = measure_memory(sorted(options.films or LARGE), options.keep)
        print("reached" if reached else "MISSED")
        sys.exit(not reached)
    sizes = sorted(options.films or FILMS)
    names = steps()
    costs = {films: measure(films, names, options.keep, settings) for films in sizes}
    found = print_costs(costs)
    for films, each in costs.items():
        seconds = sum(c.seconds for n, c in each.items() if not n.endswith("hyperparameters"))
        print(f"{films:,} films, all but the search: {seconds:.1f} s")
    print(
        f"grows too fast: {'; '.join(found)} - MISSED" if found else "none grows faster - reached"
    )
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
