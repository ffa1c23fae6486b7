"""The nightly run: when it comes, what it asks for, and what it leaves alone."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from atx_assets.defs.jobs import SCORED
from atx_assets.defs.resources.current_settings import given_settings
from atx_assets.defs.schedules import nightly_request, nightly_schedule
from atx_assets.errors import AtxError
from atx_assets.settings import read_settings
from atx_assets.sources.layouts import MEDIA
from atx_assets.sources.load.tables import ensure_table


def nights(zone: str, first: datetime, days: int, cron: str = "0 2 * * *") -> list[datetime]:
    """The times, in their zone, at which the schedule ticks from `first` on."""
    schedule = nightly_schedule(read_settings({"ATX_TIMEZONE": zone, "ATX_RETRAIN_CRON": cron}))
    start = first.replace(tzinfo=ZoneInfo(zone))
    ticks = schedule_execution_time_iterator(
        start.timestamp(), schedule.cron_schedule, schedule.execution_timezone
    )
    found = []
    for tick in ticks:
        if tick.timestamp() >= (start + timedelta(days=days)).timestamp():
            return found
        found.append(datetime.fromtimestamp(tick.timestamp(), ZoneInfo(zone)))
    return found


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28)),  # 2:00 is not there in the night to the 29th
        ("Europe/Berlin", datetime(2026, 10, 24)),  # and twice 2:00 in the night to the 25th
        ("America/New_York", datetime(2026, 3, 7)),
        ("America/New_York", datetime(2026, 10, 31)),
        ("Australia/Lord_Howe", datetime(2026, 10, 3)),  # by half an hour
    ],
)
def test_every_night_has_one_run_where_the_clock_is_changed(zone, day):
    found = nights(zone, day, days=3)
    assert [tick.date() for tick in found] == [(day + timedelta(days=n)).date() for n in range(3)]
    assert {tick.hour for tick in found} <= {2, 3}


def test_time_and_zone_are_those_of_the_settings():
    found = nights("Asia/Kolkata", datetime(2026, 1, 1), 1, cron="30 4 * * *")
    assert [(tick.hour, tick.minute) for tick in found] == [(4, 30)]
    assert "30 4 * * * (Asia/Kolkata" in (
        nightly_schedule(
            read_settings({"ATX_TIMEZONE": "Asia/Kolkata", "ATX_RETRAIN_CRON": "30 4 * * *"})
        ).description
        or ""
    )


@pytest.mark.parametrize("cron", ["at two", "0 25 * * *", "0 2 * *"])
def test_a_cron_expression_that_is_none_is_named(cron):
    with pytest.raises(AtxError, match=r"^ATX_RETRAIN_CRON is not a cron expression; write for"):
        nightly_schedule(read_settings({"ATX_RETRAIN_CRON": cron}))


def test_it_is_on_by_default():
    schedule = nightly_schedule(read_settings({}))
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_a_night_with_a_damaged_champion_trains(workplace):
    """Kept out: night after night that is scored by a champion that cannot score, and fails."""
    with workplace.connect() as connection:
        ensure_table(connection, MEDIA, MEDIA.columns, beside_others=False)
    pointer = workplace.files.folder / "models" / "champion.json"
    pointer.parent.mkdir(parents=True)
    pointer.write_text("{")
    with workplace.instance() as instance:
        given = given_settings(workplace.settings())
        request = nightly_request(dg.build_schedule_context(instance), given)
    assert request.asset_selection is None
    assert request.tags["atx/why"].startswith(f"{pointer} is damaged")


def asked(living, **settings) -> dg.RunRequest:
    given = given_settings(living.place.settings(**settings))
    return nightly_request(dg.build_schedule_context(living.instance), given)


@pytest.mark.slow
class TestTheNight:
    def test_nothing_new_is_scored_and_reported_and_not_trained(self, living):
        before = living.place.contents()
        request = asked(living)
        assert [key.to_user_string() for key in request.asset_selection] == list(SCORED)
        assert "no search and no training" in request.tags["atx/why"]
        result = living.place.run(
            "full_rebuild", living.instance, request.tags, request.asset_selection
        )
        assert result.success
        made = {e.asset_key.to_user_string() for e in result.get_asset_materialization_events()}
        assert made == set(SCORED)
        assert {e.check_name for e in result.get_asset_check_evaluations()} > {
            "source_contract",
            "every_film_scored_once",
        }
        assert living.place.contents() == before
        # And so it is the night after.
        assert asked(living).asset_selection is not None

    def test_what_changed_since_the_last_search_is_searched_and_trained(self, living):
        living.label(living.some_titles(1)[0], "override")
        living.follows()
        # Learned from by the refresh, with hyperparameters that do not know it.
        request = asked(living)
        assert request.asset_selection is None
        assert request.tags["atx/why"] == "labels changed since the last search and training"

    def test_changed_films_are_named(self, living):
        living.connection.execute("UPDATE atp.media SET metascore = 50 WHERE metascore = 51")
        assert asked(living).tags["atx/why"].startswith("films changed")

    def test_changed_settings_of_the_recipe_are_named(self, living):
        request = asked(living, ATX_COMPANY_MIN_TITLES="6")
        assert request.tags["atx/why"].startswith("code or settings changed")

    def test_always_means_always(self, living):
        assert asked(living, ATX_RETRAIN_ALWAYS="yes").asset_selection is None

    def test_without_a_search_everything_is_run(self, living, tmp_path):
        with dg.DagsterInstance.local_temp(str(tmp_path)) as empty:
            living.instance = empty
            assert asked(living).asset_selection is None

    def test_a_database_that_is_down_fails_the_run_and_is_not_passed_over(self, living):
        """Kept out: a skipped night, of which nobody is told."""
        down = {"PG_HOST": "127.0.0.1", "PG_PORT": "9"}
        request = asked(living, **down)
        assert "could not be read beforehand: cannot connect" in request.tags["atx/why"]
        assert not living.place.run("full_rebuild", living.instance, request.tags, **down).success


@pytest.mark.parametrize("cron", ["0 2 * * *", "30 2 * * *", "0 3 * * *"])
@pytest.mark.parametrize("change", [datetime(2027, 3, 28), datetime(2026, 10, 25)])
def test_a_night_whose_hour_is_missing_or_comes_twice_has_one_run(
    cron: str, change: datetime
) -> None:
    found = nights("Europe/Berlin", change - timedelta(days=1), 3, cron)
    assert [night.date() for night in found] == [
        (change + timedelta(days=days)).date() for days in (-1, 0, 1)
    ]
