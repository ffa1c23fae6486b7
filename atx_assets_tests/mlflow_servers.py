"""MLflow servers for the tests: real ones, and strange ones that stand before them.

Not here: what a test tells them.
"""

import http.client
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil

from atx_assets_tests.house import unused_port


class MlflowServer:
    """A real MLflow server, started; the folder that it keeps artifacts in."""

    def __init__(self, folder: Path) -> None:
        self.port, self.artifacts = unused_port(), folder / "artifacts"
        self._log = folder / "log"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--workers", "1", "--port", str(self.port)]
        command += ["--artifacts-destination", str(self.artifacts)]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=folder, env=environment, start_new_session=True
            )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> dict[str, str]:
        return {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(self.port)}

    def wait_until_healthy(self) -> None:
        end = time.monotonic() + 120
        while not self._is_healthy():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.2)

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                return True
        except OSError:
            return False

    def end(self) -> None:
        # Its whole group: the workers are children of it.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(20)

    def fill(self) -> None:
        """Forbid that any of its files grows."""
        self._limit(4096)

    def make_room(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        top = psutil.Process(self._process.pid)
        for process in (top, *top.children(recursive=True)):
            _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, most))


@contextmanager
def mlflow_started(folder: Path) -> Iterator[MlflowServer]:
    """A server of its own, in another process, that keeps everything in a folder."""
    server = MlflowServer(folder)
    try:
        server.wait_until_healthy()
        yield server
    finally:
        server.end()


class Strange(ThreadingHTTPServer):
    """Answers each request as it is told to: after some seconds, with a status and a body.

    With `behind` the requests go on to the MLflow server on that port, up to the first for `word`.
    One that is `dead` from then on closes the connection instead of answering.
    """

    daemon_threads = True

    def __init__(
        self,
        *,
        seconds: float = 0,
        status: int = 0,
        body: bytes = b"",
        dead: bool = False,
        word: str = "",
        behind: int = 0,
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.seconds, self.status, self.body, self.dead = seconds, status, body, dead
        self.word, self.behind = word, behind
        self.begun, self.over = threading.Event(), threading.Event()
        #: Requests that were answered strangely.
        self.strange = 0

    @property
    def settings(self) -> dict[str, str]:
        return {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(self.server_address[1])}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is what the tests are about."""


class _Answer(BaseHTTPRequestHandler):
    server: Strange

    def _answer(self) -> None:
        asked = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.word in self.path:
            self.server.begun.set()
        if self.server.begun.is_set():
            self.server.strange += 1
            self.server.over.wait(self.server.seconds)
            if self.server.dead:
                self.close_connection = True
                return
            if self.server.status:
                self._send(self.server.status, self.server.body, {"Content-Type": "text/html"})
                return
        behind = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=60)
        behind.request(self.command, self.path, asked, dict(self.headers))
        answer = behind.getresponse()
        kept = {n: v for n, v in answer.getheaders() if n.lower() in ("content-type", "location")}
        self._send(answer.status, answer.read(), kept)
        behind.close()

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def log_message(self, format: str, *words: Any) -> None:
        """Say nothing."""


@contextmanager
def strange(**how: Any) -> Iterator[Strange]:
    """A server that answers as `Strange` describes it."""
    with Strange(**how) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join(20)
