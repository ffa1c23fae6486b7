"""MLflow that is away, slow, broken, full, or another server altogether.

That it dies in mid-run is tried in `resources/test_mlflow.py`.
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

import dagster as dg
import psutil
import pytest

from atx_assets.errors import AtxError
from atx_assets.local.doctor import _mlflow as doctor_line
from atx_assets.resources import mlflow as ours
from atx_assets.resources.bundles import Bundles, Place
from atx_assets.settings import read_settings

pytestmark = [pytest.mark.slow, pytest.mark.faults]

TRAINING = [dg.AssetKey("tuned_classifier")]
#: Seconds; a guard against a hang on a loaded machine.
KNOWN = 30

HTML = b"<!doctype html>\n<html><body>Welcome to your router</body></html>"
FULL = b"<html>\n<head><title>507 Insufficient Storage</title></head></html>"


class Strange(ThreadingHTTPServer):
    """Answers each request as it is told to: after some seconds, with a status and a body.

    With `behind` the requests go on to the MLflow server on that port, up to the first for `word`.
    """

    daemon_threads = True

    def __init__(
        self, *, seconds: float = 0, status: int = 0, body: bytes = b"", word: str = "", behind=0
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.seconds, self.status, self.body = seconds, status, body
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
        if self.server.begun.is_set() and self.server.status:
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
    with Strange(**how) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
            thread.join(20)


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The one line that says why the run failed."""
    assert not result.success
    error = next(e for e in result.all_events if e.is_step_failure).step_failure_data.error
    while error.cause is not None and "AtxError" not in error.message:
        error = error.cause
    assert error.message.startswith("atx_assets.errors.AtxError: "), error.message
    line = error.message.removeprefix("atx_assets.errors.AtxError: ").rstrip("\n")
    assert "\n" not in line
    assert "ATX_MLFLOW=off; the last model stays in place" in line
    return line


def doctors(place: Any, **settings: str) -> str:
    """The line of `atx doctor`, which sees it before a run does."""
    with place.environment(**settings), pytest.raises(AtxError) as found:
        doctor_line(read_settings())
    return str(found.value)


# -- from the start: known within seconds, before anything is searched or trained


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"seconds": 30, "status": 200}, "MLflow does not answer at http://127.0.0.1:"),
        ({"status": 500, "body": b"Internal Server Error"}, "answers with an error (500)"),
        (
            {"status": 507, "body": FULL},
            "answers with an error (507): look at MLflow's log, or make room",
        ),
        ({"status": 502, "body": HTML}, "answers with an error (502)"),
        ({"status": 200, "body": HTML}, "answers, and not as MLflow does: check MLFLOW_HOST"),
        ({"status": 404, "body": HTML}, "answers, and not as MLflow does: check MLFLOW_HOST"),
        ({"status": 507, "body": FULL, "word": "/api/"}, "answers with an error (507)"),
    ],
    ids=["30 s", "500", "507", "502", "another page", "no such page", "healthy, its API 507"],
)
def test_mlflow_that_is_of_no_use_is_one_line_in_seconds_for_a_run_and_the_doctor(
    how, words, copied, mlflow_server
):
    before = copied.contents()
    with strange(**how, behind=mlflow_server.port) as server:
        started = time.monotonic()
        line = failure(copied.run("full_rebuild", assets=TRAINING, **server.settings))
        assert time.monotonic() - started < KNOWN
        assert words in line
        assert doctors(copied, **server.settings) == line
        # Before the search begins, too.
        search = copied.run(assets=[dg.AssetKey("hyperparameters")], **server.settings)
        assert failure(search) == line
    assert copied.contents() == before


def test_a_name_that_leads_nowhere_is_one_line(copied):
    wrong = {"MLFLOW_HOST": "no-such-machine.invalid", "MLFLOW_PORT": "5000"}
    line = failure(copied.run("full_rebuild", assets=TRAINING, **wrong))
    assert line.startswith("MLflow does not answer at http://no-such-machine.invalid:5000 (")
    assert "check MLFLOW_HOST and MLFLOW_PORT" in line
    assert doctors(copied, **wrong) == line


def test_the_first_run_without_the_mlflow_that_is_wanted_leaves_no_half_of_a_model(
    workplace, small_library, closed_port
):
    """The films are read; without the search nothing is trained; with MLflow off it goes on."""
    from atx_assets.sources.load import load_file

    with workplace.connect() as connection:
        load_file(connection, small_library)
    wanted = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(closed_port)}
    result = workplace.run("full_rebuild", **wanted)
    assert failure(result).startswith("MLflow does not answer")
    made = [name for name in workplace.contents() if name.endswith((".ubj", ".html"))]
    assert made == []
    assert workplace.files.path("training_table").exists()
    assert workplace.run("full_rebuild", ATX_MLFLOW="off", ATX_SEARCH="off", **wanted).success
    assert Bundles(workplace.files).place() == Place(1)


