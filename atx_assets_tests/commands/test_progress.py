"""How a run is followed: the share of the search, warnings, and what is kept for the end."""

import json
from types import SimpleNamespace

import pytest

from atx_assets.commands.output.display import Display, Output, display, duration
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
