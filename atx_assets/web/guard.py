"""Who may ask the pages of `atx up`: a page of another site that the owner visits may not.

A browser sends requests for any page to any address, this machine's among them, and says in
headers for whom. What is asked for, and for whom, is judged here, for the Dagster UI, MLflow and
the report alike. Not here: how the guard gets into their servers (`guarded.py`), nor a password,
of which there is none.
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

#: Keeps our pages out of other sites' frames, where a click could be had from the owner that is
#: meant for something else. Not DENY: MLflow's pages frame parts of their own.
NO_FRAMES = {"X-Frame-Options": "SAMEORIGIN", "Content-Security-Policy": "frame-ancestors 'self'"}

#: What a browser says of requests that come from the same server, or from the owner's own hand.
_OWN = ("same-origin", "none")


@dataclass(frozen=True)
class Hosts:
    """The names by which a browser may call one server.

    `exact` holds them as they stand in the header Host, lower-case, with a port unless it is 80;
    `names` those that go with any port.
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
        """Say whether `host` is one of them, as it stands in a header."""
        return host.lower() in self.exact or _without_port(host.lower()) in self.names

    def patterns(self) -> list[str]:
        """Return them as MLflow takes them, with * for any port."""
        return [*sorted(self.exact), *(p for n in sorted(self.names) for p in (n, f"{n}:*"))]


@dataclass(frozen=True)
class Asked:
    """A request as far as it is judged. Names of headers are lower-case; one may come twice."""

    method: str
    path: str
    query: bytes
    headers: tuple[tuple[str, str], ...]
    websocket: bool = False

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for known, value in self.headers if known == name]

    def one(self, name: str) -> str:
        """Return the value of a header; nothing if it is not there, or there more than once."""
        values = self.all(name)
        return values[0] if len(values) == 1 else ""


def refusal(asked: Asked, hosts: Hosts, *, shown_by: Hosts | None = None) -> str:
    """Say in a line why a request is refused; nothing when it is not.

    Args:
        asked: the request.
        hosts: the names of the server that is asked.
        shown_by: another server of ours, whose pages may show what is here as pictures.
    """
    host = asked.one("host")
    if host not in hosts:
        # The name may be that of a stranger's page, pointed at this machine.
        return f"atx does not answer as {_plain(host)}; ATX_ALLOWED_HOSTS may allow a name"
    own = (f"http://{host.lower()}", f"https://{host.lower()}")
    if any(origin.lower() not in own for origin in asked.all("origin")):
        return "atx does not answer to pages of other sites"
    # Plain links to our pages send no Origin, and so do pictures, scripts and frames of others.
    came = asked.all("sec-fetch-site")
    if any(site not in _OWN for site in came) and not (
        _is_visit(asked) or _is_picture(asked, shown_by)
    ):
        return "atx does not answer to pages of other sites"
    if _is_graphql_in_an_address(asked):
        return "atx takes no GraphQL in an address: send it as the body of a POST"
    return ""


def open_to_others(settings: Settings) -> str:
    """Say in a line that other machines reach the pages; nothing where only this one does."""
    if IPv4Address(settings.bind).is_loopback:
        return ""
    return (
        f"ATX_BIND={settings.bind}: whoever reaches this machine may do all that you may, as there "
        "is no password; docs/security.md puts one in front"
    )


class Guard:
    """An ASGI app in front of another, which sees only what `refusal` lets through."""

    def __init__(self, app: _App, hosts: Hosts) -> None:
        """Stand before `app`, a server that is called by the names `hosts`."""
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Refuse a request, or hand it on."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif told := refusal(_asked(scope), self._hosts):
            await _refuse(told, send, websocket=scope["type"] == "websocket")
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


async def _refuse(told: str, send: _Send, *, websocket: bool) -> None:
    # Before it is accepted, a websocket is answered like any request.
    kind = "websocket.http.response" if websocket else "http.response"
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": f"{kind}.start", "status": 403, "headers": headers})
    await send({"type": f"{kind}.body", "body": f"{told}\n".encode()})


def _unframed(send: _Send) -> _Send:
    async def send_with_headers(message: _Message) -> None:
        if message["type"] == "http.response.start":
            # Beside a policy of the page's own: the browser heeds each of them.
            more = [(name.lower().encode(), value.encode()) for name, value in NO_FRAMES.items()]
            kept = [pair for pair in message.get("headers", ()) if pair[0].lower() != more[0][0]]
            message = {**message, "headers": [*kept, *more]}
        await send(message)

    return send_with_headers


def _is_visit(asked: Asked) -> bool:
    """Whether a link of anybody's was followed: the page opens, and its site learns nothing."""
    return (
        asked.method == "GET"
        and not asked.websocket
        and asked.one("sec-fetch-mode") == "navigate"
        and asked.one("sec-fetch-dest") == "document"
    )


def _is_graphql_in_an_address(asked: Asked) -> bool:
    """Whether an address holds what Dagster would execute, a mutation among it.

    Dagster's UI posts, to an address that says no more than the operation's name (`?op=…`).
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
    """Whether a page of `shown_by` shows this: Referer may be kept back, and not be forged."""
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
    """Return a name that a stranger has chosen as a line may show it."""
    return re.sub(r"[^A-Za-z0-9.:\[\]_-]", "?", host)[:100] or "nobody"
