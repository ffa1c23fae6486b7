"""`docs/cli.md`: the reference is what the program says of itself."""

import re

import pytest

from atx_assets.cli.main import cli, main
from atx_assets.settings import ROOT
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


def test_each_command_and_option_that_a_page_names_is_there() -> None:
    """Kept out: a page that says how to use what was renamed."""
    pages = {*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")} - {ROOT / "CHANGELOG.md"}
    named = [(page.name, line) for page in pages for line in lines_of_atx(page.read_text())]
    assert len(named) > 100
    assert [(page, line) for page, line in named if not is_known(line)] == []


@pytest.mark.parametrize(
    "line",
    ["atx bogus", "atx correct bogus 1", "atx show errors|bogus", "atx run --bogus"],
)
def test_a_command_or_option_that_is_not_there_would_be_found(line: str) -> None:
    assert not is_known(line)


OPTIONS = {
    context.command_path: {"--help", "--verbose"}.union(*(p.opts for p in context.command.params))
    for context in commands(cli)
}
GROUPS = {path.rpartition(" ")[0] for path in OPTIONS}


def lines_of_atx(text: str) -> list[str]:
    """What a page shows in code that begins with `atx`, or with its path."""
    program = r"(?:[\w~./-]*/)?(atx(?: [^`#\n]*)?)"
    blocks = "\n".join(re.findall(r"(?ms)^```bash\n(.*?)^```$", text))
    lines = re.findall(f"`{program}`", text) + re.findall(rf"(?m)^{program}", blocks)
    return [line.replace("\\|", "|") for line in lines]


def is_known(line: str) -> bool:
    """Whether a line names a command, or several (`keep|skip`), and options of its own."""
    words = re.findall(r"[^\s\[\]]+", re.split(r" (?:&&|\|) ", line)[0])
    paths = [words.pop(0)]
    while words and words[0].islower() and words[0][0] != "-" and GROUPS.issuperset(paths):
        paths = [f"{path} {name}" for path in paths for name in words[0].split("|")]
        words.pop(0)
    flags = {flag for word in words for flag in re.findall(r"(?:^|\|)(--?[a-z][a-z-]*)", word)}
    return all(path in OPTIONS and flags <= OPTIONS[path] for path in paths)
