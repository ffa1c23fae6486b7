"""A home backed up into one file and restored: as on an empty machine, and from what is damaged."""

import gzip
import hashlib
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from stat import S_IMODE

import dagster as dg
import pytest

from atx_assets.commands.doctor.files import check_backups
from atx_assets.defs.resources.files import DataFiles
from atx_assets.errors import AtxError, Note
from atx_assets.home.backup.archive import FORMAT, MANIFEST
from atx_assets.home.backup.backup import backup
from atx_assets.home.backup.restore import restore
from atx_assets.home.home import exports, open_home, start_servers, stop_servers
from atx_assets.home.mlflow_store import copy_store, move_store
from atx_assets.home.postgres.server import EmbeddedPostgres
from atx_assets.models.bundles import Bundles
from atx_assets.settings import Settings, read_settings
from atx_assets.storage.checksums import sums_of
from atx_assets.storage.writer_lock import only_writer
from atx_assets_tests.builders.backups import contents, elsewhere, packed, refuses
from atx_assets_tests.builders.program import ATX, end_processes_of, run_here

pytestmark = pytest.mark.xdist_group("backup")

ASSETS = ("raw_media", "tuned_classifier", "scored_results", "review_queue", "analysis_report")


@dataclass(frozen=True)
class Lived:
    """A home that has lived: a run, a correction, an alert; its backup, and how to run atx."""

    file: Path
    home: Path
    data: Path
    environment: dict[str, str]
    film: str
    other: str
    history: dict[str, float]

    def atx(self, *words: str, home: Path, data: Path) -> subprocess.CompletedProcess[str]:
        place = {"ATX_HOME": str(home), "ATX_DATA_DIR": str(data)}
        return run_here(self.environment | place, *words)


@pytest.fixture(scope="module")
def lived(small_library: Path) -> Iterator[Lived]:
    """A home on another machine: its folders are moved away once its backup is made."""
    folder = Path(tempfile.mkdtemp(prefix="atx-lived-"))
    home, data = folder / "h", folder / "data"
    kept = ("PG_", "ATX_", "MLFLOW_", "DAGSTER_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(kept)}
    environment |= {"PG_HOST": "", "MLFLOW_HOST": "", "DAGSTER_POSTGRES_URL": ""}
    environment |= {"ATX_HOME": str(home), "ATX_DATA_DIR": str(data), "ATX_SEARCH": "off"}
    try:
        assert run_here(environment, "load", str(small_library)).returncode == 0
        # Elsewhere: where a model's artifacts are, MLflow looks up once in a process.
        told = subprocess.run([*ATX, "run", "--quiet"], env=environment, capture_output=True)
        assert told.returncode == 0, told.stderr
        listed = json.loads((data / "false_positives.json").read_text())
        film, other = (record["imdb_id"] for record in listed[:2])
        done = run_here(environment, "correct", "keep", film, "--write")
        assert done.returncode == 0, done.stderr
        # The correction is in the results, so that scoring again changes nothing.
        assert run_here(environment, "run", "--job", "score", "--quiet").returncode == 0
        (home / "alerts.json").write_text("{}\n")
        (home / "a-later-atx.json").write_text('{"kept": true}\n')
        settings = read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(data)})
        done = run_here(environment, "backup", str(folder / "b.tar.gz"))
        assert done.returncode == 0, done.stderr
        assert "your .env" in done.stdout
        history = _history(settings)
        (folder / "gone").mkdir()
        home.rename(folder / "gone" / "h")
        data.rename(folder / "gone" / "data")
        was = folder / "gone"
        yield Lived(folder / "b.tar.gz", was / "h", was / "data", environment, film, other, history)
    finally:
        for left in (home, folder / "gone" / "h"):
            end_processes_of(left)
        shutil.rmtree(folder, ignore_errors=True)


