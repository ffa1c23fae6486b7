"""The way out to other machines, for a test to see who was asked for; nobody is let out."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: By these a program knows that no person runs it; MLflow then tells its makers nothing.
NO_PERSON = ("CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST")


@dataclass
class Outside:
    """A proxy that refuses, and keeps the addresses that it was asked for."""

    port: int = 0
    asked: list[str] = field(default_factory=list)

    @property
    def settings(self) -> dict[str, str]:
        """What sends a program's requests through it, but those to this machine."""
        here = f"http://127.0.0.1:{self.port}"
        names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
        return dict.fromkeys(names, here) | dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")


@contextlib.contextmanager
def watched_outside() -> Iterator[Outside]:
    """Hold such a proxy."""
    outside = Outside()

    class Refusing(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            outside.asked.append(self.path)
            self.send_error(403)

        do_GET = do_POST = do_HEAD = do_PUT = do_CONNECT

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    outside.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield outside
    finally:
        server.shutdown()
        server.server_close()
