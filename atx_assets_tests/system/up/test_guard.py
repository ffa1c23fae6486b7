"""The guard: what it lets through and what not, and what a plain Dagster webserver would do."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import dagster as dg
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st
from websockets.sync.client import connect as open_websocket

from atx_assets.errors import AtxError
from atx_assets.settings import read_settings
from atx_assets.web import up
from atx_assets.web.guard import Asked, Guard, Hosts, open_to_others, refusal
from atx_assets.web.guarded import dagster_command
from atx_assets.web.processes import answers_http, free_port
from atx_assets_tests.builders.environment import unused_port

pytestmark = pytest.mark.xdist_group("guard")

SETTINGS = replace(read_settings({}), allowed_hosts=("media.example.org", "tower:8443"))
HOSTS = Hosts.of(SETTINGS, 3000)
UI = "127.0.0.1:3000"


def told(method: str = "GET", address: str = "/", **headers: str) -> str:
    """What a browser is told that calls the UI; nothing where it is served."""
    path, _, query = address.partition("?")
    sent = {"host": UI} | {name.replace("_", "-"): value for name, value in headers.items()}
    return refusal(Asked(method, path, query.encode(), tuple(sent.items())), HOSTS)


# -- names


@pytest.mark.parametrize(
    "host",
    [
        UI,
        "localhost:3000",
        "[::1]:3000",
        "LocalHost:3000",
        "media.example.org",
        "media.example.org:8443",
        "Media.Example.org:1",
        "tower:8443",
    ],
)
def test_who_calls_it_by_a_name_of_ours_is_served(host: str) -> None:
    assert told(host=host) == ""
    assert told("POST", "/graphql", host=host, origin=f"http://{host}") == ""
    assert told("POST", "/graphql", host=host, origin=f"https://{host}") == ""


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:3000",
        "127.0.0.1",
        "127.0.0.1:3001",
        "localhost.:3000",
        "media.example.org.evil.example",
        "xmedia.example.org",
        "tower",
        "tower:8444",
        "",
        "127.0.0.1:3000.evil.example",
        "media.example.org:",
        "media.example.org:80:80",
        " " + UI,
        "media.example.org@evil.example",
        "[::1]",
        "[::]:3000",
        "0.0.0.0:3000",
        UI + "\n",
    ],
)
def test_who_calls_it_by_another_name_is_told_the_mend(host: str) -> None:
    """Kept out: a site that lets its own name point to this machine."""
    line = told(host=host)
    assert line.startswith("atx does not answer as ")
    assert "ATX_ALLOWED_HOSTS" in line
    assert len(line.splitlines()) == 1


def test_a_host_that_is_missing_or_there_twice_is_refused() -> None:
    assert refusal(Asked("GET", "/", b"", ()), HOSTS)
    assert refusal(Asked("GET", "/", b"", (("host", UI), ("host", UI))), HOSTS)


def test_at_port_80_a_browser_names_no_port() -> None:
    assert "127.0.0.1" in Hosts.of(SETTINGS, 80)
    assert "127.0.0.1" not in Hosts.of(SETTINGS, 3000)


def test_mlflow_is_given_the_same_names() -> None:
    assert Hosts.of(SETTINGS, 5050).patterns() == [
        *("127.0.0.1:5050", "[::1]:5050", "localhost:5050", "tower:8443"),
        *("media.example.org", "media.example.org:*"),
    ]


# -- pages of other sites

#: Origins of which none is the UI's; also another program of this machine has a port of its own.
FOREIGN = [
    "http://evil.example",
    "null",
    "",
    "http://127.0.0.1:8888",
    "http://localhost:3000",
    "http://127.0.0.1:3000.evil.example",
    "http://media.example.org",
    "file://",
    "ftp://127.0.0.1:3000",
    "http://127.0.0.1:3000/",
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
def test_another_origin_is_refused_whatever_it_asks(origin: str, method: str) -> None:
    assert told(method, "/graphql", origin=origin) == "atx does not answer to pages of other sites"


def test_one_good_origin_beside_a_bad_one_does_not_help() -> None:
    origins = (("host", UI), ("origin", f"http://{UI}"), ("origin", "http://evil.example"))
    assert refusal(Asked("POST", "/graphql", b"", origins), HOSTS)


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "Same-Origin", "new-word"])
def test_what_a_page_of_another_site_fetches_shows_or_frames_is_refused(site: str) -> None:
    for mode, dest in (
        *(("no-cors", "image"), ("no-cors", "script"), ("cors", "empty"), ("navigate", "iframe")),
        *(("navigate", "object"), ("websocket", "websocket"), ("navigate", "empty")),
    ):
        assert told(sec_fetch_site=site, sec_fetch_mode=mode, sec_fetch_dest=dest)
    assert told(sec_fetch_site=site)


def test_a_link_from_another_page_is_followed_but_no_form_is_sent() -> None:
    link = {"sec_fetch_mode": "navigate", "sec_fetch_dest": "document"}
    for site in ("cross-site", "same-site", "same-origin", "none"):
        assert told(address="/assets/scored_results?view=x", sec_fetch_site=site, **link) == ""
    assert told("POST", "/graphql", sec_fetch_site="cross-site", **link)


def test_what_our_own_page_asks_is_served() -> None:
    for mode, dest in (("cors", "empty"), ("no-cors", "image"), ("navigate", "iframe")):
        asks = {"sec_fetch_site": "same-origin", "sec_fetch_mode": mode, "sec_fetch_dest": dest}
        assert told(**asks) == ""
        assert told("POST", "/graphql", origin=f"http://{UI}", **asks) == ""


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize(
    "address",
    [
        *("/graphql?query=mutation{a}", "/graphql/?query={a}", "/graphql?qu%65ry={a}"),
        *("/x/graphql?op=A&query=", "/graphql?op=A&query={a}"),
    ],
)
def test_graphql_in_an_address_is_refused_to_everybody(method: str, address: str) -> None:
    assert "POST" in told(method, address)
    assert "POST" in told(method, address, origin=f"http://{UI}", sec_fetch_site="same-origin")


def test_the_ui_may_name_an_operation_in_the_address_that_it_posts_to() -> None:
    # Refused once, and no page of the UI opened any more.
    assert told("POST", "/graphql?op=RootWorkspaceQuery", origin=f"http://{UI}") == ""
    assert "POST" in told("GET", "/graphql?op=RootWorkspaceQuery")


def test_programs_that_are_no_browsers_are_served() -> None:
    assert told("POST", "/graphql") == ""
    assert told("POST", "/report_asset_materialization/x", accept="*/*") == ""


def test_pictures_are_shown_by_our_own_page_at_another_port_alone() -> None:
    report = Hosts.of(SETTINGS, 3030)

    def picture(referer: str, dest: str = "image", shown_by: Hosts | None = HOSTS) -> bool:
        headers = {"host": "127.0.0.1:3030", "sec-fetch-site": "same-site", "referer": referer}
        headers |= {"sec-fetch-mode": "no-cors", "sec-fetch-dest": dest}
        asked = Asked("GET", "/report_violins.png", b"", tuple(headers.items()))
        return not refusal(asked, report, shown_by=shown_by)

    assert picture("http://127.0.0.1:3000/")
    assert picture("http://localhost:3000/assets/analysis_report")
    assert picture("https://media.example.org/")
    for stranger in ("", "http://evil.example/", "http://evil.example/http://127.0.0.1:3000/"):
        assert not picture(stranger)
    assert not picture("http://127.0.0.1:8888/")
    assert not picture("http://127.0.0.1:3000@evil.example/")
    assert not picture("http://127.0.0.1:3000/", dest="script")
    assert not picture("http://127.0.0.1:3000/", shown_by=None)


texts = st.text(st.characters(max_codepoint=255), max_size=30)


@given(
    host=st.one_of(texts, st.sampled_from(["evil.example:3000", "127.0.0.1:3000 ", "localhost"])),
    more=st.lists(st.tuples(st.sampled_from(["origin", "referer", "x"]), texts), max_size=4),
    path=texts,
    query=st.binary(max_size=30),
)
def test_no_header_or_address_makes_up_for_a_strange_host(
    host: str, more: list[tuple[str, str]], path: str, query: bytes
) -> None:
    line = refusal(Asked("GET", path, query, (("host", host), *more)), HOSTS)
    assert line
    assert line.isprintable()
    assert line.isascii()


@given(origin=texts, method=st.sampled_from(["GET", "POST"]), query=st.binary(max_size=30))
def test_no_origin_but_that_of_the_host_is_let_through(
    origin: str, method: str, query: bytes
) -> None:
    headers = (("host", UI), ("origin", origin))
    assert refusal(Asked(method, "/x", query, headers), HOSTS)


# -- the app in front of an app


def answers(kind: str, headers: dict[str, str]) -> tuple[list[Any], list[Any]]:
    """What a guarded app was asked, and what was sent."""
    reached: list[Any] = []
    sent: list[Any] = []

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        reached.append(scope["type"])
        if scope["type"] == "http":
            own = [(b"content-security-policy", b"script-src x"), (b"X-Frame-Options", b"ALLOWALL")]
            await send({"type": "http.response.start", "status": 200, "headers": own})
            await send({"type": "http.response.body", "body": b"."})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError("nothing is read of what may be refused")

    pairs = [(name.title().encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": kind, "path": "/", "query_string": b"", "headers": pairs, "method": "GET"}
    asyncio.run(Guard(app, HOSTS)(scope, receive, send))
    return reached, sent


def test_the_app_never_sees_what_is_refused() -> None:
    for kind, start in (("http", "http."), ("websocket", "websocket.http.")):
        for strange in ({"host": "evil.example"}, {"host": UI, "origin": "null"}):
            reached, (first, body) = answers(kind, strange)
            assert reached == []
            assert first["type"] == f"{start}response.start"
            assert first["status"] == 403
            assert body["body"].startswith(b"atx does not answer")
        assert answers(kind, {"host": UI, "origin": f"http://{UI}"})[0] == [kind]
    assert answers("lifespan", {})[0] == ["lifespan"]


def test_no_other_site_may_frame_a_page() -> None:
    headers = answers("http", {"host": UI})[1][0]["headers"]
    assert headers == [
        (b"content-security-policy", b"script-src x"),
        (b"x-frame-options", b"SAMEORIGIN"),
        (b"content-security-policy", b"frame-ancestors 'self'"),
    ]


# -- who reaches it


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.0.0.5"])
def test_nothing_is_said_where_only_this_machine_reaches_it(bind: str) -> None:
    assert open_to_others(replace(SETTINGS, bind=bind)) == ""


@pytest.mark.parametrize("bind", ["0.0.0.0", "192.168.1.10"])
def test_a_line_says_that_others_reach_it_and_that_there_is_no_password(bind: str) -> None:
    line = open_to_others(replace(SETTINGS, bind=bind))
    assert line.startswith(f"ATX_BIND={bind}: whoever reaches this machine can do all that you can")
    assert "no password" in line


def test_an_address_of_another_machine_is_named_as_the_cause() -> None:
    with pytest.raises(
        AtxError, match=r"192\.0\.2\.1 is not an address of this machine: set ATX_BIND"
    ):
        free_port(3000, "192.0.2.1")


def test_a_server_that_answers_strangers_is_not_called_open(closed_port: int) -> None:
    """Kept out: a version of Dagster that starts its webserver so that the guard is not in it."""
    words = ["-m", "http.server", str(closed_port), "--bind", "127.0.0.1"]
    server = subprocess.Popen([sys.executable, *words], stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{closed_port}/"
        while not answers_http(url):
            time.sleep(0.05)
        with pytest.raises(AtxError, match="answers strangers"):
            up._check_guard(url)
    finally:
        server.kill()
        server.wait()


def test_the_folder_for_sockets_is_private_short_and_thrown_away(tmp_path: Path) -> None:
    for home in (tmp_path, tmp_path / ("long" * 30)):
        home.mkdir(exist_ok=True)
        before = os.umask(0)
        try:
            with up._private(home) as folder:
                assert folder.stat().st_mode & 0o777 == 0o700
                assert len(os.fsencode(folder / "tmpabcdefgh")) <= 100
                (folder / "left").touch()
        finally:
            os.umask(before)
        assert not folder.exists()


# -- a plain Dagster webserver, and the same behind the guard

TINY = """
import dagster as dg

