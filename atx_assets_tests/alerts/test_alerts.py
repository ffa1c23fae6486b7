"""Alerts against a real server on this machine, and real processes that raise them at once."""

import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from atx_assets.alerts import alerts, web_request
from atx_assets.alerts import file as alert_file
from atx_assets.alerts.alerts import clear, heartbeat, raise_alert, send_pending
from atx_assets.alerts.file import AlertFile
from atx_assets.alerts.messages import FORMATS, Alert
from atx_assets.cli import main as cli
from atx_assets.errors import AtxError
from atx_assets.settings import Settings, read_settings
from atx_assets_tests.builders.http_server import Answering, Asked, http_server

log = logging.getLogger("atx_assets.test")
SECRETS = ("t0pic", "t0ken", "us3r", "passw0rd")
NASTY = Alert(
    "labels:2403-9f",
    "atx: labels cannot be learned",
    'Say "<Amélie>" & *co* 🎬 @everyone\n# [x](http://a_b.c/_d_) <@1>\nback\\slash',
)


@dataclass
class Receiver:
    """A server that answers as it is told to, and what it was asked."""

    port: int = 0
    answer: int | str = 200
    location: str = ""
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://us3r:passw0rd@127.0.0.1:{self.port}/t0pic?auth=t0ken"

    @property
    def bodies(self) -> list[str]:
        return [body.decode() for _, _, _, body in self.asked]

    def take(self, request: Asked, answering: Answering) -> None:
        self.asked.append((request.method, request.path, request.headers, request.body))
        match self.answer:
            case "hang":
                self.released.wait(20)
            case "drip":
                while not self.released.wait(0.1):
                    answering.wfile.write(b"x")
            case "garbage":
                answering.wfile.write(b"t0ken is no HTTP\r\n\r\n")
            case int(status):
                answering.send_response(status, "t0ken refused")
                if self.location:
                    answering.send_header("Location", self.location)
                answering.end_headers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    with http_server(found.take) as server:
        found.port = server.port
        yield found
        found.released.set()


