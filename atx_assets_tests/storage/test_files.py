"""Files under the data folder: replaced in one step, written by one run at a time."""

import json
import logging
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import dagster as dg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atx_assets.defs.resources.files import DataFiles
from atx_assets.errors import AtxError
from atx_assets.storage.checksums import announce, is_damaged, sums_of
from atx_assets.storage.writer_lock import only_writer

HOLD = """
import sys, time
from pathlib import Path
from atx_assets.storage.writer_lock import only_writer
with only_writer(Path(sys.argv[1]), sys.argv[2], None):
    print("held", time.time(), flush=True)
    time.sleep(float(sys.argv[3]))
    print("let go", time.time(), flush=True)
"""


@pytest.fixture
def files(tmp_path: Path) -> DataFiles:
    return DataFiles(directory=str(tmp_path / "data"))


def test_a_failed_write_leaves_what_was_there_and_nothing_beside_it(files):
    path = files.write_text("analysis_report", "old")

    def fail_half_way() -> None:
        with files.replacing(path) as beside:
            beside.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert path.read_text() == "old"
    assert sorted(p.name for p in path.parent.iterdir()) == [sums_of(path).name, path.name]


def test_a_killed_write_leaves_what_was_there(files):
    path = files.write_text("analysis_report", "old")
    code = (
        "import os, sys; from atx_assets.defs.resources.files import DataFiles;"
        "files = DataFiles(directory=sys.argv[1]); path = files.path('analysis_report');"
        "beside = files.replacing(path).__enter__(); beside.write_text('half');"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(files.folder)], check=False)
    assert path.read_text() == "old"
    files.write_text("analysis_report", "new")
    assert path.read_text() == "new"
    assert sorted(p.name for p in path.parent.iterdir()) == [sums_of(path).name, path.name]


def test_a_missing_file_says_what_to_materialise(files):
    with pytest.raises(AtxError, match="materialise scored_results first, or run full_rebuild"):
        files.read_table("scored_results")


@pytest.mark.parametrize("content", [b"", b"no parquet", b"PAR1 but no more PAR1"])
def test_a_damaged_table_is_named(files, content):
    files.folder.mkdir(parents=True)
    files.path("raw_media").write_bytes(content)
    with pytest.raises(AtxError, match=r"media\.parquet is damaged: materialise raw_media again"):
        files.read_table("raw_media")


def test_a_file_that_cannot_be_read_is_not_called_damaged(files):
    """Kept out: "give it to yourself", and "materialise it again", whatever the cause."""
    for asset in ("raw_media", "review_queue"):
        files.path(asset).mkdir(parents=True)
        read = files.read_table if asset == "raw_media" else files.read_records
        with pytest.raises(AtxError, match=r"cannot be read: Is a directory: check what is there$"):
            read(asset)


def test_damaged_records_are_named(files):
    files.write_text("review_queue", "[{")
    with pytest.raises(AtxError, match="is damaged: materialise review_queue again"):
        files.read_records("review_queue")


def test_the_same_rows_give_the_same_bytes(files):
    table = pa.table({"key": ["a", "b"], "probability": [0.1, None]})
    first = files.write_table("scored_results", table).read_bytes()
    assert files.write_table("scored_results", table).read_bytes() == first


