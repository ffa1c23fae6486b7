"""The program `atx`: its commands, and what a failure looks like. Not here: what a command does.

A command is a function below that imports what it needs when it runs (`atx --help` stays
quick) and calls one function of a module beside this file. Failures are raised, not printed:
`main` makes the one line and the exit status of them.
"""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal, NoReturn

import click

from atx_assets.errors import AtxError

if TYPE_CHECKING:
    from atx_assets.local.display import Output


class _ToStandardError(logging.Handler):
    """Logs to standard error as it is then: above what moves on a terminal."""

    def emit(self, record: logging.LogRecord) -> None:
        click.echo(self.format(record), err=True)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--verbose", is_flag=True, help="Show details, and the traceback of a failure.")
def cli(verbose: bool) -> None:
    """Learn one person's taste from the titles they labelled."""
    handler = _ToStandardError()
    handler.setFormatter(logging.Formatter("atx: %(message)s"))
    logger = logging.getLogger("atx_assets")
    logger.handlers = [handler]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


@cli.command()
def start() -> None:
    """Start the embedded servers and leave them running until `atx stop`."""
    from atx_assets.local.home import start_servers
    from atx_assets.settings import read_settings

    settings = start_servers(read_settings())
    click.echo(f"media: {settings.database}")
    click.echo('for other programs: eval "$(atx env)"')


@cli.command()
def stop() -> None:
    """Stop the embedded servers that `atx start` has left running."""
    from atx_assets.local.home import stop_servers
    from atx_assets.settings import read_settings

    settings = read_settings()
    if stop_servers(settings):
        click.echo("stopped")
    else:
        click.echo(f"another atx is using {settings.home}: the server stops when that ends")


@cli.command()
def env() -> None:
    """Print the exports with which `dagster dev` and other programs reach the same servers.

    Passwords are in them, unless they go to a terminal, where others see them.
    """
    import shlex

    from atx_assets.local.home import exports, running_home, secret_exports
    from atx_assets.settings import read_settings

    settings = running_home(read_settings())
    secret, shown = secret_exports(settings), sys.stdout.isatty()
    if secret and not shown:
        told = "atx: these lines hold passwords: of " + " and ".join(secret.values())
        click.echo(told, err=True)
    for name, value in exports(settings).items():
        if name in secret and shown:
            click.echo(f'# {name} holds a password: eval "$(atx env)" sets it')
        else:
            click.echo(f"export {name}={shlex.quote(value)}")


@cli.command()
def up() -> None:
    """Open the Dagster UI with its daemon, and MLflow, until Ctrl-C."""
    from atx_assets.local.up import up as run_up
    from atx_assets.settings import read_settings

    run_up(read_settings(), click.echo)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--beside-other-tables",
    is_flag=True,
    help="Make atp's tables even in a database that holds tables atx does not know.",
)
def load(file: Path, beside_other_tables: bool) -> None:
    """Put a parquet export of either layout into the database."""
    from atx_assets.local.load import load as load_export
    from atx_assets.settings import read_settings

    load_export(read_settings(), file, click.echo, beside_other_tables=beside_other_tables)


_QUIET = click.option("--quiet", is_flag=True, help="Print nothing but warnings and failures.")
_JSON_OUTCOME = click.option(
    "--json",
    "json_",
    is_flag=True,
    help="Print one JSON object at the end; progress on standard error.",
)


@cli.command()
@click.option(
    "--job",
    type=click.Choice(["full_rebuild", "refresh", "score"]),
    help="All, which is the default; all but the hyperparameter search; or scoring alone.",
)
@click.option(
    "--select",
    metavar="ASSETS",
    help="Assets instead of a job, as Dagster selects them: 'key:scored_results+'.",
)
@click.option("--figures", is_flag=True, help="Print all that was measured at the end.")
@_QUIET
@_JSON_OUTCOME
def run(job: str | None, select: str | None, figures: bool, quiet: bool, json_: bool) -> None:
    """Materialise the assets without the UI, and tell what was found."""
    if select and job:
        raise click.UsageError("name a --job or --select assets, not both")
    output = _output(quiet, json_)
    if figures and (quiet or json_):
        raise click.UsageError("--figures is more to read: leave out --quiet and --json")
    from atx_assets.local.run import run as run_assets
    from atx_assets.local.run import telling
    from atx_assets.settings import read_settings

    with telling(output) as told:
        run_assets(read_settings(), told, job=job or "", select=select or "", figures=figures)


