"""The report under an address, so that the Dagster UI can link to it: a page of `atx up`.

A browser follows no link from a page of a server to a file. This serves that one file, to this
machine alone. Not here: the report.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_NONE_YET = "There is no report yet: materialise analysis_report, or run full_rebuild.\n"


@contextmanager
def report_server(report: Path, port: int) -> Iterator[str]:
    """Serve the report as it lies there at each request, and yield its address.

    Args:
        report: the file; it need not be there yet.
        port: of 127.0.0.1, free.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            # A page from elsewhere that points a name of its own at this machine gets nothing.
            if self.headers.get("Host") not in (f"127.0.0.1:{port}", f"localhost:{port}"):
                self._answer(HTTPStatus.FORBIDDEN, b"not this host\n", "text/plain")
            elif self.path != "/":
                self._answer(HTTPStatus.NOT_FOUND, b"only / is here\n", "text/plain")
            elif not report.exists():
                self._answer(HTTPStatus.NOT_FOUND, _NONE_YET.encode(), "text/plain")
            else:
                self._answer(HTTPStatus.OK, report.read_bytes(), "text/html")

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("X-Frame-Options", "DENY")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Keep the terminal of `atx up` quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="atx-report", daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
