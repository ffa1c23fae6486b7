"""Why a command ends early: what a person can mend, and that it was asked to.

Not here: handling it (see `cli/main.py`).
"""

#: What is said of a command that was asked to end.
STOPPED = "stopped; what was there before stays in place"


class AtxError(Exception):
    """A failure told in one line: what is wrong, where, and the mend.

    The program `atx` prints the line and exits with status 1; in the Dagster UI it is the
    step's error. It never wraps a bug: those keep their own type and traceback.

    Raised itself where a caller can only pass the line on. Each class below is a failure that some
    caller goes on from. This one is caught only where a command, a step or a tick ends.
    """


class SettingError(AtxError):
    """A setting is wrong. The caller does without settings; the next run says which one it is."""


class FileError(AtxError):
    """A file cannot be read or written now, and may be whole. It is not the same as no file."""


class MissingError(FileError):
    """A file or a version is not there. The caller begins without it, or has it made."""


class DamagedError(FileError):
    """What is there is not what was saved, or another release wrote it. It has to be made anew."""


class DatabaseError(AtxError):
    """A database cannot be reached, or refuses. The caller waits, or says whose settings failed."""


class SourceError(AtxError):
    """The database holds no table that atx can read. The server itself is well."""


class MlflowError(AtxError):
    """MLflow cannot be used. What does not need it goes on."""


class DeliveryError(AtxError):
    """An address on the network took no message. The caller sends it again later."""


class NoLocksError(AtxError):
    """Files on a disk cannot be locked. That is not the same as a lock that somebody holds."""


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
