"""Who may send requests to `atx up`: no page of another site that the owner visits.

For any page, a browser sends requests to any address, even one of this machine, and says in headers
which page asked. Requests to the Dagster UI, MLflow and the report are all judged here. Not here:
how the guard gets into their servers (`guarded.py`), nor a password: there is none.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from atx_assets.settings import Settings

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]

#: Keeps our pages out of other sites' frames, which could trick the owner into a click. Not DENY:
#: MLflow's pages frame parts of their own.
NO_FRAMES = {"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "frame-ancestors 'self'"}

#: How a browser marks requests from the same server, or typed by the owner.
_OWN = ("same-origin", "none")


@dataclass(frozen=True)
class Hosts:
    """The names by which a browser may call one server.

    `exact` holds them as in the header Host: lower-case, with a port unless it is 80. `names` holds
    names that are allowed with any port.
    """

    exact: frozenset[str]
    names: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings, port: int) -> Hosts:
        """Return this machine's own names at `port`, and those of `ATX_ALLOWED_HOSTS`."""
        own = ["127.0.0.1", "localhost", "[::1]", settings.web_host]
        exact = {f"{name}:{port}" for name in own} | (set(own) if port == 80 else set())
        exact |= {host for host in settings.allowed_hosts if _without_port(host) != host}
        return cls(frozenset(exact), frozenset(settings.allowed_hosts) - exact)

    def __contains__(self, host: str) -> bool:
        """Return whether `host`, the value of a header, is one of them."""
        return host.lower() in self.exact or _without_port(host.lower()) in self.names

    def patterns(self) -> list[str]:
        """Return them in MLflow's form, with * for any port."""
        return [*sorted(self.exact), *(p for n in sorted(self.names) for p in (n, f"{n}:*"))]


@dataclass(frozen=True)
class Asked:
    """The judged parts of a request. Header names are lower-case; one may occur twice."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[str, str], ...]
    websocket: bool = False

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for known, value in self.headers if known == name]

    def one(self, name: str) -> str:
        """Return the value of a header; empty unless it occurs exactly once."""
        values = self.all(name)
        return values[0] if len(values) == 1 else ""


def refusal(asked: Asked, hosts: Hosts, *, shown_by: Hosts | None = None) -> str:
    """Return one line that says why a request is refused; empty if it is allowed.

    Args:
        asked: the request.
        hosts: the names of the server that received it.
        shown_by: another server of ours, whose pages may show this server's pictures.
    """
    host = asked.one("host")
    if host not in hosts:
        # It may be the name of a stranger's site, pointed at this machine (DNS rebinding).
        return f"atx does not answer as {_plain(host)}; ATX_ALLOWED_HOSTS may allow a name"
    own = (f"http://{host.lower()}", f"https://{host.lower()}")
    if any(origin.lower() not in own for origin in asked.all("origin")):
        return "atx does not answer to pages of other sites"
    # Plain links to our pages send no Origin; nor do pictures, scripts and frames of other sites.
    sites = asked.all("sec-fetch-site")
    if any(site not in _OWN for site in sites) and not (
        _is_visit(asked) or _is_picture(asked, shown_by)
    ):
        return "atx does not answer to pages of other sites"
    if _is_graphql_in_an_address(asked):
        return "atx does not accept GraphQL in an address: send it as the body of a POST"
    return ""


def open_to_others(settings: Settings) -> str:
    """Return one line if other machines can reach the pages; empty if only this one can."""
    if IPv4Address(settings.bind).is_loopback:
        return ""
    return (
        f"ATX_BIND={settings.bind}: whoever reaches this machine can do all that you can, because "
        "there is no password; docs/security.md says how to add one"
    )


class Guard:
    """An ASGI app in front of another, which sees only the requests that `refusal` allows."""

    def __init__(self, app: _App, hosts: Hosts) -> None:
        """Guard `app`, a server that is called by the names `hosts`."""
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Refuse a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif reason := refusal(_asked(scope), self._hosts):
            await _refuse(reason, send, websocket=scope["type"] == "websocket")
        else:
            await self._app(scope, receive, _unframed(send))


def _asked(scope: _Message) -> Asked:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return Asked(
        scope.get("method", "GET"),
        scope["path"],
        scope["query_string"],
        tuple((name.decode("latin-1").lower(), v.decode("latin-1")) for name, v in headers),
        websocket=scope["type"] == "websocket",
    )


async def _refuse(reason: str, send: _Send, *, websocket: bool) -> None:
    # A websocket that is not accepted yet is answered like any request.
    kind = "websocket.http.response" if websocket else "http.response"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": f"{kind}.start", "status": 403, "headers": headers})
    await send({"type": f"{kind}.body", "body": f"{reason}\n".encode()})


def _unframed(send: _Send) -> _Send:
    async def send_with_headers(message: _Message) -> None:
        if message["type"] == "http.response.start":
            # In addition to a policy of the page's own: the browser obeys all of them.
            more = [(name.lower().encode(), value.encode()) for name, value in NO_FRAMES.items()]
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != more[0][0]]
            message = {**message, "headers": [*kept, *more]}
        await send(message)

    return send_with_headers


def _is_visit(asked: Asked) -> bool:
    """Return whether a link on any site was followed: our page opens, the site learns nothing."""
    return (
        asked.method == "GET"
        and not asked.websocket
        and asked.one("sec-fetch-mode") == "navigate"
        and asked.one("sec-fetch-dest") == "document"
    )


def _is_graphql_in_an_address(asked: Asked) -> bool:
    """Return whether an address holds GraphQL, which Dagster would execute, mutations included.

    Dagster's UI posts to an address that holds only the operation's name (`?op=…`).
    """
    return (
        bool(asked.query)
        and asked.path.rstrip("/").endswith("/graphql")
        and not asked.websocket
        and (
            asked.method != "POST"
            or any(name == b"query" for name, _ in parse_qsl(asked.query, keep_blank_values=True))
        )
    )


def _is_picture(asked: Asked, shown_by: Hosts | None) -> bool:
    """Return whether a page of `shown_by` shows this. A site can hide its Referer, not forge it."""
    of = re.match("https?://([^/]+)/", asked.one("referer"))
    return (
        shown_by is not None
        and asked.method == "GET"
        and asked.one("sec-fetch-dest") == "image"
        and of is not None
        and of[1] in shown_by
    )


def _without_port(host: str) -> str:
    return re.sub(r":[0-9]+$", "", host)


def _plain(host: str) -> str:
    """Return a host name, which a stranger may have chosen, in a form that is safe to print."""
    return re.sub(r"[^A-Za-z0-9.:\[\]_-]", "?", host)[:100] or "nobody"
