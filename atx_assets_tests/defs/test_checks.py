"""Each check, on files in which it must fail, and on the finished ones, in which it must not."""

import json

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from atx_assets.defs import checks
from atx_assets.defs.assets.titles import titles
from atx_assets.defs.resources.current_settings import given_settings
from atx_assets.defs.resources.files import DataFiles
from atx_assets.errors import AtxError
from atx_assets.settings import read_settings
from atx_assets.sources.extracted import snapshot_of, with_snapshot

pytestmark = pytest.mark.slow


def replace(table: pa.Table, row: int, **values: object) -> pa.Table:
    """The table with some values of one row replaced, and what it carries along kept."""
    for name, value in values.items():
        column = table[name].to_pylist()
        column[row] = value
        at = table.column_names.index(name)
        table = table.set_column(at, name, pa.array(column, table[name].type))
    return table


# The one left out asks which run it is in: `defs/test_sensors.py` runs it.
@pytest.mark.parametrize(
    "check",
    [c for c in checks.CHECKS if c is not checks.labels_still_there],
    ids=lambda c: c.check_key.name,
)
def test_passes_on_what_the_graph_made(check, finished):
    result = looked_at(check, finished.files)
    assert result.passed, result.description


def looked_at(
    check: dg.AssetChecksDefinition, files: DataFiles, **settings: str
) -> dg.AssetCheckResult:
    """What a check says of the files, with these settings and all others as by default."""
    resources = {"files": files, "current_settings": given_settings(read_settings(settings))}
    return check(
        **{name: resources[name] for name in resources.keys() & check.required_resource_keys}
    )


def sort_anew(files: DataFiles) -> None:
    """Sort the rows that were read, as the asset does."""
    with dg.DagsterInstance.ephemeral() as instance:
        chosen = dg.AssetSelection.assets("quarantine")
        given = given_settings(read_settings({}))
        resources = {"files": files, "current_settings": given}
        dg.materialize([titles], instance=instance, resources=resources, selection=chosen)


def spoil(place, **values: object) -> pa.Table:
    """Put values into the first row that was read, and make the quarantine anew."""
    rows = place.files.read_table("raw_media")
    place.files.write_table("raw_media", replace(rows, 0, **values))
    sort_anew(place.files)
    return rows


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"release_year": 9999}, "release_year is above 2100: 9999"),
        ({"metascore": 101}, "metascore is above 100: 101"),
        ({"imdb_votes": -1}, "imdb_votes is below 0: -1"),
        ({"imdb_id": "tt123"}, "imdb_id does not match ^tt[0-9]{7,8}$: 'tt123'"),
        ({"rejection_status": "maybe"}, "rejection_status is an unknown value: 'maybe'"),
        ({"original_title": None}, "original_title is missing"),
        ({"hash": "XYZ"}, "hash does not match ^[0-9a-f]{40}$: 'XYZ'"),
    ],
)
def test_source_contract_names_row_column_rule_and_value(copied, values, says):
    key = spoil(copied, **values)["hash"][0].as_py()
    result = looked_at(checks.source_contract, copied.files)
    assert result.passed
    assert "1 of 1,500 rows is set aside (0.07%): " in result.description
    assert f"{values.get('hash', key)} ({says})" in result.description
    assert result.metadata["set aside"].value == 1


@pytest.mark.parametrize(
    ("warn", "block", "severity", "says"),
    [
        ("0", "0.2", "WARN", "more than ATX_QUARANTINE_WARN (0)"),
        ("0", "0", "ERROR", "more than ATX_QUARANTINE_BLOCK (0) allows"),
    ],
)
def test_source_contract_warns_and_blocks_by_share(copied, warn, block, severity, says):
    spoil(copied, release_year=0)
    assert looked_at(checks.source_contract, copied.files).passed
    limits = {"ATX_QUARANTINE_WARN": warn, "ATX_QUARANTINE_BLOCK": block}
    result = looked_at(checks.source_contract, copied.files, **limits)
    assert not result.passed
    assert result.severity.value == severity
    assert says in result.description


def test_source_contract_sees_a_row_that_quarantine_does_not_list(copied):
    """Kept out: rows that neither go on nor are listed."""
    spoil(copied, release_year=0)
    copied.files.write_table("quarantine", copied.files.read_table("quarantine").slice(1))
    result = looked_at(checks.source_contract, copied.files)
    assert not result.passed
    assert result.severity.value == "ERROR"
    assert "1 are set aside, but quarantine lists 0 rows" in result.description


def test_source_contract_sees_a_list_of_other_rows(copied):
    """Kept out: a list of an earlier table, which has as many rows by chance."""
    spoil(copied, release_year=0)
    listed = copied.files.read_table("quarantine")
    other = pa.array(["another"] * listed.num_rows)
    at = listed.column_names.index("source_key")
    copied.files.write_table("quarantine", listed.set_column(at, "source_key", other))
    result = looked_at(checks.source_contract, copied.files)
    assert not result.passed
    assert "or other ones: materialise quarantine again" in result.description