def _history(settings: Settings) -> dict[str, float]:
    """The time of each asset's last materialisation, by asset, and the number of runs."""
    with open_home(settings) as ready, pytest.MonkeyPatch.context() as patch:
        for name, value in exports(ready).items():
            patch.setenv(name, value)
        with dg.DagsterInstance.from_config(str(ready.dagster_home)) as instance:
            found: dict[str, float] = {"runs": instance.get_runs_count()}
            for name in ASSETS:
                event = instance.get_latest_materialization_event(dg.AssetKey(name))
                found[name] = event.timestamp if event else 0.0
            return found


def without_sums(found: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in found.items() if not name.endswith(".sha256")}


def test_a_home_restored_on_an_empty_machine_goes_on_as_if_nothing_had_been(
    lived: Lived, server_folder: Path
) -> None:
    home, data = server_folder / "new home", server_folder / "elsewhere" / "d"
    settings = read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(data)})

    def atx(*words: str) -> str:
        done = lived.atx(*words, home=home, data=data)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        said = atx("restore", str(lived.file))
        assert "your .env" in said
        before = contents(lived.data)
        assert contents(data) == before
        assert sorted(p.name for p in server_folder.iterdir()) == ["elsewhere", "new home"]
        assert (home / "a-later-atx.json").exists()
        assert (home / "alerts.json").exists()
        assert _history(settings) == lived.history
        was, now = (Bundles(DataFiles(directory=str(d))).champion() for d in (lived.data, data))
        assert now.made == was.made

        atx("run", "--job", "score", "--quiet")
        # A sum of what a file was before is kept until it is written again.
        assert without_sums(contents(data)) == without_sums(before)

        _artifacts_load(home, now.version)
        assert lived.film in atx("correct", "undo", "1")
        atx("correct", "undo", "1", "--write")
        atx("correct", "keep", lived.other, "--write")
        atx("run", "--job", "refresh", "--quiet")
        assert Bundles(DataFiles(directory=str(data))).versions() == [1, 2]
        _artifacts_load(home, 2)
        told = atx("doctor")
        assert "FAIL" not in told
        assert "ok    backups: the last was made on 20" in told
    finally:
        end_processes_of(home)


def _artifacts_load(home: Path, version: int) -> None:
    """Open a model's run in MLflow as its page does, and the model itself."""
    from mlflow import MlflowClient

    store = f"sqlite:///{home / 'mlflow' / 'mlflow.db'}"
    client = MlflowClient(store)
    found = [v for v in client.search_model_versions("name='atx'") if int(v.version) == version]
    assert found[0].run_id
    run = client.get_run(found[0].run_id)
    assert run.info.artifact_uri.startswith(home.as_uri())
    names = [item.path for item in client.list_artifacts(run.info.run_id)]
    assert "quality.json" in names
    with tempfile.TemporaryDirectory() as folder:
        path = client.download_artifacts(run.info.run_id, "quality.json", folder)
        assert json.loads(Path(path).read_text())
    model = client.get_logged_model(found[0].source.rpartition("/")[2])
    assert model.artifact_location.startswith(home.as_uri())
    assert "MLmodel" in [item.path for item in client.list_logged_model_artifacts(model.model_id)]


def test_a_backup_is_for_its_owner_alone_and_begins_with_what_is_in_it(lived: Lived) -> None:
    assert S_IMODE(lived.file.stat().st_mode) == 0o600
    with tarfile.open(lived.file) as tar:
        names = tar.getnames()
        about = json.load(tar.extractfile(MANIFEST))
    assert names[0] == MANIFEST
    assert names[1:] == [member["name"] for member in about["members"]]
    assert set(about["versions"]) == {"atx", "dagster", "mlflow", "postgresql"}
    assert {"media", "dagster"} <= set(about["databases"].values())
    assert "home/corrections.jsonl" in names
    for never in (
        "home/logs",
        "home/locks",
        ".lock",
        "home/postgres",
        ".env",
        "home/mlflow/mlflow.db",
    ):
        assert not [name for name in names if never in name]


