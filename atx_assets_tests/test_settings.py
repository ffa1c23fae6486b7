"""Settings: defaults, bounds, one clear line on bad input, and secrets that stay secret."""

import ast
import re
from pathlib import Path
from traceback import format_exception
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tzlocal import get_localzone_name

import atx_assets.settings
from atx_assets import settings as settings_module
from atx_assets.defs.schedules import nightly_schedule
from atx_assets.errors import AtxError
from atx_assets.home.dagster_storage import reach_storage
from atx_assets.libpq import OBEYED
from atx_assets.operating_point import OperatingPoint
from atx_assets.schemas import FOLD_SCORES
from atx_assets.settings import (
    ALERT_FORMATS,
    EXECUTORS,
    ROOT,
    SEARCHES,
    SOURCES,
    Automation,
    Learning,
    Settings,
    read_settings,
)

SECRET = "tk-s3cr3t"
WHOLE_NUMBERS = {
    "ATX_LABEL_QUIET_SECONDS": ("label_quiet_seconds", 0, 3600),
    "ATX_LABEL_MAX_WAIT_SECONDS": ("label_max_wait_seconds", 0, 86_400),
    "ATX_RULE_LABEL_INTERVAL": ("rule_label_interval", 0, 604_800),
}


PAGE = ROOT / "docs" / "settings.md"


def names_read() -> set[str]:
    """The names that settings.py reads."""
    tree = ast.parse(Path(atx_assets.settings.__file__).read_text())
    constants = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    form = r"(ATX|PG|MLFLOW|DAGSTER)_[A-Z_]+"
    return {c for c in constants if isinstance(c, str) and re.fullmatch(form, c)}


def automation(**values: str) -> Automation:
    return read_settings(values).automation


def failure(**values: str) -> str:
    """The one line that says what is wrong."""
    with pytest.raises(AtxError) as caught:
        read_settings(values)
    line = str(caught.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(next(iter(values)))
    return line


def everything(settings: Settings) -> str:
    return f"{settings!r} {settings} {settings.automation!r} {settings.automation}"


# -- what runs by itself


def test_without_settings_it_runs_by_itself_and_tells_nobody() -> None:
    assert automation() == Automation(
        label_quiet_seconds=20,
        label_max_wait_seconds=300,
        rule_label_interval=3600,
        label_drop_limit=0.5,
        retrain_cron="0 2 * * *",
        timezone=get_localzone_name() or "UTC",
        retrain_always=False,
        alert_url="",
        alert_format="ntfy",
        heartbeat_url="",
    )


def test_an_empty_value_counts_as_not_set() -> None:
    assert automation(**dict.fromkeys(names_read(), "")) == automation()


@pytest.mark.parametrize(("name", "bounds"), WHOLE_NUMBERS.items())
def test_a_number_of_seconds_has_bounds(name: str, bounds: tuple[str, int, int]) -> None:
    field, low, high = bounds
    for value in (low, high):
        assert getattr(automation(**{name: str(value)}), field) == value
    for value in (low - 1, high + 1):
        told = f"{name} must be a whole number from {low} to {high}"
        assert failure(**{name: str(value)}) == told


def test_runs_are_kept_for_a_whole_number_of_days_from_one_on() -> None:
    assert read_settings({}).keep_days == 90
    assert read_settings({"ATX_KEEP_DAYS": "1"}).keep_days == 1
    for value in ("0", "-1", "1.5", "for ever"):
        told = "ATX_KEEP_DAYS must be a whole number from 1 to 36500"
        assert failure(ATX_KEEP_DAYS=value) == told


@pytest.mark.parametrize("name", WHOLE_NUMBERS)
@pytest.mark.parametrize("value", ["soon", "1.5", "20 s", "1e2", "inf"])
def test_a_number_of_seconds_is_a_whole_one(name: str, value: str) -> None:
    assert f"{name} must be a whole number" in failure(**{name: value})


@pytest.mark.parametrize("value", ["0.0001", "0.5", "1", "1e-3"])
def test_the_share_of_labels_that_may_go_is_above_none_and_up_to_all(value: str) -> None:
    assert automation(ATX_LABEL_DROP_LIMIT=value).label_drop_limit == float(value)


@pytest.mark.parametrize("value", ["0", "-0.1", "1.01", "50%", "half", "nan", "inf"])
def test_another_share_of_labels_is_refused(value: str) -> None:
    assert failure(ATX_LABEL_DROP_LIMIT=value) == (
        "ATX_LABEL_DROP_LIMIT must be a number above 0 and up to 1, such as 0.5"
    )


@pytest.mark.parametrize("value", ["0", "0.0001", "1"])
def test_the_share_of_rows_set_aside_is_from_none_to_all(value: str) -> None:
    found = read_settings({"ATX_QUARANTINE_WARN": value, "ATX_QUARANTINE_BLOCK": "1"})
    assert (found.quarantine_warn, found.quarantine_block) == (float(value), 1.0)


@pytest.mark.parametrize("value", ["-0.1", "1.01", "1%", "nan"])
@pytest.mark.parametrize("name", ["ATX_QUARANTINE_WARN", "ATX_QUARANTINE_BLOCK"])
def test_another_share_of_rows_is_refused(name: str, value: str) -> None:
    assert f"{name} must be a number from 0 to 1, such as 0." in failure(**{name: value})


def test_a_stop_at_fewer_rows_than_the_warning_takes_the_warning_along():
    """Kept out: a line about ATX_QUARANTINE_WARN for who has set the other alone."""
    for value in ("0", "0.005"):
        found = read_settings({"ATX_QUARANTINE_BLOCK": value})
        assert found.quarantine_warn == found.quarantine_block == float(value)


def test_a_run_cannot_warn_of_more_rows_than_it_stops_at() -> None:
    assert failure(ATX_QUARANTINE_WARN="0.3") == (
        "ATX_QUARANTINE_WARN=0.3 is above ATX_QUARANTINE_BLOCK=0.2: a run would stop before it "
        "warns"
    )


def test_the_night_may_come_at_another_time_in_another_zone() -> None:
    found = automation(ATX_RETRAIN_CRON="30 4 * * 1-5", ATX_TIMEZONE="Pacific/Auckland")
    assert (found.retrain_cron, found.timezone) == ("30 4 * * 1-5", "Pacific/Auckland")


def test_the_zone_is_the_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: "Asia/Tokyo")
    assert automation().timezone == "Asia/Tokyo"
    assert automation(ATX_TIMEZONE="Europe/Berlin").timezone == "Europe/Berlin"