def _output(quiet: bool, json_: bool) -> "Output":
    from atx_assets.local.display import Output

    if quiet and json_:
        raise click.UsageError("ask for --quiet or --json, not both")
    if quiet or json_:
        logging.getLogger("atx_assets").setLevel(logging.WARNING)
    return Output.QUIET if quiet else Output.JSON if json_ else Output.SHOWN


@cli.group()
def correct() -> None:
    """Correct labels in the database, or undo that; a preview, unless --write is given."""


_WRITE = "Write it; without, it is only shown."


@correct.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--write", is_flag=True, help=_WRITE)
def keep(ids: tuple[str, ...], write: bool) -> None:
    """Say that films are keeps; a downloader may then fetch them.

    An ID is an IMDb id or the hash of a release; - reads them from standard input.
    """
    _correct(ids, "keep", write)


@correct.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--write", is_flag=True, help=_WRITE)
def skip(ids: tuple[str, ...], write: bool) -> None:
    """Say that films are skips.

    An ID is an IMDb id or the hash of a release; - reads them from standard input.
    """
    _correct(ids, "skip", write)


def _correct(ids: tuple[str, ...], verdict: Literal["keep", "skip"], write: bool) -> None:
    from atx_assets.local.correct import correct as correct_labels
    from atx_assets.local.correct import given_ids
    from atx_assets.settings import read_settings

    found = given_ids(ids, sys.stdin)
    correct_labels(read_settings(), found, verdict, click.echo, write=write)


@correct.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--write", is_flag=True, help=_WRITE)
def undo(number: int, write: bool) -> None:
    """Undo the correction of that NUMBER, but for rows that have changed since."""
    from atx_assets.local.correct import undo as undo_correction
    from atx_assets.settings import read_settings

    undo_correction(read_settings(), number, click.echo, write=write)


@correct.command("list")
def list_() -> None:
    """List the corrections recorded in this home, the newest first."""
    from atx_assets.local.correct import list_corrections
    from atx_assets.settings import read_settings

    list_corrections(read_settings(), click.echo)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def score(file: Path | None) -> None:
    """Ask the champion about titles: JSON in, from FILE or standard input, and JSON out.

    A title is an object with the columns of your table that are known of it: {"imdb_id":
    "tt0133093", "release_year": 1999, "genre": ["Action", "Sci-Fi"]}; many are a list.
    """
    from atx_assets.local.score import read_given
    from atx_assets.local.score import score as score_titles
    from atx_assets.settings import read_settings

    click.echo(score_titles(read_settings(), read_given(file, sys.stdin)))


@cli.group()
def show() -> None:
    """Print a list: the mistakes, what to judge next, what to watch, what is set aside."""


_GENRE = click.option(
    "--genre", "genres", multiple=True, help="Films of this genre alone; of any, if repeated."
)
_LIMIT = click.option(
    "--limit", type=click.IntRange(1), help="How many to print: 20, with --json all."
)
_JSON = click.option("--json", "json_", is_flag=True, help="Print the records as JSON.")


@show.command("errors")
@click.option(
    "--kind",
    type=click.Choice(["fp", "fn"]),
    help="False positives or false negatives alone: predicted keep, labelled skip; or vice versa.",
)
@_GENRE
@_LIMIT
@_JSON
def errors(kind: str | None, genres: tuple[str, ...], limit: int | None, json_: bool) -> None:
    """The films that the model gets wrong, the surest mistake first."""
    from atx_assets.local.show import show_errors
    from atx_assets.settings import read_settings

    show_errors(read_settings(), click.echo, kind=kind, genres=genres, limit=limit, as_json=json_)


@show.command("queue")
@_GENRE
@_LIMIT
@_JSON
def queue(genres: tuple[str, ...], limit: int | None, json_: bool) -> None:
    """The films to judge, or to judge again, next."""
    from atx_assets.local.show import show_queue
    from atx_assets.settings import read_settings

    show_queue(read_settings(), click.echo, genres=genres, limit=limit, as_json=json_)


@show.command("recommendations")
@_GENRE
@_LIMIT
@_JSON
def recommendations(genres: tuple[str, ...], limit: int | None, json_: bool) -> None:
    """The unjudged films that the model would keep, best first."""
    from atx_assets.local.show import show_recommendations
    from atx_assets.settings import read_settings

    show_recommendations(read_settings(), click.echo, genres=genres, limit=limit, as_json=json_)


