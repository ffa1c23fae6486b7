"""One request to a secret address, with a time limit, and with failures in one line.

Not here: what is sent. The text of an exception is never passed on: it may hold the address.
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
    """Follows no redirect: the message would go to a host that nobody named, or be dropped."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def host_of(url: str) -> str:
    """Return the host of an address, the only part of it that may be shown.

    Raises:
        DeliveryError: the address has no host.
    """
    try:
        host = urllib.parse.urlsplit(url).hostname
    except ValueError:
        host = None
    if not host:
        raise DeliveryError("the address has no host")
    return host


def request(url: str, body: bytes | None, headers: dict[str, str]) -> None:
    """POST `body`, or GET if it is None, and accept any 2xx answer.

    Raises:
        DeliveryError: there was no such answer within 10 s.
    """
    host = host_of(url)
    faults: queue.SimpleQueue[str] = queue.SimpleQueue()
    # A thread, because the time limit of a socket applies to each step: it ends neither a name
    # look-up without a network, nor an answer that arrives byte by byte.
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
    """Make the request and return what went wrong; empty if nothing did."""
    try:
        parts = urllib.parse.urlsplit(url)
        user, _, place = parts.netloc.rpartition("@")
        headers = {"User-Agent": "atx", **headers}
        if user:  # urllib would treat it as a part of the host
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
    except Exception as error:  # an alert must never break what it reports
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
    """Return what an exception means, without its text, which may hold the address."""
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
        return "the answer is not HTTP"
    return type(error).__name__