def test_a_machine_that_knows_no_zone_has_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: None)
    assert automation().timezone == "UTC"
    assert ZoneInfo(automation().timezone).key == "UTC"


@pytest.mark.parametrize("value", ["Europe/Brelin", "CEST+1", "../../etc/passwd", "/etc", "a\0b"])
def test_a_zone_that_is_none_is_refused(value: str) -> None:
    assert failure(ATX_TIMEZONE=value) == (
        "ATX_TIMEZONE is not the name of a time zone; write for instance Europe/Berlin"
    )


def test_training_on_quiet_nights_is_a_yes_or_no() -> None:
    assert automation(ATX_RETRAIN_ALWAYS="yes").retrain_always
    assert not automation(ATX_RETRAIN_ALWAYS="no").retrain_always
    for value in ("true", "1", "Yes", "on"):
        told = "ATX_RETRAIN_ALWAYS must be one of yes, no"
        assert failure(ATX_RETRAIN_ALWAYS=value) == told


@pytest.mark.parametrize("value", ["ntfy", "slack", "discord", "json"])
def test_an_alert_has_one_of_four_forms(value: str) -> None:
    assert automation(ATX_ALERT_FORMAT=value).alert_format == value


def test_another_form_of_an_alert_is_refused() -> None:
    assert failure(ATX_ALERT_FORMAT="email") == (
        "ATX_ALERT_FORMAT must be one of ntfy, slack, discord, json"
    )


# -- how it learns


def learning(**values: str) -> Learning:
    return read_settings(values).learning


def test_without_settings_a_race_by_average_precision_and_the_best_f1() -> None:
    assert learning() == Learning("race", "average_precision", OperatingPoint("f1"))
    names = ("ATX_SEARCH", "ATX_OBJECTIVE", "ATX_OPERATING_POINT")
    assert learning(**dict.fromkeys(names, "")) == learning()


