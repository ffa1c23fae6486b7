"""`atx demo`. Not here: the demo (`commands/demo.py`)."""

import click

from atx_assets.cli.invocation import Invocation
from atx_assets.cli.options import JSON_OUTCOME, QUIET, output


@click.command()
@QUIET
@JSON_OUTCOME
@click.pass_obj
def demo(invocation: Invocation, quiet: bool, json_: bool) -> None:
    """Run everything on the sample library, with the embedded servers."""
    printed = output(quiet, json_)
    from atx_assets.commands.demo import demo as run_demo
    from atx_assets.commands.run import telling

    with telling(printed) as run_output:
        run_demo(invocation.settings, run_output)
