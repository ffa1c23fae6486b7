"""`atx doctor`: one line for each connection, permission and setting, with the fix.

A line begins with `ok`, `note` (worth knowing; no run fails because of it) or `FAIL`. Here are the
order of the lines and the checks of servers; files, settings, records and the media database have
modules of their own. Not here: the fixing.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from atx_assets.automation.held import has_results
from atx_assets.commands.doctor.collations import check_collations
from atx_assets.commands.doctor.files import (
    check_backups,
    check_inodes,
    check_leftovers,
    check_quarantine,
    check_writer,
)
from atx_assets.commands.doctor.media import MediaDatabase
from atx_assets.commands.doctor.mlflow import check_mlflow, prove_mlflow
from atx_assets.commands.doctor.records import (
    check_history,
    check_labels,
    check_tables,
    missing_data,
)
from atx_assets.commands.doctor.settings import (
    check_env_file,
    check_libpq,
    check_mlflow_variables,
    check_names,
    check_ports,
)
from atx_assets.errors import AtxError, DatabaseError, DeliveryError, Note, SettingError
from atx_assets.home.dagster_storage import reach_storage
from atx_assets.home.home import open_home
from atx_assets.models.integrity import check_models, check_results
from atx_assets.settings import Settings, guessed_zone
from atx_assets.storage.disk_errors import why_unreadable

_LEAST_FREE = 1 << 30
#: A time of each day, which nearly everybody sets. Any other value is checked by Dagster, whose
#: import takes longer than all checks together.
_EACH_DAY = re.compile(r"([1-5]?[0-9]) (1?[0-9]|2[0-3]) \* \* \*", re.ASCII)

_logger = logging.getLogger(__name__)


def doctor(
    settings: Settings,
    say: Callable[[str], None],
    *,
    send_test_alert: bool = False,
    deep: bool = False,
    ignored: Sequence[str] = (),
) -> None:
    """Check everything that a run needs, one line each.

    Args:
        settings: what to check.
        say: is called with each line.
        send_test_alert: also send a message to `ATX_ALERT_URL`.
        deep: also make an MLflow run and an artifact, and delete them.
        ignored: variables of libpq and MLflow that are set but have no effect.

    Raises:
        AtxError: some checks failed; it says how many, and the lines say which.
    """
    failed = 0

    def line(name: str, check: Callable[[], str]) -> None:
        nonlocal failed
        try:
            result = check()
            say(f"{'note' if isinstance(result, Note) else 'ok  '}  {name}: {result}")
        except AtxError as error:
            failed += 1
            say(f"FAIL  {name}: {error}")
        except OSError as error:
            failed += 1
            where = f"{error.filename}: " if error.filename else ""
            say(f"FAIL  {name}: {where}{why_unreadable(error)}")
        except Exception as error:  # a check that breaks must not hide what the others find
            failed += 1
            say(f"FAIL  {name}: the check itself broke ({type(error).__name__}: {error})")
            _logger.debug("%s broke", name, exc_info=True)

    empty = _is_empty(settings.data_dir)
    is_gone = _is_missing(settings.home) and not empty
    line("home", lambda: _home(settings, is_gone=is_gone))
    line("data folder", lambda: _writable(settings.data_dir, "ATX_DATA_DIR"))
    line("room for files", lambda: check_inodes(settings))
    line("writer", lambda: check_writer(settings))
    # Whether a folder without results is a new one, Dagster's records say: see `_checks`.
    if not empty:
        for name, check in _FILE_CHECKS.items():
            line(name, partial(check, settings))
    line("leftovers", lambda: check_leftovers(settings))
    line("backups", lambda: check_backups(settings))
    line("names of settings", check_names)
    of_mlflow = [name for name in ignored if "MLFLOW" in name]
    of_libpq = [name for name in ignored if name not in of_mlflow]
    line("libpq's variables", lambda: check_libpq(settings, of_libpq))
    line("MLflow's variables", lambda: check_mlflow_variables(of_mlflow))
    line(".env", check_env_file)
    line("ports", lambda: check_ports(settings))
    line("who may ask", lambda: _access(settings))
    line("alerts", lambda: _alerts(settings, send_test=send_test_alert))
    line("alerts now", lambda: _active_alerts(settings))
    if is_gone:  # opening it would create a new one in its place
        raise AtxError(f"{failed} of the checks above failed")
    try:
        with open_home(settings) as ready:
            for name, look in _checks(ready, empty=empty, deep=deep):
                line(name, look)
    except (AtxError, OSError) as error:
        failed += 1
        say(f"FAIL  servers: {error}")
    if failed:
        raise AtxError(f"{failed} of the checks above failed")


def _is_empty(folder: Path) -> bool:
    try:
        return not has_results(folder)
    except OSError:  # the lines about its files report it
        return False


def _is_missing(folder: Path) -> bool:
    try:
        folder.stat()
    except FileNotFoundError:
        return True
    except OSError:  # the home's line reports it
        return False
    return False


#: The checks of the data folder's files, by the name of their line.
_FILE_CHECKS = {"results": check_results, "rows": check_quarantine, "models": check_models}


def _checks(
    settings: Settings, *, empty: bool, deep: bool
) -> Iterator[tuple[str, Callable[[], str]]]:
    media = MediaDatabase(settings)
    yield "media database", media.check
    if media.layout:
        yield "layout", media.check_layout
    if media.states:
        yield "reviewed labels", media.check_labels
    if media.prints:
        yield "collations", lambda: check_collations(settings)
    if settings.correction_user:
        yield "corrections", lambda: _corrections(settings)
    yield "Dagster's storage", lambda: reach_storage(settings)
    reached = _storage_is_reached(settings)
    if empty:
        yield from _checks_of_empty(settings, missing_data(settings) if reached else "")
    if reached:
        yield "tables", lambda: check_tables(settings)
        yield "history", lambda: check_history(settings)
        if prints := media.prints:
            yield "labels", lambda: check_labels(settings, prints)
    yield "MLflow", lambda: check_mlflow(settings)
    if deep and settings.mlflow_on:
        yield "what MLflow takes", lambda: prove_mlflow(settings)
    yield "nightly run", lambda: _nightly(settings)
    yield (
        "settings",
        lambda: f"executor {settings.executor}, statement timeout {settings.statement_timeout} s",
    )


def _checks_of_empty(settings: Settings, gone: str) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield the checks of an empty data folder: one failure if its data are gone."""

    def fail() -> str:
        raise AtxError(gone)

    if gone:
        yield "data", fail
        return
    for name, check in _FILE_CHECKS.items():
        yield name, partial(check, settings)


