"""What an alert looks like to each receiver: the body and headers of its message.

Not here: sending it (`web_request.py`), and whether it is sent (`alerts.py`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any


@dataclass(frozen=True)
class Alert:
    """One alert: `cause` is reported once, under a short constant ASCII `title`."""

    cause: str
    title: str
    text: str


def _ntfy(alert: Alert, at: float) -> tuple[dict[str, str], bytes]:
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        # Without line breaks, which would start another header, and without non-ASCII characters.
        "Title": re.sub(r"[^ -~]", "?", in_one_line(alert.title)),
        "Priority": "high",
        "Tags": "warning",
    }
    # ntfy turns more than 4,096 bytes into an attachment, and an empty text into "triggered".
    return headers, cut(alert.text or alert.title, 4096, "utf-8").encode()


def _slack(alert: Alert, at: float) -> tuple[dict[str, str], bytes]:
    # Cut before escaping, so that no `&amp;` is torn. Slack splits beyond 4,000 characters.
    title, text = (
        _slack_escaped(t) for t in (in_one_line(alert.title), cut(alert.text, 6000, "utf-16-le"))
    )
    return _json({"text": f"*{title}*\n{text}"})


def _slack_escaped(text: str) -> str:
    # https://docs.slack.dev/messaging/formatting-message-text: these three, and no others. With
    # it `<!channel>` calls nobody.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _discord(alert: Alert, at: float) -> tuple[dict[str, str], bytes]:
    content = f"**{_discord_escaped(in_one_line(alert.title))}**\n{_discord_escaped(alert.text)}"
    # At most 2,000 characters, counted in UTF-16, which never counts fewer.
    content = cut(content, 4000, "utf-16-le")
    # A film called "@everyone" must not call everyone.
    return _json({"content": content, "allowed_mentions": {"parse": []}})


def _discord_escaped(text: str) -> str:
    """Escape Markdown, but not in links, which a backslash would break."""
    words = re.split(r"(https?://[^\s<>]+)", text)
    words[::2] = [re.sub(r"(?m)[\\`*_~|\[<]|^[>#+-]", r"\\\g<0>", w) for w in words[::2]]
    return "".join(words)


def _plain_json(alert: Alert, at: float) -> tuple[dict[str, str], bytes]:
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
    return _json({"title": alert.title, "text": alert.text, "cause": alert.cause, "at": when})


#: By `ATX_ALERT_FORMAT`: from an alert and its time (seconds since 1970) to headers and body.
FORMATS: dict[str, Callable[[Alert, float], tuple[dict[str, str], bytes]]] = {
    "ntfy": _ntfy,
    "slack": _slack,
    "discord": _discord,
    "json": _plain_json,
}


def _json(values: dict[str, Any]) -> tuple[dict[str, str], bytes]:
    body = json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")
    return {"Content-Type": "application/json"}, body


def in_one_line(text: str) -> str:
    """Return the text with each run of blanks and line breaks replaced by one blank."""
    return " ".join(text.split())


def cut(text: str, size: int, encoding: str) -> str:
    """Cut a text to `size` bytes of an encoding, after a whole character, and mark the cut."""
    # A lone surrogate, which UTF-8 cannot encode, becomes a question mark.
    whole = text.encode(encoding, "replace")
    if len(whole) > size:
        room = size - len("…".encode(encoding))
        return whole[:room].decode(encoding, "ignore").rstrip("\\") + "…"
    return whole.decode(encoding)
