"""The time of a sensor's look when Dagster has kept 10, 1,000 and 10,000 runs; and of pruning them.

What: a small library (1,500 releases) with results made by real runs, Dagster's records on an
embedded PostgreSQL. The history is synthetic: copies of the rows of a real scoring run (without the
report, whose pictures would take 10 GB) and of a real failed attempt of the sensor (which it looks
back at), as many of each. Ticks of both sensors that find nothing to do are timed.

Against: no peer, but the same tick with 10 runs. To reach: at most twice as long at 10,000. Then
pruning all of it is timed.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import history
import timing

RUNS = (10, 1_000, 10_000)
RELEASES = 1_500
LIMIT = 2.0


def main() -> None:
    """Print seconds a tick by runs in the history, and how long pruning takes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, nargs="+", default=RUNS)
    parser.add_argument("--ticks", type=int, default=30)
    options = parser.parse_args()
    with ExitStack() as stack:
        # Not below a folder of root's alone: the server may run as another user.
        home = Path(tempfile.mkdtemp(prefix="atx-ticks-"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        bench = Bench(home, stack)
        measure(bench, options.runs, options.ticks)


class Bench:
    """A home with results, its instance and its tables."""

    def __init__(self, home: Path, stack: ExitStack) -> None:
        for name in [n for n in os.environ if n.startswith(("PG_", "ATX_", "MLFLOW_", "DAGSTER_"))]:
            del os.environ[name]
        os.environ |= {"ATX_HOME": str(home / "h"), "ATX_DATA_DIR": str(home / "data")}
        os.environ |= {"ATX_SEARCH": "off", "ATX_MLFLOW": "off"}
        os.environ |= dict.fromkeys(("PG_HOST", "MLFLOW_HOST", "DAGSTER_POSTGRES_URL"), "")
        import dagster as dg
        import psycopg
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        from atx_assets.home.home import exports, open_home
        from atx_assets.sample import LIBRARY
        from atx_assets.settings import read_settings
        from atx_assets.sources.load.load import load_file
        from atx_assets.sources.read.database import connect

        self.settings = stack.enter_context(open_home(read_settings()))
        os.environ |= exports(self.settings)
        rows = pq.read_table(LIBRARY)
        labelled = pc.not_equal(rows["rejection_status"], "unfiltered")
        halves = [
            rows.filter(part).slice(0, RELEASES // 2) for part in (labelled, pc.invert(labelled))
        ]
        file = home / "library.parquet"
        pq.write_table(pa.concat_tables(halves), file)
        with connect(self.settings.database, statement_timeout=300) as connection:
            load_file(connection, file)
        folder = str(self.settings.dagster_home)
        self.instance = stack.enter_context(dg.DagsterInstance.from_config(folder))
        self.instance.get_runs()  # makes the tables
        self.tables = stack.enter_context(
            psycopg.connect(
                host=self.settings.pg_host,
                port=self.settings.pg_port,
                user=self.settings.pg_user,
                dbname="dagster",
                autocommit=True,
            )
        )

    def run(self, job: str, report: bool = True, **tags: str) -> str:
        """Run a job in this process and return the run's id."""
        import dagster as dg

        from atx_assets.definitions import build_defs
        from atx_assets.defs.jobs import SCORED

        assets = None if report else [dg.AssetKey(n) for n in SCORED if n != "analysis_report"]
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        result = (
            build_defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=self.instance,
                raise_on_error=False,
                tags=tags,
                asset_selection=assets,
                run_config=quiet,
            )
        )
        return str(result.run_id)

    def tick(self, name: str, decide: Callable[..., Any]) -> float:
        """Let a sensor look once; return seconds."""
        import dagster as dg

        from atx_assets.defs.resources.current_settings import CurrentSettings
        from atx_assets.defs.sensors import tick

        context = dg.build_sensor_context(self.instance)
        start = time.perf_counter()
        answer = tick(context, CurrentSettings(), name, decide, time.time())
        seconds = time.perf_counter() - start
        assert "the results hold" in str(answer.skip_reason.skip_message), answer
        return seconds

    def prune(self) -> tuple[float, Any]:
        """Prune all that may be pruned; return seconds and what was."""
        from atx_assets.automation.pruning import prune_dagster

        log = logging.getLogger("ticks")
        before = datetime.now(UTC) + timedelta(days=1)
        storage = self.settings.dagster_home / "storage"
        start = time.perf_counter()
        done = prune_dagster(
            self.instance, self.settings.dagster_postgres_url, storage, before, log
        )
        return time.perf_counter() - start, done


def measure(bench: Bench, wanted: list[int], ticks: int) -> None:
    """Make the history longer step by step, and time ticks at each."""
    from atx_assets.automation.decide import decide_films, decide_labels

    bench.run("full_rebuild")
    scored = bench.run("score", report=False)
    os.environ["ATX_MLFLOW"] = "on"
    os.environ |= {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": "9"}  # nobody listens: it fails
    key = "750-a@9>751-b&1500-c#1"
    failed = bench.run("refresh", **{"dagster/sensor_name": "label_sensor", "dagster/run_key": key})
    real = len(bench.instance.get_runs())
    done, rows, first = 0, [], None
    for number in wanted:
        copies = (number - real) // 2
        history.copy_runs(bench.tables, [scored, failed], range(done + 1, copies + 1))
        done = copies
        for decide, name in ((decide_labels, "label_sensor"), (decide_films, "film_sensor")):
            for _ in range(3):
                bench.tick(name, decide)
        label = statistics.median(bench.tick("label_sensor", decide_labels) for _ in range(ticks))
        film = statistics.median(bench.tick("film_sensor", decide_films) for _ in range(ticks))
        first = first or label
        size = bench.tables.execute("SELECT pg_database_size('dagster')").fetchone()
        cells = [f"{size[0] / 1e6:,.0f} MB" if size else "", f"{timing.peak_mb():,.0f} MB"]
        runs = f"{len(bench.instance.get_run_records(limit=number + 10)):,}"
        rows.append([runs, f"{label:.3f} s", f"{label / first:.2f}", f"{film:.3f} s", *cells])
        print(f"{runs} runs: {label:.3f} s", flush=True)
    heads = ["runs", "label_sensor", "times", "film_sensor", "storage", "peak memory"]
    timing.print_table(heads, rows)
    print(
        timing.verdict("a tick at the longest history", label / (first or label), LIMIT, " times")
    )
    seconds, pruned = bench.prune()
    print(f"pruned {pruned.runs:,} runs in {seconds:.0f} s, {timing.peak_mb():,.0f} MB at most")
    print(f"rows left: {history.rows(bench.tables)}")


if __name__ == "__main__":
    main()
