"""`atx env`: prints exports for a shell. Not here: what is exported (`home/home.py`)."""

import shlex
import sys

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.pass_obj
def env(invocation: Invocation) -> None:
    """Print the exports that let `dagster dev` and other programs reach the same servers.

    They include passwords, except on a terminal, where others could see them.
    """
    from atx_assets.home.home import exports, running_home, secret_exports

    settings = running_home(invocation.settings)
    secret, shown = secret_exports(settings), sys.stdout.isatty()
    if secret and not shown:
        warning = "atx: these lines hold passwords: of " + " and ".join(secret.values())
        click.echo(warning, err=True)
    for name, value in exports(settings).items():
        if name in secret and shown:
            click.echo(f'# {name} holds a password: eval "$(atx env)" sets it')
        else:
            click.echo(f"export {name}={shlex.quote(value)}")