@show.command("quarantine")
@_LIMIT
@_JSON
def quarantine(limit: int | None, json_: bool) -> None:
    """The rows of your table that cannot be used, and why."""
    from atx_assets.local.show import show_quarantine
    from atx_assets.settings import read_settings

    show_quarantine(read_settings(), click.echo, limit=limit, as_json=json_)


@cli.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option("--json", "json_", is_flag=True, help="Print the record as JSON; of many, a list.")
def explain(ids: tuple[str, ...], json_: bool) -> None:
    """Say why films got their chance: reasons, and the labelled films most like them.

    An ID is an IMDb id, a key of the files, or a title such as "Dune" or "Dune (2021)".
    """
    from atx_assets.local.explain import explain as explain_films
    from atx_assets.settings import read_settings

    explain_films(read_settings(), ids, click.echo, as_json=json_)


@cli.command()
@click.argument("version", type=click.IntRange(1))
def promote(version: int) -> None:
    """Make a VERSION that is kept in the data folder the champion."""
    from atx_assets.local.promote import promote as promote_version
    from atx_assets.settings import read_settings

    promote_version(read_settings(), version, click.echo)


@cli.command()
def rollback() -> None:
    """Make the champion before this one the champion again."""
    from atx_assets.local.promote import roll_back
    from atx_assets.settings import read_settings

    roll_back(read_settings(), click.echo)


@cli.command()
@_QUIET
@_JSON_OUTCOME
def demo(quiet: bool, json_: bool) -> None:
    """Run everything on the sample library, on the embedded servers."""
    output = _output(quiet, json_)
    from atx_assets.local.demo import demo as run_demo
    from atx_assets.local.run import telling
    from atx_assets.settings import read_settings

    with telling(output) as told:
        run_demo(read_settings(), told)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path), required=False)
def backup(file: Path | None) -> None:
    """Write all of the home and its data into one FILE, while `atx up` may go on.

    By default it is atx-backup-<date>-<time>.tar.gz in the current folder.
    """
    from atx_assets.local.backup import backup as make_backup
    from atx_assets.settings import read_settings

    make_backup(read_settings(), file, click.echo)


@cli.command()
@click.argument("file", type=click.Path(path_type=Path))
def restore(file: Path) -> None:
    """Put what a backup FILE holds into an empty ATX_HOME and ATX_DATA_DIR."""
    from atx_assets.local.restore import restore as restore_home
    from atx_assets.settings import read_settings

    restore_home(read_settings(), file, click.echo)


@cli.command()
@click.option("--send-test-alert", is_flag=True, help="Send a test message to ATX_ALERT_URL.")
def doctor(send_test_alert: bool) -> None:
    """Check each connection, permission and setting, a line each, with the mend."""
    from atx_assets.local.doctor import doctor as run_doctor
    from atx_assets.settings import read_settings

    run_doctor(read_settings(), click.echo, send_test_alert=send_test_alert)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status; a failure is one line on stderr."""
    # What we and all that we start write holds somebody's library: nobody else may read it.
    os.umask(0o077)
    words = list(sys.argv[1:] if arguments is None else arguments)
    # So that `atx up --verbose` works like `atx --verbose up`.
    verbose = "--verbose" in words
    words = ["--verbose"] * verbose + [word for word in words if word != "--verbose"]
    for sent in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(sent) is not signal.SIG_IGN:  # as nohup has set it
            signal.signal(sent, _exit)
    try:
        return int(cli.main(words, prog_name="atx", standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("atx: stopped; what was there before stays in place", err=True)
        return 130
    except Exception as error:
        if verbose:
            traceback.print_exc()
        click.echo(f"atx: {_line(error, verbose)}", err=True)
        return 1


def _line(error: Exception, verbose: bool) -> str:
    from atx_assets.local.correct import plain

    message = plain(" ".join(str(error).split()))
    if isinstance(error, AtxError):
        return message
    hint = "" if verbose else " (use --verbose for the traceback)"
    return f"{type(error).__name__}: {message}{hint}"


def _exit(signum: int, _frame: FrameType | None) -> NoReturn:
    """End like after Ctrl-C, so that what was started is ended and given back."""
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