def test_what_is_restored_is_for_its_owner_alone_also_inside_the_home(
    lived: Lived, server_folder: Path
) -> None:
    """As `atx demo` may have it, the data folder lies in the home."""
    home = server_folder / "h"
    settings = read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(home / "data")})
    home.mkdir()  # empty is as good as missing
    mask = os.umask(0)
    try:
        restore(settings, lived.file, lambda _: None)
        assert contents(home / "data") == contents(lived.data)
        for path in home.rglob("*"):
            inside = path.relative_to(home).parts
            if inside[0] in ("data", "mlflow", "corrections.jsonl", "alerts.json"):
                assert S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        # And a backup of such a home has each file once.
        file = server_folder / "b.tar.gz"
        backup(settings, file, lambda _: None)
        with tarfile.open(file) as tar:
            names = tar.getnames()
        assert len(set(names)) == len(names)
        assert not [name for name in names if name.startswith("home/data")]
    finally:
        os.umask(mask)
        end_processes_of(home)


def test_a_small_home_comes_back(small: Settings) -> None:
    file = small.home.parent / "b.tar.gz"
    lines: list[str] = []
    backup(small, file, lines.append)
    assert "b.tar.gz" in lines[0]
    new = elsewhere(small)
    restore(new, file, lines.append)
    assert contents(new.data_dir) == contents(small.data_dir)
    assert contents(new.home) == contents(small.home)
    assert sorted(p.name for p in new.home.parent.iterdir()) == ["d", "h"]


def test_what_is_damaged_is_told_by_the_backup_that_takes_it(small: Settings) -> None:
    file = small.home.parent / "b.tar.gz"
    queue = small.data_dir / "review_queue.json"
    queue.write_text("[]")
    sums_of(queue).write_text("0" * 64)
    lines: list[str] = []
    backup(small, file, lines.append)
    (told,) = [line for line in lines if line.startswith("WARNING, it is in the backup as it is: ")]
    assert f"{queue} is damaged: materialise review_queue again" in told


def test_doctor_says_when_the_last_backup_was_made_also_of_a_home_that_was_restored(
    small: Settings,
) -> None:
    told = check_backups(small)
    assert isinstance(told, Note)
    assert told == "none is recorded: `atx backup` makes one"

    file, record = small.home.parent / "b.tar.gz", small.home / "last_backup.json"
    # An earlier one, which must not be taken for the one that a restore is made from.
    record.write_text('{"made": "2020-01-01T04:00:00+00:00"}')
    is_told = f"the last was made on {datetime.now():%Y-%m-%d}"
    backup(small, file, lambda _: None)
    told = check_backups(small)
    assert told.startswith(is_told)
    assert not isinstance(told, Note)
    assert S_IMODE(record.stat().st_mode) == 0o600
    with tarfile.open(file) as tar:
        assert not [name for name in tar.getnames() if "last_backup" in name]

    new = elsewhere(small)
    restore(new, file, lambda _: None)
    assert (new.home / "last_backup.json").read_bytes() == record.read_bytes()
    assert check_backups(new) == told


def test_a_backup_that_fails_is_not_recorded(small: Settings) -> None:
    (small.home / "mlflow").mkdir()
    (small.home / "mlflow" / "mlflow.db").write_bytes(b"no database" * 100)
    with pytest.raises(AtxError):
        backup(small, small.home.parent / "b.tar.gz", lambda _: None)
    assert check_backups(small).startswith("none is recorded")


def test_a_backup_is_whole_where_its_record_cannot_be_written(
    small: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (small.home / "last_backup.json").mkdir()
    file = small.home.parent / "b.tar.gz"
    backup(small, file, lambda _: None)
    assert "the home could not record this backup (Is a directory)" in caplog.text
    assert isinstance(check_backups(small), Note)
    assert [p.name for p in small.home.iterdir() if p.name.startswith(".")] == []
    restore(elsewhere(small), file, lambda _: None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"mad',
        '{"made": 7}',
        '{"made": "now"}',
        '{"made": "0001-01-01T00:00+14:00"}',
        "[" * 100_000,
    ],
)
def test_a_damaged_record_of_the_last_backup_is_a_note(small: Settings, content: str) -> None:
    (small.home / "last_backup.json").write_text(content)
    told = check_backups(small)
    assert isinstance(told, Note)
    assert "is damaged: the next `atx backup` rewrites it" in told
    backup(small, small.home.parent / "b.tar.gz", lambda _: None)
    assert check_backups(small).startswith("the last was made on")


