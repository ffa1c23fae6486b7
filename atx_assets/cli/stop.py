"""`atx stop`. Not here: stopping the servers (`home/home.py`)."""

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.pass_obj
def stop(invocation: Invocation) -> None:
    """Stop the embedded servers that `atx start` left running."""
    from atx_assets.home.home import stop_servers

    settings = invocation.settings
    if stop_servers(settings):
        click.echo("stopped")
    else:
        click.echo(f"another atx is using {settings.home}: the server stops when that one ends")
