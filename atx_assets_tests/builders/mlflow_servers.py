"""MLflow servers for the tests: real ones, and strange ones that stand before them.

Not here: what a test tells them.
"""

import base64
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
from pathlib import Path
from typing import Any

import psutil
import pytest

from atx_assets_tests.builders.environment import unused_port
from atx_assets_tests.builders.http_server import Answering, Asked, http_server


class MlflowServer:
    """A real MLflow server, started; the folder that it keeps artifacts in."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port, self.artifacts = unused_port(), folder / "artifacts"
        self._log = folder / "log"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--workers", "1", "--port", str(self.port)]
        command += ["--artifacts-destination", str(self.artifacts)]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", *options]
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
def mlflow_started(folder: Path, *options: str) -> Iterator[MlflowServer]:
    """A server of its own, in another process, that keeps everything in a folder."""
    server = MlflowServer(folder, *options)
    try:
        server.wait_until_healthy()
        yield server
    finally:
        server.end()


class Strange:
    """Answers each request as it is told to: after some seconds, with a status and a body.

    With `behind` the requests go on to the MLflow server on that port, up to the first for `word`,
    or all but those for `word` where it answers `only` these strangely, `until` a request for that
    word has gone on. One that is `dead` from then on closes the connection instead of answering.
    With a `login` (user:password) all others get 401.
    """

    def __init__(
        self,
        *,
        seconds: float = 0,
        status: int = 0,
        body: bytes = b"",
        dead: bool = False,
        word: str = "",
        only: bool = False,
        until: str = "",
        login: str = "",
        behind: int = 0,
    ) -> None:
        self.seconds, self.status, self.body, self.dead = seconds, status, body, dead
        self.word, self.only, self.until, self.behind = word, only, until, behind
        self.login = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
        self.begun, self.over = threading.Event(), threading.Event()
        #: Requests that were answered strangely.
        self.strange = 0
        self.port = 0

    @property
    def settings(self) -> dict[str, str]:
        return {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(self.port)}

    def answer(self, request: Asked, answering: Answering) -> None:
        if self.login and request.headers.get("authorization") != self.login:
            answering.send(401, b"log in", {"Content-Type": "text/html"})
            return
        if self.until and self.until in request.path:
            self.until, self.word = "", "no request any more"
        meant = self.word in request.path and not self.login
        if meant:
            self.begun.set()
        if meant if self.only else self.begun.is_set():
            self.strange += 1
            self.over.wait(self.seconds)
            if self.dead:
                answering.close_connection = True
                return
            if self.status:
                answering.send(self.status, self.body, {"Content-Type": "text/html"})
                return
        behind = http.client.HTTPConnection("127.0.0.1", self.behind, timeout=60)
        behind.request(request.method, request.path, request.body, request.headers)
        answer = behind.getresponse()
        kept = {n: v for n, v in answer.getheaders() if n.lower() in ("content-type", "location")}
        answering.send(answer.status, answer.read(), kept)
        behind.close()


@contextmanager
def strange(**how: Any) -> Iterator[Strange]:
    """A server that answers as `Strange` describes it."""
    wanted = Strange(**how)
    with http_server(wanted.answer) as server:
        wanted.port = server.port
        try:
            yield wanted
        finally:
            wanted.over.set()


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server that is thrown away after the last test."""
    with mlflow_started(tmp_path_factory.mktemp("mlflow-server")) as server:
        yield server