@dg.asset
def a() -> None: ...

defs = dg.Definitions(assets=[a])
"""

LAUNCH = """
mutation { launchRun(executionParams: {
    selector: {repositoryLocationName: "tiny.py", repositoryName: "__repository__",
               pipelineName: "__ASSET_JOB"},
    runConfigData: {}, mode: "default"
}) { __typename } }
"""


class Webserver:
    """A Dagster webserver on a tiny graph, and the runs that it has launched."""

    def __init__(self, folder: Path, port: int, *, guarded: bool) -> None:
        folder.mkdir()
        (folder / "tiny.py").write_text(textwrap.dedent(TINY))
        (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
        self.folder, self.port, self.host = folder, port, f"127.0.0.1:{port}"
        workspace = folder / "workspace.yaml"
        workspace.write_text("load_from: [{python_file: tiny.py}]")
        plain = [sys.executable, "-m", "dagster_webserver", "-w", str(workspace)]
        plain += ["--host", "127.0.0.1", "--port", str(port)]
        self.process = subprocess.Popen(
            dagster_command(workspace) if guarded else plain,
            env=os.environ | {"DAGSTER_HOME": str(folder), "ATX_UI_PORT": str(port)},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("wb"),
            start_new_session=True,
        )

    def wait(self) -> None:
        end = time.monotonic() + 90
        while not answers_http(f"http://{self.host}/server_info"):
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < end, (self.folder / "log").read_text()
            time.sleep(0.1)

    def ask(
        self, method: str, address: str, body: str = "", **headers: str
    ) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        sent = {"Host": self.host} | {n.replace("_", "-"): v for n, v in headers.items()}
        connection.request(method, address, body or None, sent)
        answer = connection.getresponse()
        found = answer.status, answer.read().decode(), answer.headers
        connection.close()
        return found

    def runs(self) -> int:
        with dg.DagsterInstance.from_config(str(self.folder)) as instance:
            return instance.get_runs_count()


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Webserver]]:
    folder = tmp_path_factory.mktemp("webservers")
    started = {}
    try:
        # The ports are searched one above the other: the first is not listened on for seconds.
        for name, port in (("plain", unused_port()), ("guarded", unused_port())):
            started[name] = Webserver(folder / name, port, guarded=name == "guarded")
        for server in started.values():
            server.wait()
        yield started
    finally:
        for server in started.values():
            os.killpg(server.process.pid, signal.SIGKILL)
            server.process.wait()


JSON = {"Content_Type": "application/json"}
ATTACKS = {
    "an image whose address is a mutation": lambda s: s.ask(
        "GET",
        "/graphql?" + urlencode({"query": LAUNCH}),
        Accept="image/*",
        Sec_Fetch_Site="cross-site",
        Sec_Fetch_Mode="no-cors",
        Sec_Fetch_Dest="image",
    ),
    "the same from a browser that says less": lambda s: s.ask(
        "GET", "/graphql?" + urlencode({"query": LAUNCH}), Accept="*/*"
    ),
    "a form": lambda s: s.ask(
        "POST",
        "/graphql?" + urlencode({"query": LAUNCH}),
        "x=y",
        Content_Type="text/plain",
        Origin="http://evil.example",
    ),
    "a page of another port of this machine": lambda s: s.ask(
        "POST", "/graphql", json.dumps({"query": LAUNCH}), Origin="http://127.0.0.1:8888", **JSON
    ),
    "a page without an origin": lambda s: s.ask(
        "POST", "/graphql", json.dumps({"query": LAUNCH}), Origin="null", **JSON
    ),
    "a name of its own that points here": lambda s: s.ask(
        "POST",
        "/graphql",
        json.dumps({"query": LAUNCH}),
        Host=f"evil.example:{s.port}",
        Origin=f"http://evil.example:{s.port}",
        Sec_Fetch_Site="same-origin",
        **JSON,
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_strange_page_launches_a_run_on_plain_dagster_and_none_on_ours(
    servers: dict[str, Webserver], attack: str
) -> None:
    before = {name: server.runs() for name, server in servers.items()}
    status, body, _ = ATTACKS[attack](servers["plain"])
    assert (status, "LaunchRunSuccess" in body) == (200, True), body
    assert servers["plain"].runs() == before["plain"] + 1
    status, body, _ = ATTACKS[attack](servers["guarded"])
    assert status == 403
    assert len(body.splitlines()) == 1
    assert servers["guarded"].runs() == before["guarded"]


def test_our_own_page_launches_a_run(servers: dict[str, Webserver]) -> None:
    server = servers["guarded"]
    before = server.runs()
    own = {"Origin": f"http://{server.host}", "Sec_Fetch_Site": "same-origin", **JSON}
    status, body, headers = server.ask("POST", "/graphql", json.dumps({"query": LAUNCH}), **own)
    assert (status, "LaunchRunSuccess" in body) == (200, True), body
    assert server.runs() == before + 1
    assert headers["X-Frame-Options"] == "SAMEORIGIN"


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:8888"])
def test_a_strange_page_opens_a_websocket_to_plain_dagster_and_none_to_ours(
    servers: dict[str, Webserver], origin: str
) -> None:
    """Kept out: the log of a run, which over a websocket any page could read."""
    assert greeted(servers["plain"].port, origin)
    with pytest.raises(websockets.InvalidStatus) as refused:
        greeted(servers["guarded"].port, origin)
    assert refused.value.response.status_code == 403
    assert refused.value.response.body == b"atx does not answer to pages of other sites\n"
    assert greeted(servers["guarded"].port, f"http://{servers['guarded'].host}")


def greeted(port: int, origin: Any) -> bool:
    """Whether the other side of a websocket to /graphql speaks with us."""
    with open_websocket(
        f"ws://127.0.0.1:{port}/graphql", origin=origin, subprotocols=["graphql-ws"], proxy=None
    ) as there:
        there.send('{"type": "connection_init", "payload": {}}')
        return bool(json.loads(there.recv(10))["type"] == "connection_ack")
