"""`atx run` as a person meets it: progress, summary, and one clear line for what went wrong."""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from atx_assets.cli.main import main
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.sample import LIBRARY
from atx_assets.settings import Database
from atx_assets.sources.load.load import load_file
from atx_assets.sources.read.database import connect
from atx_assets_tests.builders.environment import as_settings
from atx_assets_tests.builders.postgres import new_database, storage_url

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def atx(
    postgres: EmbeddedPostgres,
    database: Database,
    as_reader: Callable[[Database], Database],
    no_runs: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """Run the program on a fresh database and home; it returns status, stdout and stderr.

    It reads as `atx_reader`, unless the test names another.
    """

    def run(*words: str, **settings: str) -> tuple[int, str, str]:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        as_reader(database)  # the table may have come since
        status = main(words)
        told = capsys.readouterr()
        return status, told.out, told.err

    # Records of its own: what another test ran would be results that are gone from this folder.
    with new_database(postgres, template=no_runs) as records:
        for name, value in {
            **as_settings(as_reader(database)),
            "ATX_HOME": str(tmp_path / "home"),
            "ATX_DATA_DIR": str(tmp_path / "data"),
            "DAGSTER_POSTGRES_URL": storage_url(records, records.name),
        }.items():
            monkeypatch.setenv(name, value)
        yield run


def one_line(err: str) -> str:
    lines = [line for line in err.splitlines() if line.startswith("atx: ")]
    assert "Traceback" not in err
    assert len(lines) == 1, err
    return lines[0]


@pytest.fixture
def sample(database: Database) -> Database:
    with connect(database, statement_timeout=60) as connection:
        load_file(connection, LIBRARY)
    return database


def change(database: Database, statement: str) -> None:
    with connect(database, statement_timeout=60) as connection:
        connection.execute(statement)


def test_run_tells_each_asset_and_a_check_that_failed(atx, sample):
    status, out, err = atx("run", "--select", "training_table")
    assert status == 1
    assert "titles first" in one_line(err)
    status, out, err = atx("run", "--select", "+key:training_table")
    assert status == 0, err
    for words in ("raw_media", "rows of films 19893", "training_table", "keeps 747, skips 3253"):
        assert words in out


@pytest.fixture
def small(database: Database, small_library: Path) -> Database:
    with connect(database, statement_timeout=60) as connection:
        load_file(connection, small_library)
    return database


UNTIL_SEARCH = ("run", "--select", "+key:hyperparameters")


def test_a_pipe_gets_plain_lines_with_the_share_of_the_search(atx, small, monkeypatch):
    from atx_assets.learning.tuning import GRID

    few = {name: values if name == "max_depth" else values[:1] for name, values in GRID.items()}
    monkeypatch.setattr("atx_assets.learning.tuning.GRID", few)
    status, out, err = atx(*UNTIL_SEARCH, FORCE_COLOR="1", ATX_MLFLOW="off")
    assert status == 0, err
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out + err)
    shares = [int(share) for share in re.findall(r"fits \((\d+)% of the search\)", out)]
    assert 5 <= len(shares) <= 10
    assert shares == sorted(set(shares))
    assert shares[-1] == 100
    assert re.search(r"^  hyperparameters +\d+\.\d s  combinations 3$", out, re.MULTILINE)


def test_a_terminal_gets_a_display_that_moves_and_keeps_the_lines(
    atx, small, database, as_reader, on_terminal, tmp_path
):
    as_reader(database)  # the table has come
    status, text = on_terminal(*UNTIL_SEARCH, width=100, ATX_MLFLOW="off")
    assert status == 0, text
    made = [int(number) for number in re.findall(r"(\d) of 6, \d+ s", text)]
    assert made == sorted(made)
    assert {0, 5} <= set(made)
    told = re.findall(r"(\d+)%, (\d+) s, (\d+) s left", text)
    shares, seconds, left = ([int(part[at]) for part in told] for at in range(3))
    assert shares == sorted(shares)
    assert len(set(shares)) >= 8
    assert seconds == sorted(seconds)
    assert left[-1] <= 2
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1
    assert text.rindex("\x1b[?25h") > text.rindex("of 6")
    for asset in (
        "raw_media",
        "quarantine",
        "titles",
        "feature_encoding",
        "training_table",
        "hyperparameters",
    ):
        assert len(re.findall(rf"  {asset} +\d+\.\d s  \w[^\n\x1b]*\r\n", text)) == 1
    # Kept out: the display in what Dagster keeps of each step's output, and shows in the UI.
    kept = [path.read_text() for path in tmp_path.glob("home/dagster/storage/*/compute_logs/*")]
    assert kept
    assert "\x1b" not in "".join(kept)


