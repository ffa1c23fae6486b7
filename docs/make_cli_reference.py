"""Makes `cli.md`: the help of every command, as a terminal of 80 columns shows it.

    python docs/make_cli_reference.py

Not here: what a command says of itself (`atx_assets/cli/`).
"""

from collections.abc import Iterator
from pathlib import Path

import click

from atx_assets.cli.main import cli

PAGE = Path(__file__).with_name("cli.md")
COMMAND = "python docs/make_cli_reference.py"
#: click leaves two columns of a terminal free.
WIDTH = 80 - 2

HEAD = f"""# The program `atx`

Every command with its help, as `atx COMMAND --help` prints it. This page is made from the program
by `{COMMAND}`: do not edit it by hand. `atx` is in `.venv/bin`.

Every command takes `--verbose`, before or after its name. A command exits with status 0 only if
all went well, with 2 if the command line is wrong, and with 1 after any other failure. After Ctrl-C
or a signal, the status is 128 and the signal's number. A failure is one line on standard error; a
wrong command line also shows the usage.
"""


def commands(
    command: click.Command, name: str = "atx", parent: click.Context | None = None
) -> Iterator[click.Context]:
    """Yield the context of a command and of all beneath it, in the order of their help."""
    context = click.Context(
        command, parent, name, terminal_width=WIDTH, **(command.context_settings)
    )
    yield context
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found and not found.hidden:
                yield from commands(found, below, context)


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    for context in commands(cli):
        level = 2 if context.parent is None or context.parent.parent is None else 3
        title = f"{'#' * level} {context.command_path}"
        parts.append(f"{title}\n\n```text\n{context.get_help()}\n```\n")
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