@pytest.mark.slow
def test_two_runs_do_not_write_at_once(files):
    command = [sys.executable, "-c", HOLD, str(files.folder)]
    first = subprocess.Popen([*command, "first", "2"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline().startswith("held")
    second = subprocess.Popen([*command, "second", "0"], stdout=subprocess.PIPE, text=True)
    out, _ = second.communicate(timeout=30)
    let_go = float(first.communicate(timeout=30)[0].split()[-1])
    assert float(out.splitlines()[0].split()[-1]) >= let_go


@pytest.mark.slow
def test_a_killed_run_gives_the_folder_up(files):
    command = [sys.executable, "-c", HOLD, str(files.folder)]
    first = subprocess.Popen([*command, "first", "600"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    first.stdout.readline()
    first.kill()
    first.wait()
    started = time.monotonic()
    subprocess.run([*command, "second", "0"], check=True, timeout=30, capture_output=True)
    assert time.monotonic() - started < 20


def test_who_waits_says_once_for_which_run(tmp_path, caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    holder, rounds = only_writer(tmp_path, "the first", None), []
    holder.__enter__()

    def sleep(_: float) -> None:
        rounds.append(None)
        if len(rounds) == 3:
            holder.__exit__(None, None, None)

    monkeypatch.setattr(time, "sleep", sleep)
    with only_writer(tmp_path, "the second", logging.getLogger("a run")):
        assert (tmp_path / ".writer.lock").read_text() == "the second"
    assert caplog.messages == [f"waiting for run the first, which is writing to {tmp_path}"]


def test_a_run_holds_the_folder_from_its_first_step_to_its_last(files):
    seen = []

    @dg.asset
    def looks(files: DataFiles) -> None:
        lock = files.folder / ".writer.lock"
        seen.append(lock.read_text())

    result = dg.materialize([looks], resources={"files": files})
    assert seen == [result.run_id]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    records=st.lists(
        st.dictionaries(
            st.text(st.characters(codec="utf-8")),
            st.text(st.characters(codec="utf-8")) | st.integers() | st.booleans() | st.none(),
        )
    )
)
def test_whatever_is_written_is_read_back(files, records):
    files.write_records("review_queue", records)
    assert files.read_records("review_queue") == records
    assert not is_damaged(files.path("review_queue"))


def test_the_tasks_of_an_earlier_review_queue_have_the_names_of_today(files):
    """Kept out: an empty queue on the day of an upgrade, until the next run makes it anew."""
    earlier = Path(__file__).parents[1] / "earlier/before_titles/data.tar.xz"
    with tarfile.open(earlier) as packed:
        packed.extractall(files.folder.parent, filter="data")
    written = json.loads(files.path("review_queue").read_text())
    assert {record["task"] for record in written} == {"judge again", "judge", "recommended"}
    read = files.read_records("review_queue")
    today = {"judge again": "label_again", "judge": "label", "recommended": "recommended"}
    assert read == [{**record, "task": today[record["task"]]} for record in written]


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sums=st.binary() | st.just(b"x" * 10**6), content=st.binary(max_size=20))
def test_any_bytes_where_the_sums_stand_make_a_damaged_file_and_no_traceback(files, sums, content):
    path = files.write_text("review_queue", "[]")
    path.write_bytes(content)
    sums_of(path).write_bytes(sums)
    with pytest.raises(AtxError, match="is damaged: materialise review_queue again"):
        files.read_records("review_queue")


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.binary() | st.text().map(str.encode) | st.just(b"[" * 100_000))
@pytest.mark.parametrize("asset", ["review_queue", "scored_results"])
def test_any_content_without_sums_is_read_or_damaged(files, content, asset):
    path = files.path(asset)
    path.parent.mkdir(exist_ok=True)
    sums_of(path).unlink(missing_ok=True)
    path.write_bytes(content)
    said = ""
    try:
        files.read_records(asset) if asset == "review_queue" else files.read_table(asset)
    except AtxError as error:
        said = str(error)
    assert not said or f"is damaged: materialise {asset} again (`atx run" in said


def test_who_holds_the_folder_sweeps_what_was_left_and_nothing_of_others(tmp_path: Path) -> None:
    """Kept out: halves of files that stay for ever, and a file of somebody else that goes."""
    ours = (".media.parquet.new", ".report.html.sha256.new", ".report_roc.png.new")
    ours += ("models/.champion.json.new", "models/2/.promotion.json.new")
    others = (".mine.new", "photos/.media.parquet.new", "models/.mine.new", "media.parquet")
    for name in (*ours, *others):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    with only_writer(tmp_path, "a run", None):
        pass
    assert not [name for name in ours if (tmp_path / name).exists()]
    assert all((tmp_path / name).exists() for name in others)


# -- what files were made from


@pytest.mark.parametrize("asset", ["review_queue", "scored_results"])
def test_what_a_file_was_made_from_is_asked_before_it_is_joined(files, asset):
    files.write_text("feature_encoding", "one")
    parts = files.fingerprints("feature_encoding")
    if asset == "review_queue":
        files.write_records(asset, [], parts)
    else:
        files.write_table(asset, pa.table({"key": ["tt0000001"]}), parts)
    assert files.made_from(asset) == parts
    files.require(asset, "feature_encoding")
    files.write_text("feature_encoding", "another")
    with pytest.raises(AtxError, match="was made from another feature_encoding than the current"):
        files.require(asset, "feature_encoding")


def test_a_replacement_broken_off_leaves_what_the_old_file_was_made_from(files):
    path = files.write_records("review_queue", [], {"scored_results": "a" * 64})
    coming = path.with_name("coming")
    coming.write_text("[{}]")
    announce(path, coming, {"scored_results": "b" * 64})  # and then it is killed
    assert files.made_from("review_queue") == {"scored_results": "a" * 64}
    coming.replace(path)
    assert files.made_from("review_queue") == {"scored_results": "b" * 64}


def test_a_sum_of_what_a_file_was_made_from_that_was_damaged_is_noticed(files):
    path = files.write_records("review_queue", [], {"scored_results": "a" * 64})
    sums_of(path).write_text(sums_of(path).read_text().replace("=aa", "=ab"))
    assert is_damaged(path)
    with pytest.raises(AtxError, match="is damaged: materialise review_queue again"):
        files.made_from("review_queue")
