"""The record of corrections as a file: whole lines, cut lines, numbers, and two at once."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from atx_assets.errors import AtxError
from atx_assets.sources.correct import record as correction_record
from atx_assets.sources.correct.plan import Plan, RowChange, TitleChange
from atx_assets.sources.correct.record import CorrectionRecord
from atx_assets.sources.layouts import MEDIA

ROW = RowChange(
    "a" * 40,
    'Å "quoted"\n<b>{0} %s',
    None,
    "tt0000001",
    {"rejection_status": "rejected", "rejection_reason": None, "error_status": True},
    {"rejection_status": "override", "rejection_reason": None, "error_status": False},
)
PLAN = Plan(
    MEDIA, "keep", (TitleChange("a|", "A", None, None, 1, "unlabelled", "keep (human)", (ROW,)),)
)


@pytest.fixture
def record(tmp_path: Path) -> CorrectionRecord:
    return CorrectionRecord(tmp_path / "home")


def add(record: CorrectionRecord, outcome: str = "committed", why: str = "") -> int:
    with record.writing() as journal:
        number = journal.intend(PLAN, database="media", who="me@here", via="a test")
        if outcome:
            journal.tell(number, outcome, why)
    return number


def test_nothing_is_made_until_something_is_written(record: CorrectionRecord) -> None:
    assert record.entries() == []
    assert record.last_number() == record.damaged() == 0
    assert not record.home.exists()
    with pytest.raises(AtxError, match="there is none yet"):
        record.entry(1)


def test_what_is_written_is_read_back(record: CorrectionRecord) -> None:
    assert [add(record), add(record, "rolled back", "a rule"), add(record, "")] == [1, 2, 3]
    entries = record.entries()
    assert [(e.number, e.outcome, e.why) for e in entries] == [
        (1, "committed", ""),
        (2, "rolled back", "a rule"),
        (3, "unknown", ""),
    ]
    assert entries[0].rows == (ROW,)
    assert (entries[0].who, entries[0].via, entries[0].undoes) == ("me@here", "a test", None)
    assert record.entry(2) == entries[1]


def test_the_file_is_its_owners_alone(record: CorrectionRecord) -> None:
    add(record)
    assert record.path.stat().st_mode & 0o777 == 0o600
    record.path.chmod(0o644)
    add(record)
    assert record.path.stat().st_mode & 0o777 == 0o600
    assert record.home.stat().st_mode & 0o777 == 0o700


def test_lines_are_only_ever_added(record: CorrectionRecord) -> None:
    add(record)
    before = record.path.read_bytes()
    add(record)
    assert record.path.read_bytes().startswith(before)


@pytest.mark.parametrize("cut", [1, 2, 40, -1])
def test_a_line_cut_by_a_crash_breaks_neither_reading_nor_adding(
    record: CorrectionRecord, cut: int
) -> None:
    add(record)
    whole = record.path.read_bytes()
    add(record, "")
    torn = record.path.read_bytes()[len(whole) :]
    # All but the line's end is a whole intent; anything less tells of nothing.
    part = torn[:cut]
    record.path.write_bytes(whole + part)
    known = [1, 2] if part == torn[:-1] else [1]
    assert [e.number for e in record.entries()] == known
    assert record.damaged() == (cut != -1)
    added = add(record)
    assert added == known[-1] + 1
    assert [e.number for e in record.entries()] == [*known, added]
    assert record.entries()[-1].outcome == "committed"


@pytest.mark.parametrize(
    "line", ["null", "[]", "7", '"x"', "{}", '{"event": "intent", "number": 1}', "\x00\xff", "{"]
)
def test_lines_that_are_no_events_are_passed_over_and_counted(
    record: CorrectionRecord, line: str
) -> None:
    add(record)
    with record.path.open("a", encoding="latin-1") as file:
        file.write(line + "\n")
    assert add(record) == 2
    assert [e.number for e in record.entries()] == [1, 2]
    assert record.damaged() == 1


def test_a_number_is_not_given_twice_though_its_intent_was_lost(record: CorrectionRecord) -> None:
    add(record)
    add(record)
    lines = record.path.read_text().splitlines()
    record.path.write_text("\n".join([*lines[:2], "damaged", lines[3]]) + "\n")
    assert [e.number for e in record.entries()] == [1]
    assert add(record) == 3


def test_the_intent_and_the_name_of_the_file_are_on_the_disk(
    record: CorrectionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = [], os.fsync

    def noting(fd: int) -> None:
        synced.append(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    with record.writing() as journal:
        journal.intend(PLAN, database="media", who="me", via="a test")
        assert synced == [record.path.stat().st_ino, record.home.stat().st_ino]


def test_a_second_process_waits_until_the_first_has_written_its_last_line(
    record: CorrectionRecord,
) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from atx_assets.sources.correct.record import CorrectionRecord\n"
        "with CorrectionRecord(Path(sys.argv[1])).writing() as journal:\n"
        "    journal.tell(int(journal.record.last_number()), 'unknown', 'second')\n"
    )
    with record.writing() as journal:
        second = subprocess.Popen([sys.executable, "-c", code, str(record.home)])
        number = journal.intend(PLAN, database="media", who="me", via="a test")
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(1)
        journal.tell(number, "committed")
    assert second.wait(20) == 0
    lines = record.path.read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["intent", "committed", "unknown"]


def test_many_at_once_leave_whole_lines_and_one_number_each(record: CorrectionRecord) -> None:
    threads = [threading.Thread(target=add, args=(record,)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e.number for e in record.entries()] == list(range(1, 13))
    assert record.damaged() == 0


def test_one_that_holds_it_for_long_is_told(
    record: CorrectionRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correction_record, "_LOCK_SECONDS", 0.2)
    with (
        record.writing(),
        pytest.raises(AtxError, match="another correction has held"),
        record.writing(),
    ):
        pass


def test_a_folder_that_cannot_be_written_to_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    record = CorrectionRecord(tmp_path / "file")
    with (
        pytest.raises(AtxError, match="a file is in the place of its folder: move"),
        record.writing(),
    ):
        pass
    with pytest.raises(AtxError, match="cannot be read"):
        record.entries()