def _storage_is_reached(settings: Settings) -> bool:
    """Return whether Dagster's storage can be reached, so that its records can be checked."""
    try:
        reach_storage(settings)
    except (DatabaseError, SettingError):
        return False
    return True


def _home(settings: Settings, *, is_gone: bool) -> str:
    if is_gone:
        raise AtxError(
            f"{settings.home} is missing, and {settings.data_dir} holds results: set ATX_HOME to "
            "where the home is now; `atx start` creates a new one"
        )
    return _writable(settings.home, "ATX_HOME")


def _writable(folder: Any, setting: str) -> str:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise AtxError(f"{folder} cannot be created ({error.strerror}): set {setting}") from error
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        raise AtxError(
            f"{folder} cannot be written to: mount its disk for writing, or set {setting}"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise AtxError(f"{folder} cannot be written to: change its owner, or set {setting}")
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE:
        raise AtxError(f"{folder} has {free >> 20} MB free, and a run needs 1,024: make room")
    state = f"{folder} can be written to, {free >> 30} GB free"
    if stat.S_IMODE(folder.stat().st_mode) & (stat.S_IRGRP | stat.S_IROTH):
        return Note(f"{state}; other users can list it: `chmod go-rwx '{folder}'` closes it")
    return state


def _access(settings: Settings) -> str:
    """Say which names `atx up` answers to. That others can open it is a note, not a failure."""
    from atx_assets.web.guard import open_to_others

    names = " and to ".join(("this machine's own names", *settings.allowed_hosts))
    if warning := open_to_others(settings):
        return Note(warning)
    return f"`atx up` listens on {settings.bind} and answers to {names}"


def _corrections(settings: Settings) -> str:
    from atx_assets.sources.correct.correction import check_permission

    needed, more = check_permission(settings)
    if more:
        return Note(f"{needed}, and {more} as well: sql/atx_corrector.sql makes a user who may not")
    return needed


def _nightly(settings: Settings) -> str:
    when = settings.automation
    if not _EACH_DAY.fullmatch(when.retrain_cron):
        from atx_assets.defs.schedules import nightly_schedule

        nightly_schedule(settings)  # raises if Dagster cannot read it
    time = f"{when.retrain_cron} ({when.timezone})"
    return Note(f"{time}; {guess}") if (guess := guessed_zone()) else time


def _active_alerts(settings: Settings) -> str:
    """Name the active alerts: raised, with no good run since."""
    from atx_assets.alerts.file import AlertFile

    active = AlertFile(settings.home).peek()
    if active is None:
        return Note(f"{settings.home / 'alerts.json'} is damaged: the next alert rewrites it")
    if not active:
        return "none is active"
    alerts = (f"{datetime.fromtimestamp(e.at):%Y-%m-%d %H:%M} {e.title}" for e in active.values())
    return Note(f"{'; '.join(alerts)}: docs/operations.md says what to do")


def _alerts(settings: Settings, *, send_test: bool) -> str:
    """Say where alerts go, without the address itself, which may hold a secret."""
    from atx_assets.alerts.alerts import receiver, send
    from atx_assets.alerts.messages import Alert

    if not settings.automation.alert_url:
        if send_test:
            raise AtxError("no test message can be sent: set ATX_ALERT_URL")
        return "only to the log; set ATX_ALERT_URL to have them sent to you"
    try:
        where = f"to {receiver(settings)} as {settings.automation.alert_format}"
        if not send_test:
            return where
        send(settings, Alert("test", "atx: a test", "Alerts of atx arrive here."))
    except DeliveryError as error:
        raise AtxError(f"{error}: check ATX_ALERT_URL and ATX_ALERT_FORMAT") from error
    return f"{where}; a test message was sent"