@pytest.mark.parametrize("value", ["race", "full", "off"])
def test_a_search_is_one_of_three(value: str) -> None:
    assert learning(ATX_SEARCH=value).search == value


@pytest.mark.parametrize("value", ["Race", "on", "none", "grid", "race "])
def test_another_search_is_refused(value: str) -> None:
    assert failure(ATX_SEARCH=value) == "ATX_SEARCH must be one of race, full, off"


@pytest.mark.parametrize("value", FOLD_SCORES)
def test_any_score_of_the_table_may_be_the_objective(value: str) -> None:
    assert learning(ATX_OBJECTIVE=value).objective == value


@pytest.mark.parametrize("value", ["accuracy", "AUC", "mean_f1"])
def test_another_objective_is_refused_with_those_that_there_are(value: str) -> None:
    told = f"ATX_OBJECTIVE must be one of {', '.join(FOLD_SCORES)}"
    assert failure(ATX_OBJECTIVE=value) == told


@pytest.mark.parametrize(
    ("value", "point"),
    [
        ("f1", OperatingPoint("f1")),
        ("precision>=0.8", OperatingPoint("precision", 0.8)),
        (" recall >= .95 ", OperatingPoint("recall", 0.95)),
        ("precision>=1", OperatingPoint("precision", 1.0)),
        ("recall>=1.00", OperatingPoint("recall", 1.0)),
    ],
)
def test_an_operating_point_is_the_best_f1_or_a_least_precision_or_recall(
    value: str, point: OperatingPoint
) -> None:
    assert learning(ATX_OPERATING_POINT=value).operating_point == point


@pytest.mark.parametrize(
    "value",
    [
        "F1",
        "precision",
        "precision>0.8",
        "precision>=80%",
        "recall>=0",
        "recall>=0.0",
        "recall>=1.1",
        "recall>=-0.5",
        "f1>=0.8",
        "precision>=0.8,recall>=0.5",
        "recall>=nan",
    ],
)
def test_another_operating_point_is_refused_with_what_may_be_written(value: str) -> None:
    assert failure(ATX_OPERATING_POINT=value) == (
        "ATX_OPERATING_POINT is not an operating point; write f1, or for instance "
        "precision>=0.8 or recall>=0.95"
    )


def test_mlflow_is_on_unless_it_is_turned_off() -> None:
    assert read_settings({}).mlflow_on
    assert read_settings({"ATX_MLFLOW": "on"}).mlflow_on
    assert not read_settings({"ATX_MLFLOW": "off"}).mlflow_on
    for value in ("no", "false", "OFF", "0"):
        assert failure(ATX_MLFLOW=value) == "ATX_MLFLOW must be one of on, off"


@pytest.mark.parametrize("value", ["atx", "films to watch", "Atx-2.0_b", "7"])
def test_the_registered_model_has_the_name_that_is_set(value: str) -> None:
    assert read_settings({}).model_name == "atx"
    assert read_settings({"ATX_MODEL_NAME": value}).model_name == value


@pytest.mark.parametrize("value", ["a/b", "a:b", "it's", 'a"b', " atx", "-atx", "a\nb", "é", "a\n"])
def test_a_name_that_mlflow_does_not_take_is_refused(value: str) -> None:
    assert failure(ATX_MODEL_NAME=value) == (
        "ATX_MODEL_NAME may hold only letters, digits, spaces and _ . -"
    )


@pytest.mark.parametrize(
    "value",
    [
        "mlflow.home",
        "192.168.1.2",
        "[fd00::1]",
        "http://mlflow",
        "https://me:a%40b%2Fc@mlflow.home",
        "my_host",
    ],
)
def test_the_host_of_mlflow_may_be_an_address(value: str) -> None:
    assert read_settings({"MLFLOW_HOST": value}).mlflow_host == value


@pytest.mark.parametrize(
    "value",
    [
        "http://me:a@b/c@host",
        "http://me:a/b@host",
        "me:secret@host",
        "host/path",
        "host:5000",
        "a b",
    ],
)
def test_what_is_no_host_of_mlflow_is_refused_without_being_told(value: str) -> None:
    """Kept out: the error of the library that cannot read it, with the password in it."""
    told = failure(MLFLOW_HOST=value)
    assert told.startswith("MLFLOW_HOST is not the name of a host: write")
    assert value not in told


