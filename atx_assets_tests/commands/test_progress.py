"""How a run is followed: the share of the search, warnings, and what is kept for the end."""

import contextlib
import json
import os
import pty
import re
import threading
import time
from collections.abc import Callable
from fcntl import ioctl
from struct import pack
from termios import TIOCSWINSZ
from types import SimpleNamespace
from typing import TextIO

import pytest

from atx_assets.commands.output.display import (
    ASSETS,
    Display,
    LiveDisplay,
    Output,
    display,
    duration,
)
from atx_assets.commands.output.progress import Outcome, Progress, search_share
from atx_assets.commands.run import telling
from atx_assets.defs.assets.hyperparameters import _logged
from atx_assets.errors import AtxError


def lines_of_a_search(fits: int) -> list[str]:
    """What `hyperparameters` logs, the search on all labels first, then one for each fold."""
    lines: list[str] = []

    def log(text: str, *values: object) -> None:
        lines.append(text % values)

    parts = [("hyperparameters", 10)]
    parts += [(f"hyperparameters: nested search {n} of 5", 4) for n in range(1, 6)]
    for what, most in parts:
        say = _logged(log, what, most)
        for done in range(1, fits + 1):
            say(done, fits)
    return lines


@pytest.mark.parametrize(
    ("fits", "search"), [(1, "race"), (5, "off"), (163, "race"), (540, "full")]
)
def test_the_share_of_the_search_grows_to_the_whole_in_at_most_thirty_lines(fits, search):
    lines = lines_of_a_search(fits)
    shares = [search_share(line, search) for line in lines]
    assert len(lines) <= 30
    assert shares == sorted(set(shares))
    assert shares[0] > 0
    assert shares[-1] == pytest.approx(1)


@pytest.mark.parametrize(("search", "whole"), [("race", 0.2), ("full", 0.7)])
def test_a_nested_search_counts_for_what_it_takes(search, whole):
    all_labels = search_share("hyperparameters: 163 of 163 fits", search)
    assert all_labels == pytest.approx(1 / (1 + 5 * whole))
    half = search_share("hyperparameters: nested search 3 of 5: 18 of 36 fits", search)
    assert half == pytest.approx((1 + whole * 2.5) / (1 + 5 * whole))
    assert search_share("reading atp.media (media layout)", search) is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (75, "1:15 min"), (7384, "2:03:04 h")],
)
def test_durations(seconds, told):
    assert duration(seconds) == told


def follow(display: Display, *events: SimpleNamespace) -> Outcome:
    page = SimpleNamespace(
        records=[SimpleNamespace(event_log_entry=e) for e in events], has_more=False, cursor=""
    )
    pages = iter([page])
    empty = SimpleNamespace(records=[], has_more=False, cursor="")
    instance = SimpleNamespace(get_records_for_run=lambda run, cursor: next(pages, empty))
    outcome = Outcome()
    with Progress(instance, "run", 3, display, outcome).shown():
        pass
    return outcome


def check(name: str, severity: str) -> SimpleNamespace:
    found = SimpleNamespace(
        passed=False,
        severity=SimpleNamespace(value=severity),
        asset_key=SimpleNamespace(to_user_string=lambda: "raw_media"),
        check_name=name,
        description="2 rows\nare \x1b[2Jodd",
    )
    event = SimpleNamespace(
        event_type_value="ASSET_CHECK_EVALUATION", step_key="", asset_check_evaluation_data=found
    )
    return SimpleNamespace(dagster_event=event, step_key="", timestamp=0.0)


def test_a_warning_is_told_even_when_quiet_and_kept_for_json(capsys):
    events = check("scale", "WARN"), check("rows", "ERROR"), check("keys", "ERROR")
    outcome = follow(Display(Output.SHOWN), *events)
    told = capsys.readouterr()
    assert "    warning: scale: 2 rows are ?[2Jodd\n    failed check: rows: 2" in told.out
    assert told.err == ""
    assert outcome.failure == "raw_media: rows: 2 rows\nare \x1b[2Jodd"
    follow(Display(Output.QUIET), *events)
    told = capsys.readouterr()
    assert told.out == ""
    # The first that failed is the line with which the command ends.
    assert told.err == (
        "atx: warning: scale: 2 rows are ?[2Jodd\natx: failed check: keys: 2 rows are ?[2Jodd\n"
    )
    outcome = follow(Display(Output.JSON), *events)
    assert capsys.readouterr() == ("", "")
    assert [(c["check"], c["severity"]) for c in outcome.checks] == [
        ("scale", "warning"),
        ("rows", "error"),
        ("keys", "error"),
    ]


def test_what_is_no_terminal_gets_lines_alone():
    assert [display(output).moves for output in Output] == [False, False, False]


def on_a_terminal(width: int, draw: Callable[[TextIO], None]) -> str:
    """Return all that has come on a terminal of some width once `draw` is through."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, pack("HHHH", 40, width, 0, 0))
    came = bytearray()

    def read() -> None:
        with contextlib.suppress(OSError):  # what Linux says when the other side is closed
            while part := os.read(ours, 65536):
                came.extend(part)

    reader = threading.Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        draw(stream)
    reader.join()
    os.close(ours)
    return came.decode()


@pytest.mark.parametrize("width", [60, 100, 200])
def test_a_terminal_is_drawn_how_far_a_run_is_whatever_its_width(width):
    def draw(stream: TextIO) -> None:
        display = LiveDisplay(Output.SHOWN, stream)
        with display.showing(12):
            display.draw("hyperparameters")
            display.draw("reading")
            display.draw(ASSETS, 3)
            for share in (0.25, 0.5):
                time.sleep(0.3)
                display.draw("hyperparameters", share)
            display.end("reading")
            display.say("  titles  1.0 s")
            time.sleep(0.3)

    text = on_a_terminal(width, draw)
    lines = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in re.split("[\r\n]+", text)]
    assert max(map(len, lines)) <= width
    assert any(re.search(r"assets  +\S+ 3 of 12, \d s$", line.rstrip()) for line in lines)
    assert any(re.search(r"reading  +\S+ \d s$", line.rstrip()) for line in lines)
    assert any(
        re.search(r"hyperparameters  \S.* 50%, \d s, \d s left$", line.rstrip()) for line in lines
    )
    assert "  titles  1.0 s" in lines
    drawn_last = text.rindex("50%")
    assert "reading" not in text[drawn_last:]
    # Nothing of it stays: the lines are erased, and the cursor is shown again.
    assert text.rindex("\x1b[2K") > drawn_last
    assert text.rindex("\x1b[?25h") > drawn_last


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (AtxError("no\n such thing"), "no such thing"),
        (ValueError("odd"), "ValueError: odd"),
        (KeyboardInterrupt(), "stopped; what was there before stays in place"),
        (SystemExit(143), "stopped; what was there before stays in place"),
    ],
)
def test_as_json_a_failure_is_told_too(failure, told, capsys):
    def fail() -> None:
        with telling(Output.JSON) as begun:
            begun.outcome.run_id = "some run"
            raise failure

    with pytest.raises(type(failure)):
        fail()
    answer = json.loads(capsys.readouterr().out)
    assert answer["error"] == told
    assert answer["run_id"] == "some run"
    assert answer["summary"] is None