def test_leftovers_of_a_crash_locks_and_links_are_not_taken(
    small: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    (small.data_dir / ".media.parquet.new").write_text("half")
    (small.data_dir / "models" / ".new-abc").mkdir(parents=True)
    (small.data_dir / "models" / ".new-abc" / "model.ubj").write_text("half")
    (small.data_dir / "link").symlink_to("/etc/passwd")
    (small.home / "logs").mkdir()
    (small.home / "logs" / "x.log").write_text("a line")
    file = small.home.parent / "b.tar.gz"
    backup(small, file, lambda _: None)
    with tarfile.open(file) as tar:
        assert tar.getnames() == [
            MANIFEST,
            "home/corrections.jsonl",
            "home/observed_labels.parquet",
            "data/media.parquet",
        ]
    assert "not a regular file" in caplog.text


def test_a_file_whose_name_is_no_text_is_named_and_left_out(
    small: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Kept out: no backup at all, for a UnicodeEncodeError."""
    (small.data_dir / os.fsdecode(b"caf\xe9.txt")).write_text("x")
    file = small.home.parent / "b.tar.gz"
    backup(small, file, lambda _: None)
    assert "not in the backup, because its name is not UTF-8: 'caf\\udce9.txt'" in caplog.text
    restore(elsewhere(small), file, lambda _: None)


def test_a_backup_of_more_files_than_a_restore_reads_is_not_made(
    small: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atx_assets.home.backup.backup.LONGEST_MANIFEST", 100)
    with pytest.raises(AtxError, match="hold 3 files, and a backup holds at most 300,000"):
        backup(small, small.home.parent / "b.tar.gz", lambda _: None)


def test_a_folder_that_is_missing_is_named(small: Settings) -> None:
    with pytest.raises(
        AtxError, match=r"^there is no folder .*/missing: create it, or name another"
    ):
        backup(small, small.home.parent / "missing" / "b.tar.gz", lambda _: None)


def test_no_home_is_restored_where_mlflow_has_no_address(small: Settings) -> None:
    """Kept out: a home that is restored, goes on, and cannot train."""
    file = small.home.parent / "b.tar.gz"
    backup(small, file, lambda _: None)
    new = replace(elsewhere(small), home=small.home.parent / "q?home")
    with pytest.raises(AtxError, match="question mark"):
        restore(new, file, lambda _: None)
    assert not new.home.exists()


def test_a_file_that_is_there_is_not_written_over(small: Settings) -> None:
    file = small.home.parent / "b.tar.gz"
    file.write_text("mine")
    with pytest.raises(AtxError, match="already exists"):
        backup(small, file, lambda _: None)
    assert file.read_text() == "mine"


def test_a_backup_that_fails_leaves_nothing(small: Settings) -> None:
    (small.home / "mlflow").mkdir()
    (small.home / "mlflow" / "mlflow.db").write_bytes(b"no database" * 100)
    before = sorted(small.home.parent.iterdir())
    with pytest.raises(AtxError, match=r"mlflow\.db"):
        backup(small, small.home.parent / "b.tar.gz", lambda _: None)
    assert sorted(small.home.parent.iterdir()) == before


def test_what_a_killed_backup_has_left_goes_with_the_next(small: Settings) -> None:
    left = small.home.parent / ".b.tar.gz.new"
    left.mkdir()
    (left / "0.dump").write_text("half")
    backup(small, small.home.parent / "b.tar.gz", lambda _: None)
    assert not left.exists()


def test_a_backup_waits_for_the_run_that_writes_and_says_so(
    small: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="atx_assets")
    file = small.home.parent / "b.tar.gz"
    with only_writer(small.data_dir, "run-1", None):
        waiting = threading.Thread(target=backup, args=(small, file, lambda _: None))
        waiting.start()
        end = time.monotonic() + 10
        while "waiting for run run-1" not in caplog.text and time.monotonic() < end:
            time.sleep(0.05)
        assert "waiting for run run-1" in caplog.text
        assert not file.exists()
    waiting.join(30)
    assert file.exists()


def test_a_backup_that_is_asked_to_end_leaves_nothing_and_says_one_line(small: Settings) -> None:
    place = {"ATX_HOME": str(small.home), "ATX_DATA_DIR": str(small.data_dir)}
    before = sorted(small.home.parent.iterdir())
    with only_writer(small.data_dir, "run-1", None):
        waiting = subprocess.Popen(
            [sys.executable, "-m", "atx_assets.cli", "backup", str(small.home.parent / "b.tar.gz")],
            env=os.environ | place,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert waiting.stderr
        assert "waiting for run run-1" in waiting.stderr.readline()
        os.killpg(waiting.pid, signal.SIGTERM)
        _, told = waiting.communicate(timeout=60)
    assert told == "atx: stopped; what was there before stays in place\n"
    assert waiting.returncode == 143
    assert sorted(small.home.parent.iterdir()) == before


def test_a_running_server_goes_on_and_databases_of_other_names_are_taken(home: Path) -> None:
    settings = read_settings({"ATX_HOME": str(home), "ATX_DATA_DIR": str(home.parent / "d")})
    start_servers(settings)
    server = EmbeddedPostgres(home)
    server.ensure_database("films of before, %20 'x'")
    file = home.parent / "b.tar.gz"
    try:
        backup(replace(settings, pg_host="elsewhere"), file, lambda _: None)
        assert server.is_running()
    finally:
        stop_servers(settings)
    with tarfile.open(file) as tar:
        about = json.load(tar.extractfile(MANIFEST))
    assert set(about["databases"].values()) == {
        "dagster",
        "media",
        "postgres",
        "films of before, %20 'x'",
    }
    assert "media on elsewhere" in " ".join(about["not_inside"])


# -- files that are not as they should be


@pytest.fixture
def good(small: Settings) -> bytes:
    file = small.home.parent / "b.tar.gz"
    backup(small, file, lambda _: None)
    content = file.read_bytes()
    file.unlink()
    return content


@pytest.mark.parametrize("left", [0, 1, 10, 500, 60_000, -9, -1])
def test_a_file_cut_short_is_refused(small: Settings, good: bytes, left: int) -> None:
    file = small.home.parent / "cut.tar.gz"
    file.write_bytes(good[:left])
    refuses(small, file, "cut short|not a backup of atx|damaged")


@pytest.mark.parametrize("at", [0, 11, 300, 50_000, -5])
def test_a_file_with_a_byte_turned_is_refused(small: Settings, good: bytes, at: int) -> None:
    turned = bytearray(good)
    turned[at] ^= 0xFF
    file = small.home.parent / "turned.tar.gz"
    file.write_bytes(turned)
    refuses(small, file, "damaged|not a backup of atx|cut short")


def test_a_file_that_is_no_backup_is_refused(small: Settings) -> None:
    for content in (b"", b"hello", gzip.compress(b"hello" * 1000)):
        file = small.home.parent / "other"
        file.write_bytes(content)
        refuses(small, file, "not a backup of atx|cut short")
    with pytest.raises(AtxError, match="does not exist"):
        restore(elsewhere(small), small.home.parent / "missing", lambda _: None)


def test_a_file_of_a_later_atx_is_refused(small: Settings) -> None:
    file = packed(small.home.parent / "b.tar.gz", {"data/a": b"1"}, format=FORMAT + 1)
    refuses(small, file, r"later atx \(9\)")


@pytest.mark.parametrize(
    "name", ["../evil", "data/../../evil", "/tmp/evil", "evil", "home//a", "data/./a", "data/a/"]
)
def test_a_name_that_leads_elsewhere_is_refused(small: Settings, name: str) -> None:
    refuses(small, packed(small.home.parent / "b.tar.gz", {name: b"1"}), "not a backup of atx")


def test_what_is_not_as_its_list_has_it_is_refused(small: Settings) -> None:
    file = small.home.parent / "b.tar.gz"
    digest = hashlib.sha256(b"1").hexdigest()
    one = {"name": "data/a", "size": 1, "sha256": digest}
    refuses(small, packed(file, {"data/a": b"2"}, members=[one]), "another checksum")
    refuses(small, packed(file, {"data/a": b"12"}, members=[one]), "differs from its list")
    refuses(small, packed(file, {"data/a": b"1", "data/b": b"1"}, members=[one]), "'data/b'")
    other = {**one, "name": "data/b"}
    refuses(small, packed(file, {"data/a": b"1"}, members=[one, other]), "data/b is missing")
    refuses(small, packed(file, {"data/a": b"1"}, members=[one, one]), "not a backup of atx")
    refuses(small, packed(file, {"data/a": b"1"}, databases={"home/x": "media"}), "not a backup")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_a_link_or_a_device_is_refused(small: Settings, kind: bytes) -> None:
    file = packed(small.home.parent / "b.tar.gz", {"data/a": b""})
    with tarfile.open(file) as tar:
        about = tar.extractfile(MANIFEST).read()
    with tarfile.open(file, "w:gz") as tar:
        info = tarfile.TarInfo(MANIFEST)
        info.size = len(about)
        tar.addfile(info, io.BytesIO(about))
        odd = tarfile.TarInfo("data/a")
        odd.type, odd.linkname = kind, "/etc/passwd"
        tar.addfile(odd)
    refuses(small, file, "differs from its list")


def test_a_dump_that_postgresql_cannot_read_is_refused(small: Settings) -> None:
    file = small.home.parent / "b.tar.gz"
    packed(file, {"databases/0.dump": b"DROP"}, databases={"databases/0.dump": "media"})
    refuses(small, file, "pg_restore failed")


def test_neither_a_home_nor_a_data_folder_is_written_over(small: Settings, good: bytes) -> None:
    file = small.home.parent / "b.tar.gz"
    file.write_bytes(good)
    new = elsewhere(small)
    for settings in (
        replace(new, home=small.home),
        replace(new, data_dir=small.data_dir),
    ):
        before = contents(small.home.parent)
        with pytest.raises(AtxError, match="is not empty"):
            restore(settings, file, lambda _: None)
        assert contents(small.home.parent) == before


# -- MLflow's store


def test_a_store_is_copied_whole_while_another_writes(tmp_path: Path) -> None:
    store, copy = tmp_path / "a.db", tmp_path / "b.db"
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("CREATE TABLE pairs (a INT, b INT)")
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(store, timeout=30)) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                with connection:  # both or none
                    connection.execute("INSERT INTO pairs VALUES (?, 0)", [number])
                    connection.execute("UPDATE pairs SET b = a WHERE a = ?", [number])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(5):
            copy.unlink(missing_ok=True)
            copy_store(store, copy)
            with closing(sqlite3.connect(copy)) as connection:
                assert connection.execute("SELECT count(*) FROM pairs WHERE a <> b").fetchone() == (
                    0,
                )
    finally:
        stop.set()
        writer.join()


def test_only_paths_of_the_old_home_are_given_the_new_one(tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    old, new = Path("/old h%/a"), Path("/new_%/b")
    values = ["file:///old%20h%25/a/mlflow/artifacts/1", "/old h%/a/mlflow", "/old h%/a/mlflow2/x"]
    values += ["see /old h%/a/mlflow/", "file:///old%20h%25/a/mlflow", None, 5]
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute('CREATE TABLE "odd ""t" (k INTEGER PRIMARY KEY, "v v")')
        connection.executemany('INSERT INTO "odd ""t" ("v v") VALUES (?)', [[v] for v in values])
    assert move_store(store, tmp_path, old, new) == 3
    with closing(sqlite3.connect(store)) as connection:
        after = [v for (v,) in connection.execute('SELECT "v v" FROM "odd ""t" ORDER BY k')]
    moved = ["file:///new_%25/b/mlflow/artifacts/1", "/new_%/b/mlflow", *values[2:]]
    moved[4] = "file:///new_%25/b/mlflow"
    assert after == moved