# -- secrets

ADDRESSES = {"ATX_ALERT_URL": "alert_url", "ATX_HEARTBEAT_URL": "heartbeat_url"}


@pytest.mark.parametrize(("name", "field"), ADDRESSES.items())
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_address_is_kept_as_it_is_and_never_shown(name: str, field: str, scheme: str) -> None:
    url = f"{scheme}://user:{SECRET}@ntfy.example/{SECRET}?key={SECRET}"
    settings = read_settings({name: url})
    assert getattr(settings.automation, field) == url
    assert SECRET not in everything(settings)


@pytest.mark.parametrize("name", ADDRESSES)
@pytest.mark.parametrize("start", ["", "ftp://", "file:///", "htp://", " https://", "//"])
def test_an_address_of_another_kind_is_refused_without_being_told(name: str, start: str) -> None:
    told = f"{name} is not an address that begins with http:// or https://"
    assert failure(**{name: f"{start}host/{SECRET}"}) == told


SECRETS = {
    "PG_PASS": SECRET,
    "DAGSTER_POSTGRES_URL": f"postgresql://dagster:{SECRET}@host/dagster",
    "ATX_CORRECTION_PG_PASS": SECRET,
    "ATX_ALERT_URL": f"https://ntfy.example/{SECRET}",
    "ATX_HEARTBEAT_URL": f"https://hc.example/{SECRET}",
}


def test_no_secret_is_shown_with_the_settings_or_the_databases() -> None:
    settings = read_settings({**SECRETS, "PG_HOST": "host", "ATX_CORRECTION_PG_USER": "corrector"})
    databases = (settings.database, settings.correction_database)
    assert SECRET not in everything(settings) + "".join(f"{d!r} {d}" for d in databases)
    assert [d.password for d in databases] == [SECRET, SECRET]


@pytest.mark.parametrize("name", sorted({*WHOLE_NUMBERS, "ATX_TIMEZONE", "PG_PORT"}))
def test_the_line_about_another_setting_tells_no_secret(name: str) -> None:
    assert SECRET not in failure(**{name: "unfit"}, **SECRETS)


# -- who corrects labels


def test_labels_are_corrected_by_the_user_who_reads_unless_another_is_named() -> None:
    reader = {"PG_HOST": "host", "PG_USER": "reader", "PG_PASS": "r"}
    settings = read_settings(reader)
    assert settings.correction_database == settings.database
    settings = read_settings({**reader, "ATX_CORRECTION_PG_USER": "corrector"})
    found = settings.correction_database
    assert (found.user, found.password) == ("corrector", "")
    assert (found.host, found.name) == (settings.database.host, settings.database.name)
    settings = read_settings(
        {**reader, "ATX_CORRECTION_PG_USER": "corrector", "ATX_CORRECTION_PG_PASS": "c"}
    )
    assert settings.correction_database.password == "c"
    assert (settings.database.user, settings.database.password) == ("reader", "r")


# -- docs/settings.md, and the README's share of it

#: Settings whose default is no value that could be written in their place.
UNSET = {
    *("PG_HOST", "PG_PASS", "MLFLOW_HOST", "DAGSTER_POSTGRES_URL", "ATX_SOURCE", "ATX_TIMEZONE"),
    *("ATX_CORRECTION_PG_USER", "ATX_CORRECTION_PG_PASS", "ATX_ALLOWED_HOSTS"),
    *("ATX_ALERT_URL", "ATX_HEARTBEAT_URL"),
}
CHOICES = {
    "ATX_SOURCE": SOURCES,
    "ATX_EXECUTOR": EXECUTORS,
    "ATX_SEARCH": SEARCHES,
    "ATX_OBJECTIVE": FOLD_SCORES,
    "ATX_ALERT_FORMAT": ALERT_FORMATS,
}


def test_every_setting_has_one_row_in_its_page_and_no_other_has() -> None:
    names = [name for names, _, _ in settings_rows() for name in names]
    assert sorted(names) == sorted(names_read())


