"""Tells the owner that something needs their attention: each cause once, in the log and by message.

Not here: which causes there are (`automation/failures.py`), the file that remembers them
(`file.py`), what a message looks like (`messages.py`). The addresses are secrets: a log line, file
or error may show only the host.
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

#: How long an alert that did not arrive is retried, and the pause between two attempts.
_TRIED_SECONDS, _REST_SECONDS = 86_400, 300
#: A sensor's tick has 60 s; alerts that are still unsent after this wait for the next tick.
_PENDING_SECONDS = 20
#: The pause before the second attempt at the heartbeat.
_PAUSE_SECONDS = 2.0
#: The most that is kept of a message, in bytes.
_LONGEST_TITLE, _LONGEST_TEXT = 200, 20_000

#: Causes that were reported although the file cannot be written (a full disk is worth an alert), so
#: that this process does not report them again at every tick.
_unrecorded: set[str] = set()

_logger = logging.getLogger(__name__)


def raise_alert(settings: Settings, alert: Alert, log: logging.Logger) -> bool:
    """Report an alert in the log and to `ATX_ALERT_URL`, unless its cause was raised before.

    Never raises if the alert cannot be delivered or recorded: `send_pending` retries it. Without an
    address it is only logged, and never sent later.

    Returns:
        Whether the cause was new.
    """
    url = settings.automation.alert_url
    now = time.time()
    title = cut(in_one_line(alert.title), _LONGEST_TITLE, "utf-8")
    text = cut(alert.text, _LONGEST_TEXT, "utf-8")
    # Marked as tried now, so that a `send_pending` elsewhere does not send it as well.
    entry = Raised(title, text, at=now, tried=now, told=not url)
    if not _remember(settings, alert.cause, entry, log):
        return False
    log.warning("%s: %s", title, in_one_line(text))
    if url:
        _deliver(settings, alert.cause, entry, log)
    return True


def send_pending(settings: Settings, log: logging.Logger) -> None:
    """Send the alerts of the last day that have not arrived, each at most every five minutes.

    Returns within about half a minute, and stops at the first failure: the rest go to the same
    address. Never raises if one cannot be delivered. If an answer is lost, the alert arrives twice:
    a lost answer looks the same as a lost alert.
    """
    if not settings.automation.alert_url:
        return
    until = time.monotonic() + _PENDING_SECONDS
    try:
        while time.monotonic() < until and (begun := _begin_one(settings, log)):
            if not _deliver(settings, *begun, log):
                return
    except OSError as error:
        log.warning("alerts cannot be sent later: %s", _unwritable(settings, error))


def clear(settings: Settings, prefix: str) -> None:
    """Forget the causes that begin with `prefix`: a healed cause is reported if it comes back.

    One that has not been sent yet is never sent.
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
    """GET `ATX_HEARTBEAT_URL`, if it is set, so that its service notices if atx falls silent.

    Tries twice; never raises.
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
        log.warning("the heartbeat was not delivered: %s", error)


def receiver(settings: Settings) -> str:
    """Return the host that alerts go to, the only part of `ATX_ALERT_URL` that may be shown.

    Raises:
        DeliveryError: the address has no host.
    """
    return host_of(settings.automation.alert_url)


def send(settings: Settings, alert: Alert, at: float | None = None) -> None:
    """Send one message to `ATX_ALERT_URL` in `ATX_ALERT_FORMAT`, whatever was sent before.

    Args:
        settings: with an address.
        alert: the message.
        at: when it was raised, in seconds since 1970; by default now.

    Raises:
        DeliveryError: it did not arrive; the line names the host and the reason.
    """
    message = FORMATS[settings.automation.alert_format]
    headers, body = message(alert, time.time() if at is None else at)
    request(settings.automation.alert_url, body, headers)


def _remember(settings: Settings, cause: str, entry: Raised, log: logging.Logger) -> bool:
    """Record a cause; return False if it is already known."""
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
    """Return the alert whose last attempt is longest ago, marked as tried now.

    It is marked before it is sent, so that nobody holds the lock while it is sent.
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
        # If the clock was set back, it must not wait until the old time comes again.
        and not 0 <= now - entry.tried < _REST_SECONDS
    ]
    return sorted(due, key=lambda cause: (entries[cause].tried, entries[cause].at))


def _deliver(settings: Settings, cause: str, entry: Raised, log: logging.Logger) -> bool:
    """Send a recorded alert, and record that it has arrived; return False if it has not."""
    try:
        send(settings, Alert(cause, entry.title, entry.text), entry.at)
    except DeliveryError as error:
        log.warning("an alert has not arrived and is retried for a day: %s", error)
        return False
    if cause in _unrecorded:
        return True
    try:
        with AlertFile(settings.home).changing(log) as entries:
            # Not if it was cleared and raised again meanwhile.
            if cause in entries and entries[cause].at == entry.at:
                entries[cause].told = True
    except OSError as error:
        _unrecorded.add(cause)
        log.warning("an alert cannot be recorded: %s", _unwritable(settings, error))
    return True


def _unwritable(settings: Settings, error: OSError) -> str:
    return f"{AlertFile(settings.home).path} ({error.strerror or type(error).__name__})"
