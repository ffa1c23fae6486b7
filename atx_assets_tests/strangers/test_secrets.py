"""Secrets appear nowhere, in whatever form, whether all goes well or nothing does."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def test_dump(house: Any, leak: Any) -> None:
    for what, (status, told) in house.said.items():
        print("==", what, status, told[-600:])
    bad = []
    for what, (status, told) in house.said.items():
        if leak(told): bad.append(("said", what, leak(told)))
    for name, content in house.files():
        if leak(content): bad.append(("file", name, leak(content)))
        if content[:1] == b"\x80" and content[1:2] in b"\2\3\4\5": bad.append(("pickle", name))
    for name, values in house.tables.items():
        for v in values:
            if leak(v): bad.append(("table", name, leak(v)))
    for c in house.commands:
        if leak(c): bad.append(("cmd", c))
    for n, (s, b) in house.answers.items():
        print(n, s, b[:300])
        if leak(b): bad.append(("answer", n, leak(b)))
    if leak(house.server_log): bad.append(("log", leak(house.server_log)))
    print(sorted(house.listening))
    for name, c in house.files(): print(name, len(c))
    for b in bad: print("LEAK", b)
    assert 0
