"""A proxy with a password in front of the UI, as docs/security.md has it: real nginx."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets
from websockets.sync.client import connect as open_websocket

from atx_assets.settings import ROOT
from atx_assets_tests.builders.environment import require, unused_port
from atx_assets_tests.programs import path_of
from atx_assets_tests.system.up.test_guard import JSON, LAUNCH, Webserver

pytestmark = pytest.mark.xdist_group("proxy")

NAME = "media.example.org"
PASSWORD = {"Authorization": "Basic " + base64.b64encode(b"me:secret").decode()}


class Proxied(Webserver):
    """A guarded webserver that is asked by way of nginx."""

    def __init__(self, folder: Path, port: int, proxy: int) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ATX_ALLOWED_HOSTS", NAME)
            super().__init__(folder, port, guarded=True)
        self.wait()
        self.port, self.host = proxy, f"{NAME}:{proxy}"


def configuration(folder: Path, port: int, proxy: int) -> str:
    """The page's own lines, with the ports and the password file of the test."""
    page = (ROOT / "docs" / "security.md").read_text()
    (block,) = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    for theirs, ours in (
        ("listen 8300;", f"listen 127.0.0.1:{proxy};"),
        ("/etc/nginx/atx.htpasswd", str(folder / "htpasswd")),
        ("http://127.0.0.1:3000", f"http://127.0.0.1:{port}"),
    ):
        assert block.count(theirs) == 1
        block = block.replace(theirs, ours)
    user = "user root;" if os.geteuid() == 0 else ""
    return f"{user} pid {folder}/pid; error_log {folder}/error; events {{}}\nhttp {{\n{block}\n}}\n"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    require("nginx")
    folder = tmp_path_factory.mktemp("proxy")
    port, proxy = unused_port(), unused_port()
    (folder / "htpasswd").write_text("me:{PLAIN}secret\n")
    (folder / "nginx.conf").write_text(configuration(folder, port, proxy))
    server = Proxied(folder / "home", port, proxy)
    command = [
        str(path_of("nginx")),
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-g",
        "daemon off;",
    ]
    nginx = subprocess.Popen(command, start_new_session=True)
    try:
        end = time.monotonic() + 20
        while True:
            try:
                server.ask("GET", "/")
                break
            except ConnectionRefusedError:
                assert nginx.poll() is None, (folder / "error").read_text()
                assert time.monotonic() < end
                time.sleep(0.05)
        yield server
    finally:
        for process in (nginx, server.process):
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_without_the_password_nothing_is_shown(proxied: Proxied) -> None:
    assert proxied.ask("GET", "/server_info")[0] == 401
    assert proxied.ask("GET", "/server_info", **PASSWORD)[0] == 200


def test_with_it_a_run_is_launched_from_our_own_page(proxied: Proxied) -> None:
    before = proxied.runs()
    own = {"Origin": f"http://{proxied.host}", **PASSWORD, **JSON}
    status, body, _ = proxied.ask("POST", "/graphql", json.dumps({"query": LAUNCH}), **own)
    assert (status, "LaunchRunSuccess" in body) == (200, True), body
    assert proxied.runs() == before + 1


@pytest.mark.parametrize("origin", ["http://evil.example", "null"])
def test_a_strange_page_launches_none_though_the_browser_sends_the_password(
    proxied: Proxied, origin: str
) -> None:
    before = proxied.runs()
    strange = {"Origin": origin, **PASSWORD, **JSON}
    status, _, _ = proxied.ask("POST", "/graphql", json.dumps({"query": LAUNCH}), **strange)
    assert status == 403
    assert proxied.runs() == before


def test_websockets_pass_with_the_password_alone(proxied: Proxied) -> None:
    def opened(**headers: str) -> str:
        with open_websocket(
            f"ws://{proxied.host}/graphql",
            sock=socket.create_connection(("127.0.0.1", proxied.port)),
            additional_headers=headers,
            subprotocols=["graphql-ws"],  # type: ignore[list-item]
            proxy=None,
        ) as there:
            there.send('{"type": "connection_init", "payload": {}}')
            return str(json.loads(there.recv(10))["type"])

    with pytest.raises(websockets.InvalidStatus) as refused:
        opened(Origin=f"http://{proxied.host}")
    assert refused.value.response.status_code == 401
    assert opened(Origin=f"http://{proxied.host}", **PASSWORD) == "connection_ack"
    with pytest.raises(websockets.InvalidStatus) as refused:
        opened(Origin="http://evil.example", **PASSWORD)
    assert refused.value.response.status_code == 403
