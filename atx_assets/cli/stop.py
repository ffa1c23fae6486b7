"""`atx stop`. Not here: stopping the servers (`home/home.py`)."""

import click


@click.command()
def stop() -> None:
    """Stop the embedded servers that `atx start` left running."""
    from atx_assets.home.home import stop_servers
    from atx_assets.settings import read_settings

    settings = read_settings()
    if stop_servers(settings):
        click.echo("stopped")
    else:
        click.echo(f"another atx is using {settings.home}: the server stops when that ends")
