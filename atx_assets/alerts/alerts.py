"""Telling the owner that something needs them: each cause once, to the log and to an address.

Not here: which causes there are (`automation/failures.py`), the file that remembers them
(`file.py`), what a message looks like (`messages.py`). The addresses are secrets: no log line, file
or error may hold more of one than its host.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from atx_assets.alerts.file import AlertFile, Raised
from atx_assets.alerts.messages import FORMATS, Alert, cut, in_one_line
from atx_assets.alerts.web_request import host_of, request
from atx_assets.errors import DeliveryError
from atx_assets.settings import Settings

#: How long an alert that did not arrive is tried again, and how long it rests in between.
_TRIED_SECONDS, _REST_SECONDS = 86_400, 300
#: A tick of a sensor has 60 s; what is still to be sent after this is left to the next.
_PENDING_SECONDS = 20
#: The dead-man switch is asked a second time after this.
_PAUSE_SECONDS = 2.0
#: What is kept of a message, in bytes.
_LONGEST_TITLE, _LONGEST_TEXT = 200, 20_000

#: Causes that were told although the file cannot be written (a full disk is what one wants to
#: be told of), so that this process does not tell them again at every tick.
_unrecorded: set[str] = set()

_logger = logging.getLogger(__name__)


def raise_alert(settings: Settings, alert: Alert, log: logging.Logger) -> bool:
    """Tell of an alert in the log and at `ATX_ALERT_URL`, unless its cause was raised before.

    Never raises for want of delivery or of a place to remember it: what does not arrive is left
    to `send_pending`. Without an address the log alone is told, then and for good.

    Returns:
        Whether the cause was new.
    """
    url = settings.automation.alert_url
    now = time.time()
    title = cut(in_one_line(alert.title), _LONGEST_TITLE, "utf-8")
    text = cut(alert.text, _LONGEST_TEXT, "utf-8")
    # Begun here and now, so that a `send_pending` elsewhere does not send it as well.
    entry = Raised(title, text, at=now, tried=now, told=not url)
    if not _remember(settings, alert.cause, entry, log):
        return False
    log.warning("%s: %s", title, in_one_line(text))
    if url:
        _tell(settings, alert.cause, entry, log)
    return True


def send_pending(settings: Settings, log: logging.Logger) -> None:
    """Send what was raised within a day and has not arrived, each at most every five minutes.

    Returns within about half a minute, and stops at the first that does not arrive: the rest has
    the same address. Never raises for want of delivery. An answer that is lost on its way makes
    an alert arrive twice, which nobody can tell from one that did not arrive.
    """
    if not settings.automation.alert_url:
        return
    until = time.monotonic() + _PENDING_SECONDS
    try:
        while time.monotonic() < until and (begun := _begin_one(settings, log)):
            if not _tell(settings, *begun, log):
                return
    except OSError as error:
        log.warning("alerts cannot be sent later: %s", _unwritable(settings, error))


def clear(settings: Settings, prefix: str) -> None:
    """Forget the causes that begin with `prefix`: what was healed is told when it comes again.

    One that has not been sent yet is not sent any more.
    """
    for cause in [cause for cause in _unrecorded if cause.startswith(prefix)]:
        _unrecorded.discard(cause)
    file = AlertFile(settings.home)
    try:
        known = file.peek()
        if known is not None and not any(cause.startswith(prefix) for cause in known):
            return
        with file.changing(_logger) as entries:
            for cause in [cause for cause in entries if cause.startswith(prefix)]:
                del entries[cause]
    except OSError as error:
        _logger.warning("alerts cannot be forgotten: %s", _unwritable(settings, error))


def heartbeat(settings: Settings, log: logging.Logger) -> None:
    """GET `ATX_HEARTBEAT_URL`, if it is set, so that a silence of ours is noticed there.

    Tried twice; never raises.
    """
    url = settings.automation.heartbeat_url
    if not url:
        return
    try:
        try:
            request(url, None, {})
        except DeliveryError:
            time.sleep(_PAUSE_SECONDS)
            request(url, None, {})
    except DeliveryError as error:
        log.warning("the heartbeat was not taken: %s", error)


def receiver(settings: Settings) -> str:
    """Return the host that alerts go to, which is all of `ATX_ALERT_URL` that may be shown.

    Raises:
        DeliveryError: there is none in it.
    """
    return host_of(settings.automation.alert_url)


def send(settings: Settings, alert: Alert, at: float | None = None) -> None:
    """Send one message to `ATX_ALERT_URL` in `ATX_ALERT_FORMAT`, whatever was sent before.

    Args:
        settings: with an address.
        alert: what to tell.
        at: when it was raised, in seconds since 1970; by default now.

    Raises:
        DeliveryError: it did not arrive; the line names the host and the reason.
    """
    message = FORMATS[settings.automation.alert_format]
    headers, body = message(alert, time.time() if at is None else at)
    request(settings.automation.alert_url, body, headers)


def _remember(settings: Settings, cause: str, entry: Raised, log: logging.Logger) -> bool:
    """Record a cause; False if it is known."""
    if cause in _unrecorded:
        return False
    file = AlertFile(settings.home)
    try:
        if cause in (file.peek() or {}):
            return False
        with file.changing(log) as entries:
            return entries.setdefault(cause, entry) is entry
    except OSError as error:
        _unrecorded.add(cause)
        log.warning("an alert cannot be recorded: %s", _unwritable(settings, error))
        return True


def _begin_one(settings: Settings, log: logging.Logger) -> tuple[str, Raised] | None:
    """Take the alert that has waited longest since it was tried, for sending it now.

    It is marked before it is sent, not after: nobody holds the lock for as long as that takes.
    """
    file = AlertFile(settings.home)
    known = file.peek()
    if known is not None and not _due(known):
        return None
    with file.changing(log) as entries:
        if not (due := _due(entries)):
            return None
        entries[due[0]].tried = time.time()
        return due[0], replace(entries[due[0]])


def _due(entries: dict[str, Raised]) -> list[str]:
    now = time.time()
    due = [
        cause
        for cause, entry in entries.items()
        if not entry.told
        and cause not in _unrecorded
        and now - entry.at < _TRIED_SECONDS
        # A clock that was set back must not make it wait until it is right again.
        and not 0 <= now - entry.tried < _REST_SECONDS
    ]
    return sorted(due, key=lambda cause: (entries[cause].tried, entries[cause].at))


def _tell(settings: Settings, cause: str, entry: Raised, log: logging.Logger) -> bool:
    """Send an alert that is recorded, and record that it has arrived; False if it has not."""
    try:
        send(settings, Alert(cause, entry.title, entry.text), entry.at)
    except DeliveryError as error:
        log.warning("an alert has not arrived and is tried again for a day: %s", error)
        return False
    if cause in _unrecorded:
        return True
    try:
        with AlertFile(settings.home).changing(log) as entries:
            # Not one that was cleared and raised again meanwhile.
            if cause in entries and entries[cause].at == entry.at:
                entries[cause].told = True
    except OSError as error:
        _unrecorded.add(cause)
        log.warning("an alert cannot be recorded: %s", _unwritable(settings, error))
    return True


def _unwritable(settings: Settings, error: OSError) -> str:
    return f"{AlertFile(settings.home).path} ({error.strerror or type(error).__name__})"
