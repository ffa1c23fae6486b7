"""The way out to other machines, for a test to see who was asked for; nobody is let out."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from atx_assets_tests.builders.http_server import HttpServer, http_server


@dataclass(frozen=True)
class Outside:
    """A proxy that refuses, and keeps the addresses that it was asked for."""

    server: HttpServer

    @property
    def asked(self) -> list[str]:
        return [request.path for request in self.server.asked]

    @property
    def settings(self) -> dict[str, str]:
        """What sends a program's requests through it, but those to this machine."""
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        here = dict.fromkeys(names, self.server.url)
        return here | dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")


@contextlib.contextmanager
def watched_outside() -> Iterator[Outside]:
    """Hold such a proxy."""
    with http_server(lambda _, answering: answering.send_error(403)) as server:
        yield Outside(server)
