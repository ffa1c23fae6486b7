"""`atx doctor`. Not here: the checks (`commands/doctor/doctor.py`)."""

import click

from atx_assets.cli.invocation import Invocation


@click.command()
@click.option("--send-test-alert", is_flag=True, help="Send a test message to ATX_ALERT_URL.")
@click.option(
    "--deep",
    is_flag=True,
    help="Also make and delete an MLflow run and an artifact. This takes seconds.",
)
@click.pass_obj
def doctor(invocation: Invocation, send_test_alert: bool, deep: bool) -> None:
    """Check each connection, permission and setting: one line each, with the fix."""
    from atx_assets.commands.doctor.doctor import doctor as run_doctor

    run_doctor(
        invocation.settings,
        click.echo,
        send_test_alert=send_test_alert,
        deep=deep,
        ignored=invocation.ignored,
    )