def test_no_color_takes_colours_away_and_the_display_stays(
    atx, small, database, as_reader, on_terminal
):
    as_reader(database)  # the table has come
    words = ("run", "--select", "raw_media")
    for settings, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        status, text = on_terminal(*words, width=60, **settings)
        assert status == 0, text
        assert "0 of 1" in text
        assert bool(re.search(r"\x1b\[(?:\d+;)*(?:3|4|9)\d", text)) is coloured
    status, text = on_terminal(*words, width=60, TERM="dumb")
    assert status == 0
    assert "\x1b" not in text


def test_quiet_says_nothing_of_what_went_well_and_one_line_of_what_did_not(atx, small):
    assert atx("run", "--select", "raw_media", "--quiet") == (0, "", "")
    status, out, err = atx("run", "--quiet", "--select", "raw_media", PG_DB="nowhere")
    assert (status, out) == (1, "")
    assert "createdb nowhere" in one_line(err)


def test_json_is_one_object_with_what_was_made_and_found(atx, small, tmp_path):
    status, out, err = atx("run", "--json", ATX_MLFLOW="off", ATX_SEARCH="off")
    assert (status, err) == (0, "")
    told = json.loads(out)
    assert set(told) == {"run_id", "assets", "checks", "summary"}
    assert len(told["assets"]) == 12
    assert told["assets"]["training_table"]["seconds"] > 0
    assert told["assets"]["raw_media"]["rows"] == 1500
    found = told["summary"]
    labelled = told["assets"]["training_table"]["figures"]
    assert found["labelled"] == labelled["labelled films"]
    assert found["keeps"] == labelled["keeps"]
    assert (found["version"], found["place"], found["challenger"]) == (1, "champion", None)
    for spread in (found["nested_pr_auc"], found["rule"]["pr_auc"], found["always_skip"]["pr_auc"]):
        assert 0 < spread["mean"] < 1
    for kind in ("positives", "negatives"):
        mistakes = told["assets"][f"false_{kind}"]["figures"]["mistakes"]
        assert found[f"false_{kind}"] == mistakes
    assert len(found["recommended"]) == 5
    assert Path(found["report"]).exists()
    assert found["data"] == str(tmp_path / "data")


def test_json_of_a_run_that_fails_has_the_error_and_what_was_made_before(atx, small):
    change(small, "UPDATE atp.media SET rejection_status = 'unfiltered', rejection_reason = NULL")
    status, out, err = atx("run", "--json", "--select", "+key:training_table")
    assert status == 1
    told = json.loads(out)
    assert f"atx: {told['error']}" == one_line(err)
    assert list(told["assets"])[:1] == ["raw_media"]
    assert told["summary"] is None
    for words, settings in (
        (("run",), {"ATX_UI_PORT": "many"}),
        (("demo",), {"ATX_HOME": "/dev/null/x"}),
    ):
        status, out, err = atx(*words, "--json", **settings)
        assert status == 1
        assert f"atx: {json.loads(out)['error']}" == one_line(err)


@pytest.mark.parametrize("words", ["nonsense", "key:nothing_like_it", "owner:("])
def test_a_selection_of_nothing_names_what_there_is(atx, words):
    status, _, err = atx("run", "--select", words)
    assert status == 1
    assert f"--select {words!r}" in one_line(err)
    assert "tuned_classifier" in err


def test_an_unreachable_database_names_host_port_and_settings(atx):
    status, _, err = atx("run", PG_HOST="127.0.0.1", PG_PORT="1")
    assert status == 1
    line = one_line(err)
    assert "127.0.0.1:1" in line
    assert "PG_HOST and PG_PORT" in line


def test_a_database_that_is_not_there_names_it(atx):
    status, _, err = atx("run", PG_DB="nowhere")
    assert status == 1
    assert "createdb nowhere" in one_line(err)


def test_an_empty_database_says_what_is_needed_and_how_to_fill_it(atx):
    status, _, err = atx("run")
    assert status == 1
    assert "neither layout of atx" in one_line(err)
    assert "atx load FILE" in one_line(err)


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("ALTER TABLE atp.media DROP COLUMN metascore", "atp.media lacks the column metascore"),
        (
            "ALTER TABLE atp.media ALTER release_year TYPE text",
            "atp.media.release_year has type text, but atx reads int64",
        ),
        ("UPDATE atp.media SET media_type = 'tv_show'", "holds no film"),
        ("DELETE FROM atp.media", "holds no film"),
        (
            "UPDATE atp.media SET rejection_status = 'unfiltered', rejection_reason = NULL"
            " WHERE rejection_status IN ('accepted', 'override')",
            "0 keeps and",
        ),
        (
            "DELETE FROM atp.media WHERE rejection_status IN ('accepted', 'override') AND hash >"
            " (SELECT hash FROM atp.media WHERE rejection_status = 'accepted' ORDER BY 1 LIMIT 1)",
            "at least 20 of each are needed",
        ),
        (
            "UPDATE atp.media SET release_year = 9999 WHERE right(hash, 1) < '8'",
            "(release_year is above 2100: 9999)",
        ),
        (
            "UPDATE atp.media SET release_year = 9999",
            "more than ATX_QUARANTINE_BLOCK (0.2) allows",
        ),
    ],
)
def test_a_library_that_cannot_be_learned_from_says_why(atx, sample, statement, says, tmp_path):
    change(sample, statement)
    status, _, err = atx("run", "--select", "+key:hyperparameters")
    assert status == 1
    assert says in one_line(err)
    left = {p.name for p in (tmp_path / "data").iterdir() if ".new" in p.name}
    assert not left
    assert not (tmp_path / "data" / "grid_search_results.parquet").exists()