# -- in the middle


@pytest.mark.parametrize(
    ("word", "how", "words"),
    [
        ("runs/log-batch", {"status": 500}, "answers with an error (500)"),
        ("runs/log-batch", {"status": 200, "body": HTML}, "answers, and not as MLflow does"),
        ("registered-models/", {"status": 507, "body": FULL}, "answers with an error (507)"),
    ],
    ids=["500", "another page", "507"],
)
def test_mlflow_that_breaks_while_it_is_told_is_one_line_and_the_champion_stays(
    word, how, words, copied, mlflow_server
):
    judge_some(copied)
    assert copied.run(assets=UP_TO_TRAINING, ATX_MLFLOW="off").success
    champion = copied.files.path("tuned_classifier").read_bytes()
    with strange(**how, word=word, behind=mlflow_server.port) as server:
        result = copied.run(assets=TRAINING, ATX_MODEL_NAME=f"breaks {word[:4]}", **server.settings)
        assert server.strange
    assert words in failure(result)
    assert Bundles(copied.files).place() == Place(1)
    assert copied.files.path("tuned_classifier").read_bytes() == champion


def test_a_slow_mlflow_is_given_up_instead_of_waited_for_a_hundred_times(
    copied, mlflow_server, monkeypatch
):
    """Kept out: a training that took 33 minutes, as each of 390 answers came after 5 s."""
    monkeypatch.setattr(ours, "PATIENCE", 4)
    judge_some(copied)
    assert copied.run(assets=UP_TO_TRAINING, ATX_MLFLOW="off").success
    with strange(seconds=1.5, word="runs/log-batch", behind=mlflow_server.port) as server:
        result = copied.run(assets=TRAINING, ATX_MODEL_NAME="slow", **server.settings)
        asked = server.strange
    assert "stopped to answer in time (" in failure(result)
    # Some in the patience that there was, one in the second after it, and that it failed.
    assert asked <= 10
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == str(ours.ANSWER)
    assert Bundles(copied.files).place() == Place(1)


# -- its disk is full


def test_an_mlflow_whose_disk_is_full_is_one_line_and_gets_the_model_once_there_is_room(
    copied, full_server
):
    """A real server, whose files may grow no more: its database, and its artifacts."""
    import mlflow

    judge_some(copied)
    assert copied.run(assets=UP_TO_TRAINING, ATX_MLFLOW="off").success
    settings = {**full_server.settings, "ATX_MODEL_NAME": "full"}
    full_server.fill()
    line = failure(copied.run(assets=TRAINING, **settings))
    assert "answers with an error (50" in line
    assert "look at MLflow's log, or make room on its disk" in line
    assert Bundles(copied.files).place() == Place(1)
    full_server.make_room()
    assert copied.run(assets=TRAINING, **settings).success
    place = Bundles(copied.files).place()
    assert place == Place(2, (1,))
    client = mlflow.MlflowClient(full_server.url)
    (version,) = client.search_model_versions("name='full'")
    assert version.tags["atx_version"] == "2"
    assert client.get_registered_model("full").aliases == {"champion": version.version}


UP_TO_TRAINING = [dg.AssetKey(n) for n in ("raw_media", "feature_encoding", "training_table")]


def judge_some(place: Any) -> None:
    """Change labels, so that the next model would be promoted."""
    with place.connect() as connection:
        connection.execute(
            "UPDATE atp.media SET rejection_status = 'override', rejection_reason = NULL "
            "WHERE imdb_id IN (SELECT imdb_id FROM atp.media "
            "WHERE rejection_status = 'rejected' ORDER BY rt_score DESC NULLS LAST, hash LIMIT 20)"
        )


class FullServer:
    """A real MLflow server that can be forbidden to let a file grow."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port, self._process = port, process
        self.url = f"http://127.0.0.1:{port}"
        self.settings = {"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(port)}

    def fill(self) -> None:
        self._limit(4096)

    def make_room(self) -> None:
        self._limit(resource.RLIM_INFINITY)

    def _limit(self, size: int) -> None:
        top = psutil.Process(self._process.pid)
        for process in (top, *top.children(recursive=True)):
            _, most = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, most))


@pytest.fixture
def full_server(tmp_path: Path, closed_port: int) -> Iterator[FullServer]:
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--workers", "1"]
    command += ["--port", str(closed_port), "--artifacts-destination", str(tmp_path / "artifacts")]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'mlflow.db'}"]
    environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=tmp_path, env=environment, start_new_session=True
        )
    server = FullServer(closed_port, process)
    try:
        end = time.monotonic() + 120
        while not _is_healthy(server.url):
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield server
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _is_healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5):
            return True
    except OSError:
        return False
