"""A proxy in the environment, and servers of this machine and of a home network behind no proxy."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

import atx_assets.direct
from atx_assets.alerts.web_request import request
from atx_assets.direct import is_direct
from atx_assets.errors import AtxError
from atx_assets.models.mlflow_server import reach
from atx_assets.process_environment import keep_direct
from atx_assets.settings import read_settings
from atx_assets_tests.builders.http_server import HttpServer, http_server
from atx_assets_tests.builders.outside import Outside, watched_outside

_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")

#: The addresses of names that a test makes up.
NAMES = {
    "mlflow.home": ["192.168.1.7"],
    "vpn.example": ["100.64.0.9"],
    "both.example": ["10.0.0.1", "93.184.215.14"],
    "far.example": ["93.184.215.14"],
}


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Outside]:
    """A proxy in the environment, and no rules of a person's."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(atx_assets.direct, "_added", set())
    with watched_outside() as proxy:
        for name in _VARIABLES[:2]:
            monkeypatch.setenv(name, proxy.server.url)
        # Set and taken away again, so that what atx itself sets goes with the test.
        monkeypatch.setenv("no_proxy", "")
        monkeypatch.delenv("no_proxy")
        yield proxy


@pytest.fixture
def mlflow() -> Iterator[HttpServer]:
    """What answers a preflight as MLflow does."""
    json = {"Content-Type": "application/json"}
    with http_server(lambda _, answering: answering.send(200, b"{}", json)) as server:
        yield server


@pytest.fixture(autouse=True)
def _names(monkeypatch: pytest.MonkeyPatch) -> None:
    known = socket.getaddrinfo

    def look_up(host: Any, *words: Any, **named: Any) -> Any:
        if host in NAMES:
            return [(2, 1, 6, "", (address, 0)) for address in NAMES[host]]
        return known(host, *words, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


@pytest.mark.parametrize("rules", [None, "", "example.org"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_mlflow_on_this_machine_is_asked_without_a_proxy(
    outside: Outside,
    mlflow: HttpServer,
    monkeypatch: pytest.MonkeyPatch,
    rules: str | None,
    host: str,
) -> None:
    """Kept out: "MLflow answers with an error (403)", said by a proxy that was asked for it."""
    if rules is not None:
        monkeypatch.setenv("no_proxy", rules)
    settings = read_settings({"MLFLOW_HOST": host, "MLFLOW_PORT": str(mlflow.port)})
    reach(settings)
    reach(settings)
    assert outside.asked == []
    assert len(mlflow.asked) == 2 * 3  # version, experiment, registered model


def test_mlflows_own_client_takes_the_same_way(outside: Outside, mlflow: HttpServer) -> None:
    settings = read_settings({"MLFLOW_HOST": "127.0.0.1", "MLFLOW_PORT": str(mlflow.port)})
    reach(settings)
    import requests

    assert requests.get(f"{mlflow.url}/as-the-client-asks", timeout=10).ok
    assert outside.asked == []


def test_an_alert_to_this_machine_takes_no_proxy(outside: Outside, mlflow: HttpServer) -> None:
    request(f"{mlflow.url}/topic", b"hello", {})
    assert outside.asked == []
    with pytest.raises(AtxError, match="status 403"):
        request("http://far.example/topic", b"hello", {})
    assert outside.asked == ["http://far.example/topic"]


@pytest.mark.parametrize(
    ("host", "direct"),
    [
        ("127.0.0.2", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("192.168.1.7", True),
        ("fd00::1", True),
        ("169.254.1.1", True),
        ("mlflow.home", True),
        ("vpn.example", True),
        ("both.example", False),
        ("far.example", False),
        ("93.184.215.14", False),
        ("nowhere.invalid", False),
        ("", False),
    ],
)
def test_a_private_network_is_asked_directly(outside: Outside, host: str, direct: bool) -> None:
    assert is_direct(host) is direct


@pytest.mark.parametrize("rules", ["", "example.org", "localhost,127.0.0.1"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_a_persons_own_rules_say_it_all_for_a_private_network(
    outside: Outside, monkeypatch: pytest.MonkeyPatch, name: str, rules: str
) -> None:
    monkeypatch.setenv(name, rules)
    assert not is_direct("192.168.1.7")
    assert not is_direct("mlflow.home")
    assert is_direct("127.0.0.1")


def test_a_rule_for_everything_stays_alone(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kept out: `*,127.0.0.1`, in which the star means nothing."""
    monkeypatch.setenv("no_proxy", "*")
    keep_direct("127.0.0.1")
    assert os.environ["no_proxy"] == "*"


def test_what_atx_adds_is_no_rule_of_a_persons(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for host in ("127.0.0.1", "192.168.1.7", "192.168.1.7"):
        keep_direct(host)
    assert os.environ["no_proxy"] == "127.0.0.1,192.168.1.7"
    assert is_direct("10.0.0.9")
    monkeypatch.setenv("no_proxy", "")
    keep_direct("127.0.0.1")
    assert not is_direct("10.0.0.9")


def test_without_a_proxy_nothing_is_looked_up(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: pytest.fail("a name was looked up"))
    assert not is_direct("mlflow.home")