def test_a_missing_permission_names_the_grant(atx, sample):
    with psycopg.connect(
        f"host={sample.host} user={sample.user} dbname={sample.name}", autocommit=True
    ) as connection:
        connection.execute("DROP ROLE IF EXISTS nobody_much")
        connection.execute("CREATE ROLE nobody_much LOGIN")
        try:
            status, _, err = atx("run", PG_USER="nobody_much")
            assert status == 1
            assert "GRANT USAGE ON SCHEMA atp TO nobody_much" in one_line(err)
            connection.execute("GRANT USAGE ON SCHEMA atp TO nobody_much")
            status, _, err = atx("run", PG_USER="nobody_much")
            assert status == 1
            assert "GRANT SELECT ON atp.media TO nobody_much" in one_line(err)
            connection.execute("GRANT SELECT ON atp.media TO nobody_much")
            status, _, err = atx("run", "--select", "raw_media", PG_USER="nobody_much")
            assert status == 0, err
        finally:
            connection.execute("DROP OWNED BY nobody_much; DROP ROLE nobody_much")


def test_doctor_says_what_a_user_may_do_beyond_what_is_needed(atx, sample):
    own = {"ATX_MLFLOW": "off", "ATX_CORRECTION_PG_USER": "atx_corrector"}
    status, out, err = atx("doctor", **own)
    assert status == 0, out + err
    assert "ok    media database: " in out
    assert "as atx_reader (" in out
    assert "ok    corrections: atx_corrector may change labels\n" in out
    status, out, _ = atx("doctor", PG_USER=sample.user, ATX_CORRECTION_PG_USER=sample.user)
    assert status == 0
    told = " this user may do anything, as a superuser as well: sql/atx_reader.sql makes a user"
    assert "note  media database: " in out
    assert told in out
    assert "note  corrections: " in out
    assert "sql/atx_corrector.sql makes a user" in out


def test_an_unreachable_storage_of_dagster_is_one_line(atx, sample):
    status, _, err = atx("run", DAGSTER_POSTGRES_URL="postgresql+psycopg2://x@127.0.0.1:1/dagster")
    assert status == 1
    assert "DAGSTER_POSTGRES_URL" in one_line(err)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://x:s3cret@127.0.0.1:1/dagster",
        "postgresql+psycopg://x:s3cret%@127.0.0.1:1/dagster",
        "postgresql+psycopg2://x:a@s3cret@127.0.0.1:1/dagster",
        "s3cret",
    ],
)
def test_no_password_shows_in_what_is_said_of_dagsters_storage(atx, sample, url):
    status, out, err = atx("doctor", DAGSTER_POSTGRES_URL=url)
    assert status == 1
    assert "FAIL  Dagster's storage" in out
    assert "s3cret" not in out + err


def test_no_password_shows_in_what_is_said_of_mlflow(atx, sample):
    status, out, err = atx("doctor", MLFLOW_HOST="http://x:s3cret@127.0.0.1", MLFLOW_PORT="1")
    assert status == 1
    assert "MLflow does not answer at http://127.0.0.1:1" in out
    assert "s3cret" not in out + err


def test_a_data_folder_that_cannot_be_written_to_is_named(atx, sample, tmp_path):
    (tmp_path / "file").write_text("")
    status, _, err = atx("run", "--job", "score", ATX_DATA_DIR=str(tmp_path / "file" / "data"))
    assert status == 1
    assert "ATX_DATA_DIR" in one_line(err)


def test_a_failed_check_that_blocks_nothing_fails_the_command_all_the_same(
    atx, sample, monkeypatch
):
    from atx_assets.learning.features import FeatureEncoding

    table = FeatureEncoding.table
    monkeypatch.setattr(
        FeatureEncoding,
        "table",
        lambda self, titles: table(self, titles) | {"metascore_norm": [0.5] * titles.num_rows},
    )
    status, _, err = atx("run", "--select", "+key:training_table")
    assert status == 1
    assert "encoder_round_trip: features that differ: metascore_norm" in one_line(err)


