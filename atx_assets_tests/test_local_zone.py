"""The zone of the night, whatever form TZ has."""

from datetime import datetime
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo

import pytest

from atx_assets.commands.doctor.doctor import _nightly
from atx_assets.errors import Note
from atx_assets.settings import read_settings
from atx_assets_tests.builders.homes import Running
from atx_assets_tests.builders.program import Program

WINTER, SUMMER = datetime(2026, 1, 15, 2), datetime(2026, 7, 15, 2)


def offsets(zone: str) -> tuple[float, float]:
    """Hours ahead of UTC, in winter and in summer."""
    found = (day.replace(tzinfo=ZoneInfo(zone)).utcoffset() for day in (WINTER, SUMMER))
    winter, summer = (offset.total_seconds() / 3600 for offset in found if offset is not None)
    return winter, summer


@pytest.mark.parametrize(
    ("written", "hours"),
    [
        ("CET-1CEST", (1, 2)),
        ("CET-1CEST,M3.5.0,M10.5.0/3", (1, 2)),
        ("EST5EDT", (-5, -4)),
        ("EST5EDT,M3.2.0,M11.1.0", (-5, -4)),
        ("JST-9", (9, 9)),
        ("IST-5:30", (5.5, 5.5)),
        ("<+03>-3", (3, 3)),
        ("UTC0", (0, 0)),
        (":Europe/Berlin", (1, 2)),
        (f"{TZPATH[0]}/Europe/Berlin", (1, 2)),
        ("Asia/Tokyo", (9, 9)),
        ("/etc/localtime", (0, 0)),
    ],
)
def test_the_night_is_local_however_tz_is_written(
    written: str, hours: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: the night at 2:00 UTC for who has set TZ=CET-1CEST."""
    if written.startswith("/") and not Path(written).exists():
        pytest.skip("this system keeps no files of zones")
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: "Etc/UTC")
    monkeypatch.setenv("TZ", written)
    settings = read_settings({})
    assert offsets(settings.automation.timezone) == hours
    assert not isinstance(_nightly(settings), Note)


@pytest.mark.parametrize("written", ["MEZ-1MESZ", "Europe/Brelin", "/nonexistent", "s3cr3t"])
def test_a_zone_that_nobody_knows_is_told_and_not_repeated(
    written: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", written)
    told = _nightly(read_settings({}))
    assert isinstance(told, Note)
    assert "TZ is set but names no time zone: set ATX_TIMEZONE" in told
    assert written not in told
    monkeypatch.setenv("ATX_TIMEZONE", "Europe/Berlin")
    assert _nightly(read_settings()) == "0 2 * * * (Europe/Berlin)"


@pytest.mark.slow
def test_up_warns_of_a_night_that_may_not_be_local(program: Program) -> None:
    running = Running(("up",), program.environment | {"TZ": "MEZ-1MESZ"})
    running.tells("WARNING: TZ is set but names no time zone: set ATX_TIMEZONE")
