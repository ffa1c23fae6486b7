"""What `atx doctor` sees in advance: files, settings, records, a table that has changed.

Its servers are in test_run.py.
"""

import contextlib
import json
import logging
import os
import re
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest

from atx_assets.alerts.alerts import clear, raise_alert
from atx_assets.alerts.messages import Alert
from atx_assets.automation.decide import Results
from atx_assets.automation.observe import _latest, results_of
from atx_assets.automation.results import READ, TRAINED, Made, results_from
from atx_assets.cli.main import main
from atx_assets.commands.doctor import files as doctor_files
from atx_assets.commands.doctor import records as doctor_records
from atx_assets.commands.doctor import settings as doctor_settings
from atx_assets.commands.doctor.doctor import _nightly, doctor
from atx_assets.commands.doctor.files import (
    check_inodes,
    check_leftovers,
    check_quarantine,
    check_writer,
)
from atx_assets.commands.doctor.records import check_history, check_labels, check_tables
from atx_assets.commands.doctor.settings import check_env_file, check_names, check_ports
from atx_assets.defs.resources.files import DataFiles
from atx_assets.defs.schedules import nightly_schedule
from atx_assets.errors import AtxError, Note
from atx_assets.home.dagster_records import UnderWay, dagster_records
from atx_assets.home.home import exports, open_home
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.models.integrity import check_models, check_results
from atx_assets.schemas import QUARANTINE, arrow_schema
from atx_assets.settings import Settings, read_settings
from atx_assets.sources.read.fingerprints import Fingerprints
from atx_assets.storage.data_folder import FILES
from atx_assets.storage.locks import try_lock, unlock
from atx_assets.storage.writer_lock import only_writer
from atx_assets_tests.builders.living import Living
from atx_assets_tests.builders.postgres import storage_url
from atx_assets_tests.builders.workplace import Workplace
from atx_assets_tests.system.faults.test_migrated_layout import migrate


def is_note(told: str, *words: str) -> None:
    assert isinstance(told, Note), told
    for word in words:
        assert word in told


def is_well(told: str, *words: str) -> None:
    assert not isinstance(told, Note), told
    for word in words:
        assert word in told


@pytest.fixture
def bare(tmp_path: Path) -> Settings:
    """A home and a data folder that are empty."""
    settings = read_settings({"ATX_HOME": str(tmp_path / "h"), "ATX_DATA_DIR": str(tmp_path / "d")})
    settings.home.mkdir()
    settings.data_dir.mkdir()
    return settings


@pytest.fixture
def done(copied) -> Settings:
    """A home with results that a test may damage."""
    home = copied.home
    return read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(home / "data")})