def test_a_run_by_hand_that_is_killed_is_marked_failed_at_the_next_start(atx, sample):
    """Kept out: a killed run that keeps every later job waiting for ever."""
    import subprocess
    import sys
    import time

    import dagster as dg

    from atx_assets.settings import read_settings
    from atx_assets.web.healing import ready_records

    status, _, err = atx("run", "--select", "raw_media")
    assert status == 0, err
    said, begun = [], dg.DagsterEventType.STEP_START
    with dg.DagsterInstance.from_config(str(read_settings().dagster_home)) as instance:
        known = {run.run_id for run in instance.get_runs()}
        command = [sys.executable, "-m", "atx_assets.cli", "run"]
        killed = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 120
            while not (new := {run.run_id for run in instance.get_runs()} - known):
                assert time.monotonic() < end
                time.sleep(0.1)
            (run,) = new
            while not instance.get_records_for_run(run, of_type=begun).records:
                assert time.monotonic() < end
                time.sleep(0.1)
            ready_records(read_settings(), said.append)
            assert said == []
        finally:
            killed.kill()
            killed.wait()
        ready_records(read_settings(), said.append)
        assert said == [f"run {run[:8]} (full_rebuild) had lost its process: marked as failed"]
        assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.FAILURE


def test_the_demo_keeps_away_from_what_is_configured(monkeypatch, tmp_path, capsys):
    from atx_assets.commands.demo import _apart, _up_apart
    from atx_assets.home.home import exports
    from atx_assets.settings import read_settings

    settings = read_settings(
        {"MLFLOW_HOST": "mlflow.home", "ATX_SOURCE": "training", "ATX_HOME": str(tmp_path / "a b")}
    )
    apart = _apart(settings)
    assert apart.home == tmp_path / "a b-demo"
    values = exports(apart)
    assert values["MLFLOW_HOST"] == values["ATX_SOURCE"] == ""
    assert values["ATX_DATA_DIR"] == str(apart.home / "data")
    assert f"ATX_DATA_DIR='{apart.home}/data'" in _up_apart(apart)
    assert _apart(read_settings({})) == read_settings({})


def test_the_demo_apart_searches_and_tells_mlflow_as_the_settings_say(tmp_path):
    """Kept out: ATX_MLFLOW=off and ATX_SEARCH=full, which hold for every other run, forgotten."""
    from atx_assets.commands.demo import _apart
    from atx_assets.settings import read_settings

    own = {"ATX_MLFLOW": "off", "ATX_SEARCH": "full", "ATX_HOME": str(tmp_path)}
    apart = _apart(read_settings({**own, "PG_HOST": "films.home", "PG_DB": "films"}))
    assert (apart.mlflow_on, apart.learning.search) == (False, "full")
    assert (apart.pg_host, apart.pg_db) == ("", "media")


def test_mlflow_that_does_not_answer_fails_with_a_line_and_leaves_the_last_model(
    atx, small, tmp_path
):
    status, _, err = atx("run", ATX_SEARCH="off")
    assert status == 0, err
    champion = (tmp_path / "data" / "models" / "champion.json").read_bytes()
    started = time.monotonic()
    status, _, err = atx(
        "run", "--select", "tuned_classifier", MLFLOW_HOST="127.0.0.1", MLFLOW_PORT="1"
    )
    assert status == 1
    assert time.monotonic() - started < 60  # it was four minutes
    assert "MLflow does not answer at http://127.0.0.1:1" in one_line(err)
    assert (tmp_path / "data" / "models" / "champion.json").read_bytes() == champion


@pytest.mark.parametrize(
    ("setting", "value"),
    [("PG_PORT", "many"), ("ATX_SOURCE", "films"), ("ATX_EXECUTOR", "dask"), ("ATX_UI_PORT", "0")],
)
def test_a_setting_that_cannot_be_used_is_named(atx, setting, value):
    status, _, err = atx("run", **{setting: value})
    assert status == 1
    assert one_line(err).startswith(f"atx: {setting} must be ")


def test_doctor_says_ok_for_a_library_that_is_ready(atx, sample):
    status, out, err = atx("doctor")
    assert status == 0, out + err
    assert "FAIL" not in out
    assert "4,000" in out or "with a label" in out


def test_doctor_names_each_fault_with_its_mend(atx, sample):
    status, out, err = atx("doctor", PG_DB="nowhere", MLFLOW_HOST="127.0.0.1", MLFLOW_PORT="1")
    assert status == 1
    assert "FAIL  media database" in out
    assert "createdb nowhere" in out
    assert "FAIL  MLflow" in out
    assert "2 of the checks above failed" in one_line(err)
