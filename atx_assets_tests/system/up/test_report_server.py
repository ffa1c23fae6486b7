"""The report under an address: that page to this machine, and nothing else."""

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from atx_assets.errors import AtxError
from atx_assets.settings import read_settings
from atx_assets.web.report_server import report_server


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


@pytest.fixture
def port(report: Path, closed_port: int) -> Iterator[int]:
    with report_server(report, read_settings({"ATX_REPORT_PORT": str(closed_port)})) as url:
        assert url == f"http://127.0.0.1:{closed_port}"
        yield closed_port


def ask(port: int, path: str = "/", method: str = "GET", **headers: str) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers["Content-Type"]
    connection.close()
    return found


def test_the_report_is_served_as_it_lies_there_at_each_request(port: int, report: Path) -> None:
    for text in ("<p>one</p>", "<p>two ü</p>"):
        report.write_text(text, encoding="utf-8")
        assert ask(port) == (200, text.encode(), "text/html; charset=utf-8")


def test_a_port_that_somebody_has_taken_meanwhile_is_one_line(report: Path) -> None:
    """Kept out: "OSError: [Errno 98]" from an `atx up` that found the port free a moment before."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = read_settings({"ATX_REPORT_PORT": str(port)})
        words = rf"^the report cannot be served on port {port} \(.*\): .* set ATX_REPORT_PORT$"
        with pytest.raises(AtxError, match=words), report_server(report, settings):
            pass


def test_before_the_first_report_the_mend_is_told(port: int) -> None:
    status, body, _ = ask(port)
    assert status == 404
    assert b"materialise analysis_report" in body


def test_its_figures_are_served_beside_it(port: int, report: Path) -> None:
    """Kept out: figures whose names hold an underscore were not."""
    assert ask(port, "/report_precision_recall.png")[0] == 404
    report.with_name("report_precision_recall.png").write_bytes(b"png")
    assert ask(port, "/report_precision_recall.png") == (200, b"png", "image/png")


@pytest.mark.parametrize("path", ["/report.html", "/../report.html", "/models/1", "/?x"])
def test_nothing_else_of_the_folder_is_served(port: int, report: Path, path: str) -> None:
    report.write_text("the report")
    status, body, _ = ask(port, path)
    assert status == 404
    assert b"the report" not in body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "evil.example:3030"])
def test_a_page_of_another_host_reads_nothing(port: int, report: Path, host: str) -> None:
    """Kept out: a site that lets its own name point to this machine."""
    report.write_text("the report")
    status, body, _ = ask(port, Host=host)
    assert status == 403
    assert b"the report" not in body


def test_only_reading_is_known(port: int, report: Path) -> None:
    report.write_text("the report")
    assert ask(port, method="POST")[0] == 501
    assert report.read_text() == "the report"


def test_the_port_is_free_again_afterwards(report: Path, closed_port: int) -> None:
    with report_server(report, read_settings({"ATX_REPORT_PORT": str(closed_port)})):
        pass
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", closed_port))
