"""Serves the report in `atx up`, so that the Dagster UI can link to it.

A browser follows no link from a served page to a file. This serves the report and its figures,
which the UI's pages link to. Not here: the report, nor who may read it (`guard.py`).
"""

from __future__ import annotations

import errno
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from atx_assets.errors import AtxError
from atx_assets.settings import Settings
from atx_assets.storage.checksums import is_damaged
from atx_assets.web.guard import Asked, Hosts, refusal

_NONE_YET = b"There is no report yet: materialise analysis_report, or run full_rebuild.\n"
_TEXT = "text/plain; charset=utf-8"
_FIGURE = re.compile(r"/report_[a-z_]+\.png")


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Print nothing in the terminal if a reader disconnects."""


@contextmanager
def report_server(report: Path, settings: Settings) -> Iterator[str]:
    """Serve the report, read anew at each request, and yield its address.

    Args:
        report: the file; it need not exist yet.
        settings: its `bind`, its `report_port`, which must be free, and the allowed hosts.
    """
    hosts = Hosts.of(settings, settings.report_port)
    ui = Hosts.of(settings, settings.ui_port)

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            headers = tuple((name.lower(), value) for name, value in self.headers.items())
            if reason := refusal(Asked("GET", self.path, b"", headers), hosts, shown_by=ui):
                self._answer(HTTPStatus.FORBIDDEN, f"{reason}\n".encode(), _TEXT)
            elif self.path != "/" and not _FIGURE.fullmatch(self.path):
                self._answer(HTTPStatus.NOT_FOUND, b"there is no such page\n", _TEXT)
            elif self.path == "/":
                self._send(report, "text/html; charset=utf-8")
            else:
                self._send(report.with_name(self.path[1:]), "image/png")

        def _send(self, file: Path, kind: str) -> None:
            try:
                body = file.read_bytes()
                if is_damaged(file):
                    line = f"{file.name} is damaged: materialise analysis_report again\n"
                    self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, line.encode(), _TEXT)
                    return
            except FileNotFoundError:
                self._answer(HTTPStatus.NOT_FOUND, _NONE_YET, _TEXT)
            except OSError as error:
                line = f"{file.name} cannot be read: {error.strerror}\n"
                self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, line.encode(), _TEXT)
            else:
                self._answer(HTTPStatus.OK, body, kind)

        def _answer(self, status: HTTPStatus, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("X-Frame-Options", "DENY")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Print no line per request in the terminal of `atx up`."""

    try:
        server = _Server((settings.bind, settings.report_port), Handler)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # Another program has taken the port since it was free.
        raise AtxError(
            f"the report cannot be served on port {settings.report_port} ({error.strerror}): "
            "start `atx up` again, or set ATX_REPORT_PORT"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="atx-report", daemon=True)
    thread.start()
    try:
        yield f"http://{settings.web_host}:{settings.report_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