@pytest.mark.parametrize("name", sorted(names_read()))
def test_the_page_states_the_default_of_each_setting(name: str) -> None:
    """Setting the default that is stated changes nothing."""
    (default,) = [default for names, default, _ in settings_rows() if names == [name]]
    value = re.fullmatch(r"`([^`]+)`", default)
    assert bool(value) == (name not in UNSET), default
    if value:
        assert read_settings({name: value[1]}) == read_settings({})


@pytest.mark.parametrize("name", CHOICES)
def test_the_page_names_each_value_that_a_setting_takes(name: str) -> None:
    (row,) = [f"{default} {text}" for names, default, text in settings_rows() if names == [name]]
    assert {value for value in CHOICES[name] if f"`{value}`" not in row} == set()


def test_what_the_readme_shows_of_the_settings_agrees_with_their_page() -> None:
    stated = {names[0]: default for names, default, _ in settings_rows()}
    rows = rows_of((ROOT / "README.md").read_text().partition("\n## Settings\n")[2])
    assert 5 < len(rows) <= 10
    shown = {}
    for names, defaults, _ in rows:
        shown |= zip(names, defaults.split(", "), strict=True)
    assert shown == {name: stated.get(name) for name in shown}


def test_the_page_has_the_variables_of_libpq_that_count_and_no_other() -> None:
    rows = rows_of(PAGE.read_text().partition("\n## Variables of libpq\n")[2])
    assert sorted(name for names, _, _ in rows for name in names) == sorted(
        {*OBEYED, "PGREQUIRESSL"}
    )


def settings_rows() -> list[tuple[list[str], str, str]]:
    return rows_of(PAGE.read_text())


def rows_of(text: str) -> list[tuple[list[str], str, str]]:
    """The rows of the first table of a text: the names, the default, what is said of them."""
    lines = re.search(r"(?m)(^\|.*\n)+", text)
    assert lines, text
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[0].splitlines()[2:]]
    rows = [(re.findall(r"`([A-Z_]+)`", names), default, said) for names, default, said in cells]
    return [row for row in rows if row[0]]


class TestWhoMayAsk:
    def test_names_are_taken_as_a_browser_sends_them(self) -> None:
        settings = read_settings({"ATX_ALLOWED_HOSTS": " Media.Example.org, tower:8443,"})
        assert settings.allowed_hosts == ("media.example.org", "tower:8443")

    @pytest.mark.parametrize(
        "name", ["http://media.example.org", "a/b", "*", "-x", "a..b", "tower:0", "tower:65536"]
    )
    def test_what_is_no_name_of_a_host_is_refused(self, name: str) -> None:
        with pytest.raises(AtxError, match="ATX_ALLOWED_HOSTS must name hosts"):
            read_settings({"ATX_ALLOWED_HOSTS": name})

    def test_only_this_machine_may_ask_unless_told_otherwise(self) -> None:
        assert read_settings({}).bind == "127.0.0.1"
        assert read_settings({"ATX_BIND": "0.0.0.0"}).web_host == "127.0.0.1"

    @pytest.mark.parametrize("address", ["localhost", "::1", "300.0.0.1", "1.2.3.4:80"])
    def test_what_is_no_address_is_refused(self, address: str) -> None:
        with pytest.raises(AtxError, match="ATX_BIND must be an IPv4 address"):
            read_settings({"ATX_BIND": address})


# -- whatever stands in the environment

SOURCE = Path(atx_assets.settings.__file__)
NAMES = sorted(
    {
        word
        for word in re.findall(r'"((?:ATX|PG|MLFLOW|DAGSTER)_[A-Z_]+)"', SOURCE.read_text())
        if word not in ("ATX_HOME",)
    }
)
VALUES = st.text(max_size=30) | st.sampled_from(
    [
        *("~nobody/x", "~", "../..", "a" * 5000, "\udcff", "on", "::1", "Europe"),
        *("0", "-1", "1e3", "inf", "nan", "٣", "9" * 5000, "precision>=9", "f1 "),
        *("http://", "https://[::1", "http://a\r\nX: y"),
    ]
)


