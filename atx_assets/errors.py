"""Why a command ends early: what a person can mend, and that it was asked to.

Not here: handling it (see `cli/main.py`).
"""

#: What is said of a command that was asked to end.
STOPPED = "stopped; what was there before stays in place"


class AtxError(Exception):
    """A failure told in one line: what is wrong, where, and the mend.

    The program `atx` prints the line and exits with status 1; in the Dagster UI it is the
    step's error. It never wraps a bug: those keep their own type and traceback.
    """


class Stopped(KeyboardInterrupt):
    """A signal has asked the program to end.

    A KeyboardInterrupt, at which libraries cancel what they wait for. Of that very class, Python
    may end the process by SIGINT itself when all is done, whatever status we return.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        """Keep the signal's number."""
        super().__init__()
        self.signum = signum


class Note(str):
    """Something to know, which no run fails for: doctor's exit status stays."""

    __slots__ = ()
