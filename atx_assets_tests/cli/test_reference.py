"""`docs/cli.md`: the reference is what the program says of itself."""

import pytest

from atx_assets.cli.main import cli, main
from docs.make_cli_reference import COMMAND, PAGE, commands, page


def test_the_reference_is_what_the_program_says() -> None:
    assert PAGE.read_text() == page(), f"docs/cli.md is out of date: run {COMMAND}"


@pytest.mark.parametrize("words", [(), ("run",), ("correct", "keep"), ("show", "errors")])
def test_the_reference_shows_what_a_terminal_of_80_columns_does(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*words, "--help"]) == 0
    shown = capsys.readouterr().out
    path = " ".join(("atx", *words))
    assert f" {path}\n\n```text\n{shown}```\n" in PAGE.read_text()


def test_the_reference_has_nested_commands_too() -> None:
    paths = {context.command_path for context in commands(cli)}
    assert {"atx", "atx up", "atx correct undo", "atx show quarantine"} <= paths
    headings = {line.lstrip("# ") for line in PAGE.read_text().splitlines() if line[:2] == "##"}
    assert headings == paths