@pytest.mark.slow
@hypothesis_settings(max_examples=300, deadline=None)
@given(values=st.dictionaries(st.sampled_from(["ATX_HOME", *NAMES]), VALUES, max_size=3))
def test_any_values_are_settings_or_one_line_that_names_one(values):
    try:
        found = read_settings(values)
    except AtxError as error:
        line = str(error)
    else:
        assert isinstance(found, Settings)
        return
    assert any(line.startswith(name) for name in values), line
    assert line.isprintable()
    assert len(line) < 1000


#: Each with a secret, and written where something else belongs.
MISPLACED = (
    f"postgres://user:{SECRET}@host/db",
    f"host=db password={SECRET}",
    f"user:{SECRET}@host",
    f"https://hooks.example/{SECRET}",
)


@pytest.mark.parametrize("value", MISPLACED)
@pytest.mark.parametrize("name", ["ATX_HOME", *NAMES])
def test_a_secret_in_any_setting_is_not_shown(name: str, value: str) -> None:
    """Kept out: PG_HOST=postgres://user:secret@host/db, which doctor and run have printed."""
    try:
        settings = read_settings({"PG_HOST": "host", name: value})
    except AtxError as error:
        shown = "".join(format_exception(error))
    else:
        shown = f"{everything(settings)} {settings.database} {settings.correction_database}"
        if name == "ATX_RETRAIN_CRON":  # read as a cron expression by Dagster alone
            with pytest.raises(AtxError) as caught:
                nightly_schedule(settings)
            shown = "".join(format_exception(caught.value))
    assert SECRET not in shown


@pytest.mark.parametrize("name", ["PG_USER", "PG_DB", "ATX_CORRECTION_PG_USER"])
def test_a_password_beside_a_name_is_refused_without_being_told(name: str) -> None:
    assert SECRET not in failure(**{name: f"user:{SECRET}"})


@pytest.mark.parametrize(
    "start", ["u:a/b", "u/x:a", "u:a@b", "u:a?b", "u:a#b", "u:a:b", "u@h/x:a", "u:a%zz", "[u:a"]
)
def test_no_address_of_dagsters_storage_tells_its_password(start: str) -> None:
    for scheme in ("postgresql", "postgres", "mysql"):
        url = f"{scheme}://{start}{SECRET}@127.0.0.1:9/db"
        with pytest.raises(AtxError) as caught:
            reach_storage(read_settings({"DAGSTER_POSTGRES_URL": url}))
        assert SECRET not in "".join(format_exception(caught.value))


@pytest.mark.parametrize(
    "host", ["db", "db.home.", "10.0.0.2", "::1", "fe80::1%eth0", "a,b", "/run/a b", "@abstract"]
)
def test_a_host_is_a_name_an_address_or_a_folder(host: str) -> None:
    assert read_settings({"PG_HOST": host}).database.host == host


@pytest.mark.parametrize("host", ["db:5432", "db/media", "a b", "[::1]", "a,,b", "-db"])
def test_what_is_more_than_a_host_is_refused(host: str) -> None:
    assert "PG_HOST is not a host: write only its name, its address" in failure(PG_HOST=host)


def test_the_home_of_nobody_is_named() -> None:
    """Kept out: RuntimeError of a `~name` that no user has."""
    assert "that home folder is unknown" in failure(ATX_HOME="~no-such-user/atx")


def test_an_address_with_a_line_break_is_refused_and_not_repeated() -> None:
    assert "s3cr3t" not in failure(ATX_ALERT_URL=f"https://example.org/{SECRET}\r\nX-Header: 1")


@pytest.mark.parametrize(
    "content", ["PG_PASS=café\n".encode("latin-1"), "PG_DB=x\n".encode("utf-16")]
)
def test_an_env_file_that_is_not_utf_8_is_one_line(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: a UnicodeDecodeError that names no file. PowerShell's `>` writes UTF-16."""
    monkeypatch.setattr(settings_module, "ROOT", tmp_path)
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(AtxError, match=r"\.env is not text in UTF-8: save it as UTF-8"):
        read_settings()


def test_an_env_file_with_a_byte_order_mark_and_line_ends_of_windows_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_module, "ROOT", tmp_path)
    monkeypatch.delenv("PG_DB", raising=False)
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfPG_DB=films\r\nPG_USER=me\r\n")
    assert read_settings().pg_db == "films"
