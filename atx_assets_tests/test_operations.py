"""What `docs/operations.md` promises: a row for each alert, and unit files that systemd takes."""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest

from atx_assets.alerts.messages import Alert
from atx_assets.automation.failures import _with_fix, refusal
from atx_assets.definitions import build_defs
from atx_assets.settings import ROOT
from atx_assets_tests.builders.environment import require

TEXT = (ROOT / "docs" / "operations.md").read_text()


def titles() -> set[str]:
    """Every title of an alert that stands in the code."""
    found = set()
    for path in (ROOT / "atx_assets" / "automation").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.update(re.findall(r"\Aatx: [a-z ]+\Z", node.value))
    return found


def test_each_alert_has_a_row_that_its_last_line_leads_to() -> None:
    assert len(titles()) >= 4
    for title in titles():
        line = _with_fix(Alert("x", title, "why")).text.splitlines()[-1]
        place = re.fullmatch(r"What to do: docs/operations\.md#([a-z-]+)", line)
        assert place, line
        row = f'| <a id="{place[1]}"></a>**{title.removeprefix("atx: ")}** |'
        assert row in TEXT, f"docs/operations.md has no row {row}"
    assert refusal("gone").text == "gone\nWhat to do: docs/operations.md#labels-are-gone"


def test_each_check_that_can_stop_the_graph_is_explained() -> None:
    rows = "".join(line for line in TEXT.splitlines() if line.startswith("| … "))
    blocking = [
        spec.name
        for checks in build_defs().asset_checks or []
        for spec in checks.check_specs
        if spec.blocking
    ]
    assert len(blocking) >= 5
    for name in blocking:
        assert f"`{name}`" in rows, name


def test_the_rows_of_alerts_say_four_things_each() -> None:
    section = TEXT.partition("## When an alert comes")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert len(rows) > 8
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 4, row
        assert all(cells), row


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        name, _, anchor = target.partition("#")
        path = ROOT / "docs" / (name or "operations.md")
        assert path.exists(), target
        headings = re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {h.lower().replace(" ", "-") for h in headings}, target


@pytest.mark.parametrize("unit", ["atx.service", "atx-backup.service", "atx-backup.timer"])
def test_systemd_takes_the_unit_as_it_stands(unit: str, tmp_path: Path) -> None:
    require("systemd-analyze")
    program = tmp_path / "atx" / ".venv" / "bin" / "atx"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for path in (ROOT / "docs").glob("atx*.*"):
        filled = path.read_text().replace("%h", str(tmp_path))
        (tmp_path / path.name).write_text(filled)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(tmp_path / unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # It warns of a key that it does not know, and succeeds all the same.
    assert unit not in done.stderr, done.stderr
