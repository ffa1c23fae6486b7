"""`atx start`. Not here: starting the servers (`home/home.py`)."""

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.pass_obj
def start(invocation: Invocation) -> None:
    """Start the embedded servers and leave them running until `atx stop`."""
    from atx_assets.home.home import start_servers

    settings = start_servers(invocation.settings)
    click.echo(f"media: {settings.database}")
    click.echo('for other programs: eval "$(atx env)"')