def test_a_check_that_breaks_hides_none_of_those_after_it(
    bare: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atx_assets.commands.doctor.doctor.check_inodes", lambda _: 1 // 0)
    said: list[str] = []
    with pytest.raises(AtxError, match=r"^1 of the checks above failed$"):
        doctor(bare, said.append)
    (broken,) = [line for line in said if line.startswith("FAIL")]
    assert broken.startswith("FAIL  room for files: the check itself broke (ZeroDivisionError: ")
    assert said[-1].startswith("ok    settings: ")


def test_the_alerts_that_stand_are_told(bare: Settings) -> None:
    said: list[str] = []
    raise_alert(bare, Alert("nightly", "the nightly run failed", "a text"), logging.getLogger())
    doctor(bare, said.append)
    (told,) = [line for line in said if "alerts now: " in line]
    assert re.match(r"note  alerts now: \d{4}-\d\d-\d\d \d\d:\d\d the nightly run failed: ", told)
    clear(bare, "nightly")
    said.clear()
    doctor(bare, said.append)
    assert "ok    alerts now: none is active" in said


def test_a_file_that_cannot_be_opened_is_told_and_the_rest_is_looked_at(bare: Settings) -> None:
    """As root, whom nothing is forbidden, with a folder in the place of a file."""
    (bare.data_dir / ".writer.lock").mkdir()
    said: list[str] = []
    with pytest.raises(AtxError, match=r"^1 of the checks above failed$"):
        doctor(bare, said.append)
    (fault,) = [line for line in said if line.startswith("FAIL")]
    assert fault.startswith(
        f"FAIL  writer: {bare.data_dir / '.writer.lock'}: Is a directory: check"
    )
    assert said[-1].startswith("ok    settings: ")


def test_a_new_home_frightens_nobody(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in (*os.environ,):
        if name.startswith(("PG_", "ATX_", "MLFLOW_", "DAGSTER_")):
            monkeypatch.delenv(name)
    for name in ("PG_HOST", "MLFLOW_HOST", "DAGSTER_POSTGRES_URL"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("ATX_HOME", str(home))
    monkeypatch.setenv("ATX_DATA_DIR", str(home.parent / "d"))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert "`atx load FILE` fills it" in out
    assert "note  models: none yet" in out


def test_no_new_home_is_made_beside_results(home: Path, tmp_path: Path) -> None:
    """Kept out: a home that was moved, a new and empty one in its place, and doctor content."""
    DataFiles(directory=str(tmp_path)).path("scored_results").touch()
    settings = read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(tmp_path)})
    said: list[str] = []
    with pytest.raises(AtxError, match="of the checks above failed"):
        doctor(settings, said.append)
    assert said[0] == (
        f"FAIL  home: {home} is missing, and {tmp_path} holds results: set ATX_HOME to where "
        "the home is now; `atx start` creates a new one"
    )
    assert not home.exists()


@pytest.mark.slow
class TestFiles:
    def test_all_that_is_damaged_is_named_with_the_command_that_mends_it(
        self, done: Settings
    ) -> None:
        for name in ("training_table", "review_queue", "analysis_report"):
            with DataFiles(directory=str(done.data_dir)).path(name).open("ab") as file:
                file.write(b"x")
        with pytest.raises(AtxError) as told:
            check_results(done)
        for name in ("training_table", "review_queue", "analysis_report"):
            assert f"materialise {name} again (`atx run --select key:{name}`)" in str(told.value)

    def test_a_damaged_copy_of_the_champions_model_is_copied_and_not_trained_anew(
        self, done: Settings, finished: Workplace
    ) -> None:
        """Kept out: "materialise tuned_classifier", which trains for minutes."""
        copy = done.data_dir / FILES["tuned_classifier"]
        whole = copy.read_bytes()
        copy.write_bytes(b"half")
        with pytest.raises(AtxError, match="ubj is damaged: `atx run --select key:scored_results`"):
            check_results(done)
        place = Workplace(finished.database, done.home)
        assert place.run(assets=[dg.AssetKey("scored_results")]).success
        assert copy.read_bytes() == whole
        is_well(check_results(done))

    def test_nothing_made_yet_is_a_note(self, bare: Settings) -> None:
        is_note(check_results(bare), "none yet")
        is_note(check_models(bare), "none yet")
        is_well(check_writer(bare))
        is_well(check_leftovers(bare))
        is_well(check_inodes(bare))

    def test_results_as_they_were_written_are_well(self, done: Settings) -> None:
        is_well(check_results(done), f"{len(FILES)} files")
        is_well(check_models(done), "version 1 scores")

    def test_rows_that_are_set_aside_are_a_note(self, bare: Settings, done: Settings) -> None:
        is_note(check_quarantine(bare), "`atx run`")
        is_well(check_quarantine(done), "none of 1,500 rows is set aside")
        files = DataFiles(directory=str(done.data_dir))
        row = dict.fromkeys(c.name for c in QUARANTINE)
        files.write_table("quarantine", pa.Table.from_pylist([row], arrow_schema(QUARANTINE)))
        is_note(check_quarantine(done), "1 of 1,500 rows is set aside (0.07%)", "show quarantine")
        stopped = replace(done, quarantine_block=0.0)
        with pytest.raises(AtxError, match=r"BLOCK \(0\) allows, and runs stop: fix them"):
            check_quarantine(stopped)

    @pytest.mark.parametrize("asset", ["raw_media", "scored_results", "review_queue"])
    def test_a_damaged_result_is_named_with_its_mend(self, done: Settings, asset: str) -> None:
        path = done.data_dir / FILES[asset]
        content = path.read_bytes()
        # Its middle, where no header would tell.
        path.write_bytes(content[: len(content) // 2] + b"\0\xff" * 40 + content[-200:])
        with pytest.raises(AtxError, match=rf"{path.name} .*{asset}"):
            check_results(done)

    def test_a_missing_result_is_a_note(self, done: Settings) -> None:
        (done.data_dir / "report.html").unlink()
        is_note(check_results(done), "report.html missing")

    def test_a_damaged_champion_is_named_with_its_mend(self, done: Settings) -> None:
        model = done.data_dir / "models" / "1" / "folds" / "seed2_fold3.ubj"
        model.write_bytes(model.read_bytes()[:-1] + b"\x01")
        with pytest.raises(AtxError, match="the champion, is not as it was saved: restore /"):
            check_models(done)

    def test_a_damaged_pointer_to_the_champion_is_named_with_its_mend(self, done: Settings) -> None:
        (done.data_dir / "models" / "champion.json").write_text('{"vers')
        with pytest.raises(
            AtxError, match=r"`atx promote VERSION` writes it again; versions kept: 1"
        ):
            check_models(done)

    def test_who_is_writing_is_named(self, bare: Settings) -> None:
        with only_writer(bare.data_dir, "run-7", None):
            is_note(check_writer(bare), "run-7 is writing")
        is_well(check_writer(bare))

    def test_what_a_crash_has_left_is_said_to_be_harmless(self, bare: Settings) -> None:
        (bare.data_dir / ".media.parquet.new").write_text("half")
        (bare.data_dir / "models" / ".new-x").mkdir(parents=True)
        (bare.home / "postgres.new-y").mkdir()
        told = check_leftovers(bare)
        is_note(told, ".media.parquet.new", ".new-x", "postgres.new-y", "harmless")

    def test_a_disk_without_room_for_files_is_a_failure(
        self, bare: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor_files, "_LEAST_INODES", 1 << 62)
        if not os.statvfs(bare.home).f_files:
            pytest.skip("this file system counts no files")
        with pytest.raises(AtxError, match="more files, and a run needs"):
            check_inodes(bare)


class TestSettings:
    def test_a_misspelt_name_is_named_with_the_nearest(self) -> None:
        told = check_names({"ATX_LABEL_QUITE_SECONDS": "1", "ATX_HOME": "x", "PATH": "y"})
        is_note(told, "ATX_LABEL_QUITE_SECONDS", "did you mean ATX_LABEL_QUIET_SECONDS?")
        assert "ATX_HOME" not in told
        is_well(check_names({"ATX_HOME": "x", "ATX_CORRECTION_PG_PASS": "y"}), "2 of atx's own")

    def test_a_database_of_ones_own_that_is_not_named_right_is_told(self) -> None:
        is_note(check_names({"PG_HOSTNAME": "x"}), "PG_HOSTNAME is no", "did you mean PG_HOST?")
        is_note(check_names({"PG_USER": "x", "PG_PASS": "y"}), "PG_PASS, PG_USER without PG_HOST")
        is_well(check_names({"PG_USER": "x", "PG_HOST": "y", "PG_DB": "z"}), "3 of atx's own")

    @pytest.mark.parametrize(
        ("text", "mode", "note"),
        [
            ("PG_PASS=x\n", 0o644, True),
            ("export ATX_ALERT_URL=https://x\n", 0o640, True),
            ("MLFLOW_HOST=https://me:pw@mlflow.home\n", 0o644, True),
            ("MLFLOW_TRACKING_PASSWORD=x\n", 0o644, True),
            ("MLFLOW_TRACKING_TOKEN = x\n", 0o644, True),
            ("MLFLOW_HOST=https://mlflow.home\n# http://me:pw@x\n", 0o644, False),
            ("PG_PASS=x\n", 0o600, False),
            ("# PG_PASS=x\nATX_UI_PORT=1\nPG_PASS=\n", 0o644, False),
        ],
    )
    def test_secrets_that_others_can_read_are_told(
        self, text: str, mode: int, note: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(doctor_settings, "ROOT", tmp_path)
        is_well(check_env_file(), "none")
        (tmp_path / ".env").write_text(text)
        (tmp_path / ".env").chmod(mode)
        told = check_env_file()
        assert isinstance(told, Note) is note
        assert "chmod 600" in told or not note

    def test_ports_are_told_free_or_taken(self, bare: Settings) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            is_note(check_ports(replace(bare, ui_port=port)), f"{port} (ATX_UI_PORT)")
            # While it runs the ports are its own.
            (bare.home / "locks").mkdir()
            held = try_lock(bare.home / "locks" / "up")
            assert held is not None
            is_well(check_ports(replace(bare, ui_port=port)), "`atx up` runs")
            unlock(held)
            is_note(check_ports(replace(bare, ui_port=port)))


@pytest.mark.parametrize(
    "cron", ["0 2 * * *", "59 23 * * *", "0 0 * * *", "05 02 * * *", "*/5 * * * *", "0 2 * * 1-5"]
)
def test_the_time_of_the_nightly_run_is_told_as_dagster_takes_it(cron: str) -> None:
    settings = read_settings({"ATX_RETRAIN_CRON": cron, "ATX_TIMEZONE": "Asia/Kolkata"})
    schedule = nightly_schedule(settings)
    told = f"{schedule.cron_schedule} ({schedule.execution_timezone})"
    assert _nightly(settings) == told == f"{cron} (Asia/Kolkata)"


@pytest.mark.parametrize("cron", ["60 2 * * *", "0 24 * * *", "0 2 * *", "0 2 * * *\n0"])
def test_a_nightly_run_at_no_time_fails(cron: str) -> None:
    with pytest.raises(AtxError, match="is not a cron expression"):
        _nightly(read_settings({"ATX_RETRAIN_CRON": cron}))


@dg.asset
def scored_results() -> None:
    """The asset whose age is told."""


def _made(name: str, metadata: dict[str, str]) -> dg.AssetsDefinition:
    @dg.asset(name=name)
    def made() -> dg.MaterializeResult[None]:
        return dg.MaterializeResult(metadata={**metadata, "films": 3})

    return made


class TestRecords:
    @pytest.fixture
    def ready(
        self, home: Path, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> Settings:
        name = f"records_{home.parent.name.replace('-', '_')}"
        postgres.ensure_database(name)
        url = storage_url(postgres, name)
        own = {"PG_HOST": postgres.host, "DAGSTER_POSTGRES_URL": url, "ATX_HOME": str(home)}
        with open_home(read_settings(own)) as settings:
            for variable, value in exports(settings).items():
                monkeypatch.setenv(variable, value)
            return settings

    @pytest.mark.slow
    def test_the_age_of_results_a_lost_run_and_a_clock_set_back_are_told(
        self, ready: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        is_well(check_history(ready), "no runs yet")
        held = Fingerprints("2-a", "1-b", "3-c")
        is_well(check_labels(ready, held), "no runs yet")
        with dg.DagsterInstance.from_config(str(ready.dagster_home)) as instance:
            assert dg.materialize([scored_results], instance=instance).success
            is_well(check_history(ready), "the last results are from 20")
            is_well(check_labels(ready, held), "no results yet to compare with")

            run = instance.create_run_for_job(_job(), status=dg.DagsterRunStatus.STARTED)
            event = dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.RUN_START.value,
                job_name="j",
                pid=_pid_of_nobody(),
            )
            instance.report_dagster_event(event, run.run_id)
            is_note(check_history(ready), run.run_id[:8], "has lost its process")

        hour = 3600
        now = doctor_records.time.time
        monkeypatch.setattr(doctor_records.time, "time", lambda: now() - hour)
        is_note(check_history(ready), "one of them is wrong")

    @pytest.mark.slow
    def test_records_are_read_as_dagster_reads_them(self, ready: Settings) -> None:
        told = {f"atx/{name}": f"2-{name}" for name in ("labels", "human_labels", "media")}
        made = [_made(name, told) for name in (*READ, TRAINED)]

        def read() -> tuple[list[Made | None], Results | None]:
            with dagster_records(ready) as records:
                latest = [records.latest(name) for name in (*READ, TRAINED, "nothing")]
                return latest, results_from(records.latest)

        with dg.DagsterInstance.from_config(str(ready.dagster_home)) as instance:
            for _ in range(2):
                assert dg.materialize(made, instance=instance).success
                latest, results = read()
                theirs = [_latest(instance, name) for name in (*READ, TRAINED, "nothing")]
                assert latest == theirs
                assert latest[0] is not None
                assert dict(latest[0].told) == told
                assert results == results_of(instance)
                assert results is not None
            instance.wipe_assets([dg.AssetKey(TRAINED)])
            latest, results = read()
            assert latest[:-2] == theirs[:-2]
            assert (latest[-2], results) == (None, None)
            assert dg.materialize(made[-1:], instance=instance).success
            latest, results = read()
            assert latest[-2] == _latest(instance, TRAINED)
            assert results == results_of(instance)

            run = instance.create_run_for_job(
                _job(), status=dg.DagsterRunStatus.STARTED, tags={"a": "b"}
            )
            with dagster_records(ready) as records:
                assert list(records.under_way()) == [UnderWay(run.run_id, run.tags, None)]
            event = dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.RUN_START.value, job_name="j", pid=7
            )
            instance.report_dagster_event(event, run.run_id)
            with dagster_records(ready) as records:
                began = next(records.under_way()).began
            page = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.RUN_START)
            assert began == (7, page.records[0].event_log_entry.timestamp)

    def test_tables_of_other_releases_are_told(self, ready: Settings) -> None:
        is_well(check_tables(ready), "not created yet")
        store = ready.home / "mlflow" / "mlflow.db"
        store.parent.mkdir()
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
            connection.execute("INSERT INTO alembic_version VALUES ('1bd49d398cd23')")
        is_note(check_tables(ready), "earlier release", "atx backup")
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("UPDATE alembic_version SET version_num = 'fedcba987654'")
        with pytest.raises(AtxError, match="later release"):
            check_tables(ready)


@pytest.mark.slow
class TestChangedDatabase:
    """A library with results, of which Dagster's storage has the records, and then the table."""

    @pytest.fixture
    def examined(
        self, copied, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[], dict[str, str]]:
        """The lines of the doctor by their names."""
        name = f"records_of_{copied.database.name}"
        postgres.ensure_database(name)
        url = storage_url(postgres, name)
        own = {"DAGSTER_POSTGRES_URL": url, "ATX_MLFLOW": "off"}
        with copied.environment(**own), open_home(read_settings()) as settings:
            for variable, value in exports(settings).items():
                monkeypatch.setenv(variable, value)
            with (
                copied.instance() as made,
                dg.DagsterInstance.from_config(str(settings.dagster_home)) as kept,
            ):
                for asset in (*READ, TRAINED):
                    [record] = made.fetch_materializations(dg.AssetKey(asset), limit=1).records
                    kept.report_runless_asset_event(record.asset_materialization)

        def lines() -> dict[str, str]:
            said: list[str] = []
            with copied.environment(**own), contextlib.suppress(AtxError):
                doctor(read_settings(), said.append)
            return {line[6:].partition(": ")[0]: line for line in said}

        return lines

    def test_a_champion_of_the_other_layout_is_told_in_the_words_with_which_scoring_fails(
        self, copied, examined: Callable[[], dict[str, str]]
    ) -> None:
        assert examined()["layout"] == "ok    layout: media, and the champion has learned from it"
        with copied.instance() as instance, copied.connect() as connection:
            connection.autocommit = True
            migrate(Living(copied, instance, connection))
        told = examined()
        assert told["layout"] == (
            "FAIL  layout: the champion (version 1) learned from the media layout, but the films "
            "are now in the training layout: run full_rebuild"
        )
        assert [line for line in told.values() if line.startswith("FAIL")] == [told["layout"]]
        result = copied.run("score", ATX_MLFLOW="off")
        failures = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
        assert told["layout"].removeprefix("FAIL  layout: ") in failures[0].to_string()

        (copied.home / "data" / "models" / "champion.json").write_text('{"vers')
        told = examined()
        assert told["models"].startswith("FAIL")
        assert told["layout"] == "ok    layout: training; for the champion, see the models above"

    def test_labels_that_are_gone_are_told_in_the_words_with_which_sensors_refuse(
        self, copied, examined: Callable[[], dict[str, str]]
    ) -> None:
        assert examined()["labels"] == "ok    labels: labels and films are there as before"
        unlabel = (
            "UPDATE atp.media SET rejection_status = 'unfiltered', rejection_reason = NULL"
            " WHERE hash NOT IN (SELECT hash FROM atp.media WHERE media_type = 'movie'"
            " AND rejection_status <> 'unfiltered' ORDER BY hash LIMIT %s)"
        )
        with copied.instance() as instance, copied.connect() as connection:
            connection.autocommit = True
            connection.execute(unlabel, [100])
            refusal = Living(copied, instance, connection).tick()
            told = examined()
            assert told["labels"] == f"FAIL  labels: {refusal}"
            assert " labels are gone at once: nothing is rebuilt from that" in told["labels"]
            assert "`atx run`" in told["labels"]
            # Nothing else tells of it.
            assert [line for line in told.values() if line.startswith("FAIL")] == [told["labels"]]
            # Where too few are left to learn from, to label more is not the mend.
            connection.execute(unlabel, [0])
            told = examined()
        assert told["media database"].startswith("FAIL")
        assert "gone at once" in told["labels"]


def _job() -> dg.JobDefinition:
    @dg.op
    def nothing() -> None: ...

    @dg.job
    def lost() -> None:
        nothing()

    return lost


def _pid_of_nobody() -> int:
    import psutil

    pid = 4_000_000
    while psutil.pid_exists(pid):
        pid -= 1
    return pid


@pytest.mark.slow
def test_a_model_of_another_release_fails_scoring_with_a_line_and_a_rebuild_mends_it(
    copied, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atx_assets.models import bundle

    now = bundle.FORMAT
    for number, words in ((now + 1, "an earlier atx"), (now - 1, "a later atx")):
        monkeypatch.setattr(bundle, "FORMAT", number)
        with dg.DagsterInstance.ephemeral() as instance:
            result = copied.run("score", instance)
            assert not result.success
            failures = [e.step_failure_data.error for e in result.all_events if e.is_step_failure]
        assert f"made by {words}: run full_rebuild" in failures[0].to_string()
        settings = read_settings({"ATX_DATA_DIR": str(copied.home / "data")})
        with pytest.raises(AtxError, match=f"made by {words}"):
            check_models(settings)
    monkeypatch.setattr(bundle, "FORMAT", now + 1)
    assert copied.run("full_rebuild", ATX_SEARCH="off").success
    models = copied.home / "data" / "models"
    assert json.loads((models / "champion.json").read_text())["version"] == 2
    is_note(check_models(settings), "version 2 scores", "not needed to score: 1")
