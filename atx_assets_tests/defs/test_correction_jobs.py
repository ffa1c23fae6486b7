"""The jobs that correct labels, as the launchpad runs them, on real PostgreSQL."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from atx_assets import schemas
from atx_assets.definitions import build_defs
from atx_assets.settings import Database
from atx_assets.sources.correct.record import CorrectionRecord
from atx_assets.sources.load.load import load_file
from atx_assets.sources.read.database import connect
from atx_assets_tests.builders.environment import as_settings
from atx_assets_tests.builders.failures import failure

DAY = datetime(2025, 4, 1, tzinfo=UTC)
MEDIA_KEY = dg.AssetKey(["atp", "media"])
Run = Callable[..., dg.ExecuteInProcessResult]


def release(number: int, **known: Any) -> dict[str, Any]:
    return {
        "hash": f"{number:040x}",
        "media_type": "movie",
        "media_title": f"Film {number}",
        "release_year": 2001,
        "rejection_status": "unfiltered",
        "pipeline_status": "parsed",
        "error_status": False,
        "original_title": f"Film.{number}",
        "imdb_id": f"tt{number:07}",
        "created_at": DAY,
        "updated_at": DAY,
        **known,
    }


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def run(
    database: Database,
    as_reader: Callable[[Database], Database],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    instance: Any,
) -> Run:
    """Run a job with the config of its op, on a library of three films in a fresh database."""
    rows = [release(1, media_title="<i>It's | 100%s</i>"), release(2), release(3)]
    rows[1]["rejection_status"] = "override"
    path = tmp_path / "library.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schemas.arrow_schema(schemas.MEDIA)), path)
    with connect(database, statement_timeout=60) as connection:
        load_file(connection, path)
    for name, value in {
        **as_settings(as_reader(database)),
        "ATX_HOME": str(tmp_path / "home"),
        "ATX_SOURCE": "",
        "ATX_CORRECTION_PG_USER": "atx_corrector",
    }.items():
        monkeypatch.setenv(name, value)

    def run(job: str, **config: Any) -> dg.ExecuteInProcessResult:
        op = {"correct_labels": "correct", "undo_correction": "undo"}[job]
        return (
            build_defs()
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                raise_on_error=False,
                run_config={
                    "ops": {op: {"config": config}},
                    "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                },
            )
        )

    return run


@pytest.fixture
def record(tmp_path: Path) -> CorrectionRecord:
    return CorrectionRecord(tmp_path / "home")


def statuses(database: Database) -> list[str]:
    with connect(database, statement_timeout=60) as connection:
        rows = connection.execute("SELECT rejection_status::text FROM atp.media ORDER BY hash")
        return [status for (status,) in rows]


def shown(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """The metadata of the op's output."""
    [event] = [e for e in result.all_events if e.is_successful_output]
    return {n: v.value for n, v in event.step_output_data.metadata.items()}


def observations(instance: dg.DagsterInstance) -> list[dict[str, Any]]:
    found = instance.fetch_observations(MEDIA_KEY, limit=10).records
    return [
        {n: v.value for n, v in r.asset_observation.metadata.items()}
        for r in found
        if r.asset_observation
    ]


def test_a_dry_run_is_the_default_and_shows_a_table_of_the_titles(
    run: Run, instance: dg.DagsterInstance, record: CorrectionRecord, database: Database
) -> None:
    before = statuses(database)
    result = run("correct_labels", ids=["tt0000001", "tt0000002"], verdict="keep")
    assert result.success
    told = shown(result)
    assert told["written"] is False
    assert (
        "&#60;i&#62;It's &#124; 100%s&#60;/i&#62; | 2001 | tt0000001 | 1 | unlabelled"
        in told["preview"]
    )
    assert "Film 2 | 2001 | tt0000002 | 1 | keep (human) | unchanged" in told["preview"]
    assert told["warnings"][0].startswith("the downloader may now fetch 1 release of 1 title")
    assert statuses(database) == before
    assert observations(instance) == []
    assert record.entries() == []


def test_written_it_is_observed_on_the_table_and_recorded_with_its_run(
    run: Run, instance: dg.DagsterInstance, record: CorrectionRecord, database: Database
) -> None:
    result = run("correct_labels", ids=["tt0000001", "3".zfill(40)], verdict="skip", dry_run=False)
    assert result.success
    assert statuses(database) == ["rejected", "override", "rejected"]
    [observed] = observations(instance)
    assert (observed["correction"], observed["verdict"], observed["rows"]) == (1, "skip", 2)
    assert "Film 3" in observed["preview"]
    [entry] = record.entries()
    assert entry.via == f"Dagster run {result.run_id}"
    assert entry.outcome == "committed"


def test_undo_is_a_dry_run_too_and_then_takes_it_back(
    run: Run, instance: dg.DagsterInstance, record: CorrectionRecord, database: Database
) -> None:
    before = statuses(database)
    run("correct_labels", ids=["tt0000001"], verdict="keep", dry_run=False)
    assert shown(run("undo_correction", correction=1))["written"] is False
    assert statuses(database) != before
    assert shown(run("undo_correction", correction=1, dry_run=False))["correction"] == 2
    assert statuses(database) == before
    assert [o["verdict"] for o in observations(instance)] == ["undo", "keep"]
    assert [e.undoes for e in record.entries()] == [None, 1]


@pytest.mark.parametrize("dry_run", [True, False])
def test_ids_that_cannot_be_used_fail_the_run_with_their_list(
    run: Run, instance: dg.DagsterInstance, database: Database, dry_run: bool
) -> None:
    before = statuses(database)
    ids = ["tt0000001", "tt7777777", "'; DROP TABLE atp.media"]
    result = run("correct_labels", ids=ids, verdict="keep", dry_run=dry_run)
    assert not result.success
    line = failure(result)
    assert line.startswith("2 of 3 ids cannot be used")
    assert "tt7777777" in line
    assert repr(ids[2]) in line
    assert statuses(database) == before
    assert observations(instance) == []


@pytest.mark.parametrize(
    ("job", "config"),
    [
        ("correct_labels", {"ids": ["tt0000001"], "verdict": "perhaps"}),
        ("correct_labels", {"ids": ["tt0000001"]}),
        ("correct_labels", {"verdict": "keep"}),
        ("undo_correction", {"correction": 0}),
        ("undo_correction", {}),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(
    run: Run, database: Database, job: str, config: dict[str, Any]
) -> None:
    before = statuses(database)
    with suppress(dg.DagsterInvalidConfigError):
        assert not run(job, **config, dry_run=False).success
    assert statuses(database) == before


def test_the_launchpad_explains_each_field() -> None:
    definitions = build_defs()
    for job, op in (("correct_labels", "correct"), ("undo_correction", "undo")):
        definition: Any = definitions.resolve_job_def(job)
        assert definition.description
        fields = definition.get_node_named(op).definition.config_schema.config_type.fields
        assert all(field.description for field in fields.values())
        assert fields["dry_run"].default_value is True