def test_source_contract_sees_a_column_of_another_type(copied):
    rows = copied.files.read_table("raw_media")
    at = rows.column_names.index("release_year")
    text = pc.cast(rows["release_year"], pa.string())
    copied.files.write_table("raw_media", rows.set_column(at, "release_year", text))
    result = looked_at(checks.source_contract, copied.files)
    assert not result.passed
    assert "release_year is string, not int64" in result.description
    with pytest.raises(AtxError, match=r"atp\.media: release_year is string, not int64: "):
        sort_anew(copied.files)


def test_keys_that_stand_twice_are_named(copied):
    table = copied.files.read_table("training_table")
    copied.files.write_table("training_table", pa.concat_tables([table, table.slice(0, 1)]))
    result = checks.training_keys_unique(copied.files)
    assert not result.passed
    assert table["key"][0].as_py() in result.description


def test_too_few_labels_of_a_class_say_how_many_there_are_and_are_needed(copied):
    table = copied.files.read_table("training_table")
    keeps = table.filter(table["label"]).slice(0, 19)
    skips = table.filter(pc.invert(table["label"]))
    copied.files.write_table("training_table", pa.concat_tables([keeps, skips]))
    result = checks.enough_labels(copied.files)
    assert not result.passed
    assert f"19 keeps and {skips.num_rows} skips" in result.description
    assert "at least 20 of each" in result.description


@pytest.mark.parametrize(
    "values", [{"label_source": "model"}, {"label_source": None}, {"label": None}]
)
def test_a_label_that_nobody_gave_is_not_trained_on(copied, values):
    table = copied.files.read_table("training_table")
    copied.files.write_table("training_table", replace(table, 3, **values))
    result = checks.only_trusted_labels(copied.files)
    assert not result.passed
    assert table["key"][3].as_py() in result.description


def test_an_encoding_that_makes_other_numbers_is_found(copied):
    encoding = json.loads(copied.files.read_text("feature_encoding"))
    encoding["numeric"][0]["maximum"] += 1
    copied.files.write_text("feature_encoding", json.dumps(encoding))
    result = checks.encoder_round_trip(copied.files)
    assert not result.passed
    assert "release_year_norm" in result.description


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.slice(1), "1 films not scored"),
        (lambda t: pa.concat_tables([t, t.slice(0, 1)]), "1 films scored more than once"),
        (lambda t: replace(t, 0, key="tt0000000"), "1 films scored but not read"),
        (lambda t: replace(t, 0, probability=float("nan")), "1 films without a probability"),
    ],
)
def test_a_film_not_scored_exactly_once_is_found(copied, change, says):
    results = copied.files.read_table("scored_results")
    changed = change(results)
    copied.files.write_table("scored_results", with_snapshot(changed, snapshot_of(results)))
    result = checks.every_film_scored_once(copied.files)
    assert not result.passed
    assert says in result.description


@pytest.mark.parametrize("kind", ["positives", "negatives"])
def test_a_list_that_lacks_a_mistake_is_found(copied, kind):
    files: DataFiles = copied.files
    records = files.read_records(f"false_{kind}")
    files.write_records(f"false_{kind}", records[1:])
    check = getattr(checks, f"false_{kind}_agree")
    result = check(files)
    assert not result.passed
    assert records[0]["key"] in result.description


def test_a_few_bad_rows_warn_and_everything_else_goes_on(copied):
    with copied.connect() as connection:
        connection.execute("UPDATE atp.media SET release_year = 9999 WHERE right(hash, 1) = '0'")
    result = copied.run("refresh")
    assert result.success
    (found,) = (
        e for e in result.get_asset_check_evaluations() if e.check_name == "source_contract"
    )
    assert (found.passed, found.severity.value) == (False, "WARN")
    aside = copied.files.read_table("quarantine")
    assert 15 < aside.num_rows < 300
    assert {r for rs in aside["reasons"].to_pylist() for r in rs} == {
        "release_year is above 2100: 9999"
    }
    assert f"{aside.num_rows} of 1,500 rows are set aside" in copied.files.read_text(
        "analysis_report"
    )


def test_many_bad_rows_stop_the_graph_and_are_listed_all_the_same(copied):
    before = copied.contents()
    with copied.connect() as connection:
        connection.execute("UPDATE atp.media SET release_year = 9999 WHERE right(hash, 1) < '8'")
    result = copied.run("full_rebuild", ATX_SEARCH="off")
    assert not result.success
    assert {e.step_key for e in result.all_events if e.is_step_start} == {
        "raw_media",
        "raw_media_labels_still_there",
        "titles",
        "quarantine_source_contract",
    }
    after = copied.contents()
    changed = {name for name in after if after[name] != before.get(name)}
    assert {n for n in changed if not n.endswith(".sha256")} == {
        "media.parquet",
        "quarantine.parquet",
    }
    assert copied.files.read_table("quarantine").num_rows > 300
