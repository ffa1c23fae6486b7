"""`atx start`. Not here: starting the servers (`home/home.py`)."""

import click


@click.command()
def start() -> None:
    """Start the embedded servers and leave them running until `atx stop`."""
    from atx_assets.home.home import start_servers
    from atx_assets.settings import read_settings

    settings = start_servers(read_settings())
    click.echo(f"media: {settings.database}")
    click.echo('for other programs: eval "$(atx env)"')
