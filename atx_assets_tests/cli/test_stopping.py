"""A command that is asked to end by a signal says one line and ends with one status, each time."""

import os
import signal
import subprocess
import sys

import pytest

#: A command that sends itself a signal in the middle of something, and would then go on.
SCRIPT = """
import os, signal, sys, time
from atx_assets.cli import main as cli

def asked():
    os.kill(os.getpid(), int(sys.argv[1]))
    time.sleep(0.01)

class Collected:
    def __del__(self):
        asked()

class Others(BaseException):
    pass

def others(*_):
    raise Others

@cli.cli.command("work")
def work():
    {work}
    time.sleep(60)
    print("all went well")

sys.exit(cli.main(["work"]))
"""
WORK = {
    "plain code": "asked()",
    "what Python ignores the exceptions of": "Collected()",
    "code that was a text": "exec('asked()')",
    "what makes another exception of it": """
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, others)
    asked()""",
    "what fails because of it": """
    try:
        asked()
    finally:
        raise ValueError("what was open cannot be closed")""",
    "what makes a failure of it": """
    try:
        asked()
    except BaseException:
        raise ValueError("failed") from None""",
}


@pytest.mark.parametrize(
    ("work", "sent"),
    [
        *((work, sent) for work in WORK for sent in (signal.SIGINT, signal.SIGTERM)),
        ("plain code", signal.SIGHUP),
    ],
)
def test_a_signal_is_one_line_and_its_own_status_whatever_it_hits(
    work: str, sent: signal.Signals
) -> None:
    """Kept out: tracebacks, 130 or 143 for the same signal, and a run that did not hear it."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(work=WORK[work]), str(int(sent))],
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )
    assert done.stderr == "atx: stopped; what was there before stays in place\n"
    assert (done.stdout, done.returncode) == ("", 128 + sent)


def test_a_terminal_that_is_gone_changes_nothing() -> None:
    """Kept out: an error of the line that nobody can read any more, and its status."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT.format(work=WORK["plain code"]), str(int(signal.SIGHUP))],
            stdout=writing,
            stderr=writing,
            check=False,
        )
    finally:
        os.close(writing)
    assert done.returncode == 128 + signal.SIGHUP


def test_verbose_shows_where_it_was() -> None:
    script = SCRIPT.format(work=WORK["plain code"]).replace('["work"]', '["work", "--verbose"]')
    done = subprocess.run(
        [sys.executable, "-c", script, str(int(signal.SIGINT))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.startswith("Traceback")
    assert done.stderr.endswith("atx: stopped; what was there before stays in place\n")
    assert done.returncode == 130
