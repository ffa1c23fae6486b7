"""One request to an address that is a secret, with a time limit and a failure in one line.

Not here: what is sent. No text of an exception is passed on: it may hold the address.
"""

from __future__ import annotations

import base64
import http.client
import queue
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from http import HTTPStatus
from typing import Any

from atx_assets.direct import is_direct
from atx_assets.errors import DeliveryError

_TIMEOUT = 10.0


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the message would go to a host that nobody named, or be left behind."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def host_of(url: str) -> str:
    """Return the host of an address, which is all of it that may be shown.

    Raises:
        DeliveryError: there is none in it.
    """
    try:
        host = urllib.parse.urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise DeliveryError("the address names no host")
    return host


def request(url: str, body: bytes | None, headers: dict[str, str]) -> None:
    """POST `body`, or GET without one, and take any 2xx for an answer.

    Raises:
        DeliveryError: there was no such answer within seconds.
    """
    host = host_of(url)
    faults: queue.SimpleQueue[str] = queue.SimpleQueue()
    # A thread, because the time limit of a socket is for each of its steps: it neither ends the
    # look-up of a name without a network, nor an answer that comes a byte at a time.
    worker = threading.Thread(
        target=lambda: faults.put(_fault(url, body, headers)), name="atx-alert", daemon=True
    )
    try:
        worker.start()
        fault = faults.get(timeout=_TIMEOUT)
    except queue.Empty:
        fault = f"no answer within {_TIMEOUT:.0f} s"
    except RuntimeError:
        fault = "no thread can be started"
    if fault:
        raise DeliveryError(f"{host}: {fault}")


def _fault(url: str, body: bytes | None, headers: dict[str, str]) -> str:
    """Make the request and say what went wrong, or nothing."""
    try:
        parts = urllib.parse.urlsplit(url)
        user, _, place = parts.netloc.rpartition("@")
        headers = {"User-Agent": "atx", **headers}
        if user:  # urllib would take it for a part of the host
            token = base64.b64encode(urllib.parse.unquote(user).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        bare = parts._replace(netloc=place).geturl()
        request = urllib.request.Request(bare, body, headers)  # noqa: S310  (settings check it)
        handlers: list[Any] = [_NoRedirect]
        if is_direct(parts.hostname or ""):
            handlers.append(urllib.request.ProxyHandler({}))
        opener = urllib.request.build_opener(*handlers)
        with opener.open(request, timeout=_TIMEOUT) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        status = error.code
        error.close()
    except Exception as error:  # whatever it is, an alert must not break what it tells of
        return _reason(error)
    return _status(status)


def _status(status: int) -> str:
    if 200 <= status < 300:
        return ""
    if 300 <= status < 400:
        return f"status {status}, a redirect, which is not followed"
    try:
        return f"status {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


def _reason(error: Exception) -> str:
    """Say what an exception means, without its text: that may hold the address."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, Exception):
        error = error.reason
    if isinstance(error, TimeoutError):
        return f"no answer within {_TIMEOUT:.0f} s"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted, {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, ConnectionError):
        return "the connection was closed without an answer"
    if isinstance(error, (ValueError, http.client.InvalidURL, urllib.error.URLError)):
        return "the address cannot be used"
    if isinstance(error, http.client.HTTPException):
        return "what answers there is no HTTP"
    return type(error).__name__
