"""A real HTTP server that keeps what it is asked, and answers as a test wants it to.

Not here: what the strange servers of single tests answer.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Asked:
    """What was asked; the names of headers are in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answering(BaseHTTPRequestHandler):
    """One connection; `send` answers it, and so does writing to `wfile`."""

    server: "HttpServer"

    def send(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a status, a body and its headers."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Asked(self.command, self.path, headers, body)
        self.server.asked.append(request)
        self.server.answer(request, self)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_CONNECT = _answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


Answer = Callable[[Asked, Answering], None]


class HttpServer(ThreadingHTTPServer):
    """Listens on a port of its own; every request is kept in `asked`, then given to `answer`."""

    daemon_threads = True

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answer = answer
        self.asked: list[Asked] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def handle_error(self, *_: Any) -> None:
        """Not on the screen: a client that gives up is what some tests are about."""


@contextmanager
def http_server(answer: Answer) -> Iterator[HttpServer]:
    """Hold a server that answers so."""
    with HttpServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(20)