@pytest.fixture(autouse=True)
def _a_quick_and_lonely_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(alerts, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(alerts, "_unrecorded", set())


@pytest.fixture
def settings(tmp_path: Path, receiver: Receiver) -> Settings:
    return settings_of(tmp_path, ATX_ALERT_URL=receiver.url)


def settings_of(folder: Path, **values: str) -> Settings:
    return read_settings({"ATX_HOME": str(folder / "home"), **values})


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What was logged; whatever the test did, no secret is in it, nor in a file of the home."""
    caplog.set_level(logging.DEBUG)
    yield lambda: [record.getMessage() for record in caplog.records]
    # Not `caplog.text`, which is empty again after the test.
    records = caplog.get_records("call")
    told = "\n".join(logging.Formatter().format(record) for record in records)
    assert not [secret for secret in SECRETS if secret in told]


@pytest.fixture(autouse=True)
def _no_secret_in_any_file(tmp_path: Path) -> Iterator[None]:
    yield
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert not [s for s in SECRETS if s.encode() in file.read_bytes()], file


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + seconds)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def child_environment(settings: Settings, receiver: Receiver) -> dict[str, str]:
    own = {"ATX_HOME": str(settings.home), "ATX_ALERT_URL": receiver.url, "ATX_ALERT_FORMAT": ""}
    return os.environ | own


def entries(settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((settings.home / "alerts.json").read_text())
    return found


# --- never twice -----------------------------------------------------------------------------


def test_a_cause_is_told_once_at_the_address_and_in_the_log(settings, receiver, said) -> None:
    assert raise_alert(settings, NASTY, log)
    assert not raise_alert(settings, NASTY, log)
    assert raise_alert(settings, Alert("night:1", "atx: the night failed", "x"), log)
    send_pending(settings, log)
    assert len(receiver.asked) == 2
    assert [line.partition(":")[2].split()[0] for line in said()] == ["labels", "the"]


def test_the_log_keeps_an_alert_in_one_line(settings, said) -> None:
    raise_alert(settings, Alert("c", "atx: odd", "A film\nFAIL  everything"), log)
    assert said() == ["atx: odd: A film FAIL  everything".replace("  ", " ")]


def test_what_is_remembered_outlives_the_process_in_a_private_file(settings, receiver) -> None:
    raise_alert(settings, NASTY, log)
    file = settings.home / "alerts.json"
    assert file.stat().st_mode & 0o777 == 0o600
    code = (
        "import logging, sys\n"
        "from atx_assets.alerts.alerts import *\n"
        "from atx_assets.settings import read_settings\n"
        f"sys.exit(raise_alert(read_settings(), Alert({NASTY.cause!r}, 't', 't'), logging.root))"
    )
    environment = child_environment(settings, receiver)
    assert (
        subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0
    )
    assert len(receiver.asked) == 1


def test_processes_that_raise_the_same_causes_at_once_send_each_once(settings, receiver) -> None:
    code = (
        "import logging, sys\n"
        "from atx_assets.alerts.alerts import Alert, raise_alert\n"
        "from atx_assets.settings import read_settings\n"
        "settings = read_settings()\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for n in range(25):\n"
        "    raise_alert(settings, Alert(f'same:{n}', 'atx: t', str(n)), logging.root)\n"
        "    raise_alert(settings, Alert(f'{sys.argv[1]}:{n}', 'atx: t', 'own'), logging.root)\n"
    )
    environment = child_environment(settings, receiver)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, name],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name in "ab"
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert sorted(b for b in receiver.bodies if b != "own") == sorted(str(n) for n in range(25))
    assert receiver.bodies.count("own") == 50
    told = entries(settings)
    assert len(told) == 75
    assert all(entry["told"] for entry in told.values())


def test_an_alert_that_is_being_sent_is_not_sent_by_another(settings, receiver) -> None:
    receiver.answer = "hang"
    sender = threading.Thread(target=raise_alert, args=(settings, NASTY, log))
    sender.start()
    while not receiver.asked:
        time.sleep(0.01)
    send_pending(settings, log)
    receiver.released.set()
    sender.join()
    assert len(receiver.asked) == 1


def test_a_cause_that_was_cleared_is_told_again_and_others_are_not(settings, receiver) -> None:
    labels, night = NASTY, Alert("night:1", "atx: n", "n")
    raise_alert(settings, labels, log)
    raise_alert(settings, night, log)
    clear(settings, "labels:")
    assert raise_alert(settings, labels, log)
    assert not raise_alert(settings, night, log)
    assert len(receiver.asked) == 3


def test_clearing_what_was_never_raised_makes_no_file(settings) -> None:
    clear(settings, "labels:")
    assert not settings.home.exists()


def test_an_alert_that_was_healed_before_it_arrived_is_not_sent(
    settings, receiver, monkeypatch
) -> None:
    receiver.answer = 500
    raise_alert(settings, NASTY, log)
    clear(settings, "labels:")
    receiver.answer = 200
    later(monkeypatch, 400)
    send_pending(settings, log)
    assert len(receiver.asked) == 1


def test_entries_of_more_than_thirty_days_are_forgotten(settings, receiver, monkeypatch) -> None:
    raise_alert(settings, NASTY, log)
    later(monkeypatch, 31 * 86_400)
    raise_alert(settings, Alert("new", "atx: n", "n"), log)
    assert list(entries(settings)) == ["new"]
    assert raise_alert(settings, NASTY, log)
    assert len(receiver.asked) == 3


# --- an address that does not work -----------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (500, "status 500 Internal Server Error"),
        (403, "status 403 Forbidden"),
        (429, "status 429 Too Many Requests"),
        (599, "status 599"),
        ("garbage", "the answer is not HTTP"),
        ("hang", "no answer within 0 s"),
        ("drip", "no answer within 0 s"),
        ("close", "the connection was closed without an answer"),
    ],
)
def test_an_answer_that_is_no_success_is_one_line_and_the_alert_arrives_later_once(
    settings, receiver, said, monkeypatch, answer, reason
) -> None:
    monkeypatch.setattr(web_request, "_TIMEOUT", 0.4)
    receiver.answer = answer
    assert raise_alert(settings, NASTY, log)
    assert said()[1:] == [f"an alert has not arrived and is retried for a day: 127.0.0.1: {reason}"]
    assert not entries(settings)[NASTY.cause]["told"]
    monkeypatch.setattr(web_request, "_TIMEOUT", 10)
    receiver.answer = 204
    receiver.released.set()
    later(monkeypatch, 400)
    for _ in range(3):
        send_pending(settings, log)
    assert len(receiver.asked) == 2
    assert receiver.bodies[1] == receiver.bodies[0]
    assert not raise_alert(settings, NASTY, log)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(settings, receiver, said, status) -> None:
    receiver.answer, receiver.location = status, f"http://localhost:{receiver.port}/elsewhere"
    raise_alert(settings, NASTY, log)
    assert len(receiver.asked) == 1
    assert said()[1].endswith(f"127.0.0.1: status {status}, a redirect, which is not followed")


def test_a_closed_port_breaks_nothing_and_is_not_tried_at_every_tick(
    tmp_path, receiver, said, monkeypatch
) -> None:
    dead = settings_of(tmp_path, ATX_ALERT_URL=f"http://x:passw0rd@127.0.0.1:{closed_port()}/t0pic")
    assert raise_alert(dead, NASTY, log)
    assert said()[1].endswith("127.0.0.1: Connection refused")
    send_pending(dead, log)
    assert len(said()) == 2
    later(monkeypatch, 310)
    send_pending(dead, log)
    send_pending(dead, log)
    assert len(said()) == 3
    alive = settings_of(tmp_path, ATX_ALERT_URL=receiver.url)
    send_pending(alive, log)
    assert receiver.asked == []
    later(monkeypatch, 310)
    for _ in range(3):
        send_pending(alive, log)
    assert len(receiver.asked) == 1


def test_many_pending_alerts_cost_one_try_while_the_address_is_dead(
    settings, receiver, monkeypatch
) -> None:
    receiver.answer = 500
    for n in range(4):
        raise_alert(settings, Alert(f"c:{n}", "atx: t", str(n)), log)
    later(monkeypatch, 310)
    send_pending(settings, log)
    assert len(receiver.asked) == 5
    receiver.answer = 200
    send_pending(settings, log)
    assert receiver.bodies == ["0", "1", "2", "3", "0", "1", "2", "3"]


def test_one_message_that_is_never_taken_does_not_hold_up_the_others(
    settings, receiver, monkeypatch
) -> None:
    receiver.answer = 400
    raise_alert(settings, Alert("a", "atx: t", "bad"), log)
    later(monkeypatch, 10)
    raise_alert(settings, Alert("b", "atx: t", "good"), log)
    later(monkeypatch, 310)
    send_pending(settings, log)
    later(monkeypatch, 310)
    receiver.answer = 200
    send_pending(settings, log)
    assert receiver.bodies == ["bad", "good", "bad", "good", "bad"]


def test_an_alert_is_given_up_after_a_day(settings, receiver, monkeypatch) -> None:
    receiver.answer = 500
    raise_alert(settings, NASTY, log)
    receiver.answer = 200
    later(monkeypatch, 86_401)
    send_pending(settings, log)
    assert len(receiver.asked) == 1


def test_a_clock_that_was_set_back_does_not_hold_an_alert_up(
    settings, receiver, monkeypatch
) -> None:
    receiver.answer = 500
    raise_alert(settings, NASTY, log)
    receiver.answer = 200
    later(monkeypatch, -7200)
    send_pending(settings, log)
    assert len(receiver.asked) == 2


def test_nothing_to_send_takes_no_lock_and_writes_nothing(settings, receiver, monkeypatch) -> None:
    send_pending(settings, log)
    assert not settings.home.exists()
    raise_alert(settings, NASTY, log)
    before = (settings.home / "alerts.json").stat()
    (settings.home / "alerts.lock").unlink()
    later(monkeypatch, 400)
    send_pending(settings, log)
    assert not (settings.home / "alerts.lock").exists()
    assert (settings.home / "alerts.json").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize(
    "url",
    [
        "http://us3r:passw0rd@127.0.0.1:t0ken/x",
        "http://127.0.0.1:99999/t0ken",
        "http://[t0ken/x",
        "http:///t0ken",
        "http://127.0.0.1:1/t0ken-ü",
        "http://us3r:passw0rd@.invalid/t0ken",
        "https://127.0.0.1:1/t0ken",
    ],
)
def test_an_address_that_cannot_be_used_breaks_nothing_and_stays_secret(
    tmp_path, said, url
) -> None:
    settings = settings_of(tmp_path, ATX_ALERT_URL=url, ATX_HEARTBEAT_URL=url)
    assert raise_alert(settings, NASTY, log)
    heartbeat(settings, log)
    assert len(said()) == 3


def test_no_other_failure_of_a_request_is_quoted(settings, said, monkeypatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("http://us3r:passw0rd@127.0.0.1/t0pic")

    monkeypatch.setattr(web_request.urllib.request, "build_opener", fail)
    assert raise_alert(settings, NASTY, log)
    assert said()[1].endswith("127.0.0.1: RuntimeError")


def test_https_that_meets_plain_http_is_a_line_with_the_host_alone(
    tmp_path, receiver, said
) -> None:
    url = receiver.url.replace("http:", "https:")
    raise_alert(settings_of(tmp_path, ATX_ALERT_URL=url), NASTY, log)
    assert "127.0.0.1: " in said()[1]


def test_without_an_address_the_log_is_told_and_nothing_comes_later(
    tmp_path, receiver, said, monkeypatch
) -> None:
    assert raise_alert(settings_of(tmp_path), NASTY, log)
    send_pending(settings_of(tmp_path), log)
    assert len(said()) == 1
    now_set = settings_of(tmp_path, ATX_ALERT_URL=receiver.url)
    later(monkeypatch, 400)
    send_pending(now_set, log)
    assert not raise_alert(now_set, NASTY, log)
    assert receiver.asked == []


# --- the file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"labels:1": {"title": "at',
        b"[]",
        b"\xff\xfe",
        b'{"c": 1}',
        b'{"c": {"title": 1, "text": "", "at": 0, "tried": 0, "told": true}}',
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("act", ["raise", "send", "clear"])
def test_a_damaged_file_is_put_aside_with_a_line(settings, receiver, said, content, act) -> None:
    file = settings.home / "alerts.json"
    settings.home.mkdir()
    file.write_bytes(content)
    match act:
        case "raise":
            assert raise_alert(settings, NASTY, log)
            assert len(receiver.asked) == 1
            assert list(entries(settings)) == [NASTY.cause]
        case "send":
            send_pending(settings, log)
        case "clear":
            clear(settings, "labels:")
    assert file.with_name("alerts.json.damaged").read_bytes() == content
    assert said()[0] == f"{file} is damaged and was moved to alerts.json.damaged"


def test_a_write_that_fails_leaves_the_file_as_it_was(settings, said, monkeypatch) -> None:
    raise_alert(settings, NASTY, log)
    before = (settings.home / "alerts.json").read_bytes()
    fill_disk(monkeypatch)
    raise_alert(settings, Alert("new", "atx: n", "n"), log)
    assert (settings.home / "alerts.json").read_bytes() == before
    assert sorted(f.name for f in settings.home.iterdir()) == ["alerts.json", "alerts.lock"]


def test_a_full_disk_is_told_once_and_not_at_every_tick(
    settings, receiver, said, monkeypatch
) -> None:
    fill_disk(monkeypatch)
    assert raise_alert(settings, NASTY, log)
    assert not raise_alert(settings, NASTY, log)
    send_pending(settings, log)
    assert len(receiver.asked) == 1
    assert said()[0].endswith("alerts.json (No space left on device)")
    assert len(said()) == 2
    clear(settings, "labels:")
    assert raise_alert(settings, NASTY, log)


def test_a_disk_that_fills_while_an_alert_is_sent_does_not_send_it_again(
    settings, receiver, monkeypatch
) -> None:
    real = alerts.send

    with monkeypatch.context() as disk:

        def send_and_fill(*arguments: Any) -> None:
            real(*arguments)
            fill_disk(disk)

        disk.setattr(alerts, "send", send_and_fill)
        raise_alert(settings, NASTY, log)
    assert not entries(settings)[NASTY.cause]["told"]
    later(monkeypatch, 400)
    send_pending(settings, log)
    assert len(receiver.asked) == 1


def test_a_holder_of_the_lock_that_hangs_does_not_hang_the_others(
    settings, receiver, said, monkeypatch
) -> None:
    monkeypatch.setattr(alert_file, "_LOCK_SECONDS", 0.1)
    with AlertFile(settings.home).changing(log):
        assert raise_alert(settings, NASTY, log)
    assert len(receiver.asked) == 1
    assert "another process has locked it for too long" in said()[0]


def test_a_lock_that_another_process_holds_for_a_moment_is_waited_for(settings, said) -> None:
    holder = AlertFile(settings.home).changing(log)
    holder.__enter__()
    threading.Timer(0.1, holder.__exit__, (None, None, None)).start()
    raise_alert(settings, NASTY, log)
    assert list(entries(settings)) == [NASTY.cause]
    assert not any("another process" in line for line in said())


def test_what_takes_the_place_of_the_file_is_on_the_disk_whole(settings, monkeypatch) -> None:
    """Kept out: an empty file after the power failed, and every alert told anew."""
    synced, fsync = [], os.fsync

    def noting(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", noting)
    raise_alert(settings, NASTY, log)
    assert 0 not in synced
    assert synced[-1] == (settings.home / "alerts.json").stat().st_size


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)


# --- what a message looks like ---------------------------------------------------------------


def sent(receiver: Receiver, folder: Path, form: str, alert: Alert) -> tuple[dict[str, str], bytes]:
    settings = settings_of(folder, ATX_ALERT_URL=receiver.url, ATX_ALERT_FORMAT=form)
    assert raise_alert(settings, alert, log)
    method, path, headers, body = receiver.asked[-1]
    assert (method, path, headers["user-agent"]) == ("POST", "/t0pic?auth=t0ken", "atx")
    assert headers["authorization"] == "Basic dXMzcjpwYXNzdzByZA=="
    assert headers["host"] == f"127.0.0.1:{receiver.port}"
    return headers, body


def test_ntfy_gets_the_text_as_it_is_under_a_title(receiver, tmp_path) -> None:
    headers, body = sent(receiver, tmp_path, "ntfy", NASTY)
    assert body == NASTY.text.encode()
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["title"] == "atx: labels cannot be learned"
    assert (headers["priority"], headers["tags"]) == ("high", "warning")


def test_a_title_begins_no_other_header(receiver, tmp_path) -> None:
    title = "atx: A\r\nX-Evil: 1\n🎬\x00\x1b\x85B"
    headers, _ = sent(receiver, tmp_path, "ntfy", Alert("c", title, "t"))
    assert headers["title"] == "atx: A X-Evil: 1 ??? B"
    assert "x-evil" not in headers


def test_ntfy_makes_no_attachment_of_a_long_text_nor_a_word_of_its_own_of_none(
    receiver, tmp_path
) -> None:
    _, body = sent(receiver, tmp_path, "ntfy", Alert("long", "t", "🎬" * 5000))
    assert len(body) == 4095
    assert body.decode() == "🎬" * 1023 + "…"
    _, body = sent(receiver, tmp_path, "ntfy", Alert("just", "t", "x" * 4096))
    assert body == b"x" * 4096
    _, body = sent(receiver, tmp_path, "ntfy", Alert("none", "atx: the title", ""))
    assert body == b"atx: the title"


def test_slack_gets_its_three_signs_escaped_and_the_title_in_bold(receiver, tmp_path) -> None:
    headers, body = sent(receiver, tmp_path, "slack", NASTY)
    assert headers["content-type"] == "application/json"
    assert (
        body
        == (
            '{"text": "*atx: labels cannot be learned*\\nSay \\"&lt;Amélie&gt;\\" &amp; *co* 🎬 '
            '@everyone\\n# [x](http://a_b.c/_d_) &lt;@1&gt;\\nback\\\\slash"}'
        ).encode()
    )


def test_slack_is_sent_no_torn_escape(receiver, tmp_path) -> None:
    _, body = sent(receiver, tmp_path, "slack", Alert("c", "<!channel>\n", "&" * 9000))
    assert json.loads(body) == {"text": "*&lt;!channel&gt;*\n" + "&amp;" * 2999 + "…"}


def test_discord_pings_nobody_and_shows_markdown_as_it_stands(receiver, tmp_path) -> None:
    headers, body = sent(receiver, tmp_path, "discord", NASTY)
    assert headers["content-type"] == "application/json"
    assert (
        body
        == (
            '{"content": "**atx: labels cannot be learned**\\nSay \\"\\\\<Amélie>\\" & '
            "\\\\*co\\\\* 🎬 @everyone\\n"
            '\\\\# \\\\[x](http://a_b.c/_d_) \\\\<@1>\\nback\\\\\\\\slash", '
            '"allowed_mentions": {"parse": []}}'
        ).encode()
    )


@pytest.mark.parametrize("text", ["x" * 5000, "🎬" * 5000, "*" * 5000, "\\" * 5000])
def test_discord_is_sent_at_most_two_thousand_characters(receiver, tmp_path, text) -> None:
    _, body = sent(receiver, tmp_path, "discord", Alert("c", "atx: long", text))
    content = json.loads(body)["content"]
    assert 1990 < len(content.encode("utf-16-le")) // 2 <= 2000 or text[0] == "\\"
    assert content.startswith("**atx: long**\n")
    assert content.endswith("…")
    assert not content.endswith("\\…")


def test_json_gets_all_there_is(receiver, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_714_567_890.9)
    headers, body = sent(receiver, tmp_path, "json", NASTY)
    assert headers["content-type"] == "application/json"
    assert (
        body
        == (
            '{"title": "atx: labels cannot be learned", "text": "Say \\"<Amélie>\\" & *co* 🎬 '
            '@everyone\\n# [x](http://a_b.c/_d_) <@1>\\nback\\\\slash", "cause": "labels:2403-9f", '
            '"at": "2024-05-01T12:51:30+00:00"}'
        ).encode()
    )


@pytest.mark.parametrize("form", ["ntfy", "slack", "discord", "json"])
def test_half_a_character_breaks_no_message(receiver, tmp_path, form) -> None:
    _, body = sent(receiver, tmp_path, form, Alert("c\ud83d", "t\ud83d", "x\ud83d"))
    assert "x?" in body.decode()


def test_a_long_text_is_cut_in_the_file_too(settings) -> None:
    raise_alert(settings, Alert("c", "t" * 1000, "x" * 1_000_000), log)
    assert (settings.home / "alerts.json").stat().st_size < 30_000


# --- the heartbeat ---------------------------------------------------------------------------


def test_the_heartbeat_is_one_get(tmp_path, receiver, said) -> None:
    heartbeat(settings_of(tmp_path, ATX_HEARTBEAT_URL=receiver.url), log)
    [(method, path, headers, body)] = receiver.asked
    assert (method, path, body) == ("GET", "/t0pic?auth=t0ken", b"")
    assert headers["user-agent"] == "atx"
    assert said() == []


@pytest.mark.parametrize("answer", [500, "garbage", "hang", 302])
def test_the_heartbeat_is_tried_twice_and_breaks_nothing(
    tmp_path, receiver, said, monkeypatch, answer
) -> None:
    monkeypatch.setattr(web_request, "_TIMEOUT", 0.4)
    receiver.answer, receiver.location = answer, "http://localhost/" if answer == 302 else ""
    heartbeat(settings_of(tmp_path, ATX_HEARTBEAT_URL=receiver.url), log)
    assert len(receiver.asked) == 2
    [line] = said()
    assert line.startswith("the heartbeat was not delivered: 127.0.0.1: ")


def test_without_an_address_there_is_no_heartbeat(tmp_path, receiver, said) -> None:
    heartbeat(settings_of(tmp_path, ATX_ALERT_URL=receiver.url), log)
    assert receiver.asked == []
    assert said() == []


# --- atx doctor ------------------------------------------------------------------------------


@pytest.fixture
def doctor_line(tmp_path, monkeypatch, capsys) -> Callable[..., tuple[str, str]]:
    """Run `atx doctor` without any server; it returns the line on alerts, and all it printed."""
    for name in ("PG_HOST", "MLFLOW_HOST"):
        monkeypatch.setenv(name, "127.0.0.1")
    for name in ("PG_PORT", "MLFLOW_PORT"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://x@127.0.0.1:1/dagster")
    for name in ("ATX_ALERT_FORMAT", "ATX_HEARTBEAT_URL"):
        monkeypatch.setenv(name, "")

    def run(*words: str, url: str) -> tuple[str, str]:
        for name, value in {
            "ATX_HOME": str(tmp_path / "home"),
            "ATX_DATA_DIR": str(tmp_path / "data"),
            "ATX_ALERT_URL": url,
        }.items():
            monkeypatch.setenv(name, value)
        assert cli.main(["doctor", *words]) == 1
        told = capsys.readouterr()
        [line] = [line for line in told.out.splitlines() if " alerts: " in line]
        return line, told.out + told.err

    return run


def test_doctor_says_where_alerts_go(doctor_line, receiver) -> None:
    line, _ = doctor_line(url="")
    assert line == "ok    alerts: only to the log; set ATX_ALERT_URL to have them sent to you"
    line, told = doctor_line(url="https://us3r:passw0rd@ntfy.sh/t0pic")
    assert line == "ok    alerts: to ntfy.sh as ntfy"
    assert not [secret for secret in SECRETS if secret in told]
    line, _ = doctor_line(url="https:///t0pic")
    assert line.startswith("FAIL  alerts: the address has no host: check ATX_ALERT_URL")


def test_doctor_sends_a_test_message_each_time_it_is_asked(doctor_line, receiver) -> None:
    doctor_line(url=receiver.url)
    assert receiver.asked == []
    for _ in range(2):
        line, _ = doctor_line("--send-test-alert", url=receiver.url)
        assert line == "ok    alerts: to 127.0.0.1 as ntfy; a test message was sent"
    assert receiver.bodies == ["Alerts of atx arrive here."] * 2


def test_doctor_names_why_a_test_message_did_not_arrive(doctor_line, receiver) -> None:
    receiver.answer = 403
    line, told = doctor_line("--verbose", "--send-test-alert", url=receiver.url)
    assert line == (
        "FAIL  alerts: 127.0.0.1: status 403 Forbidden: check ATX_ALERT_URL and ATX_ALERT_FORMAT"
    )
    assert not [secret for secret in SECRETS if secret in told]
    line, _ = doctor_line("--send-test-alert", url="")
    assert line == "FAIL  alerts: no test message can be sent: set ATX_ALERT_URL"


def test_a_message_that_cannot_be_sent_is_an_error_without_the_address(tmp_path) -> None:
    url = f"http://us3r:passw0rd@127.0.0.1:{closed_port()}/t0pic"
    with pytest.raises(AtxError) as failure:
        alerts.send(settings_of(tmp_path, ATX_ALERT_URL=url), NASTY)
    assert str(failure.value) == "127.0.0.1: Connection refused"
    assert failure.value.__cause__ is failure.value.__context__ is None


@hypothesis_settings(max_examples=150, deadline=None)
@given(title=st.text(), text=st.text() | st.text(min_size=1).map(lambda t: t * 3000))
def test_whatever_is_told_is_one_bounded_message(title, text) -> None:
    for form, made in FORMATS.items():
        headers, body = made(Alert("c", title, text), 0.0)
        for name, value in headers.items():
            assert re.fullmatch("[ -~]*", name + value), (form, name)
        body.decode()
        if form == "ntfy":
            assert len(body) <= 4096
            continue
        told = json.loads(body)
        if form == "discord":
            assert len(told["content"].encode("utf-16-le")) <= 4000
            assert told["allowed_mentions"] == {"parse": []}
        if form == "slack":
            assert "<" not in told["text"]
