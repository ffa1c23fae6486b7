"""Why a command ends early: something that a person can fix, or a request to stop.

Not here: handling it (see `cli/main.py`).
"""

#: The line for a command that was asked to stop.
STOPPED = "stopped; what was there before stays in place"


class AtxError(Exception):
    """A failure in one line: what is wrong, where, and how to fix it.

    The program `atx` prints the line and exits with status 1; in the Dagster UI it is the
    step's error. It never wraps a bug: those keep their own type and traceback.

    Raised itself if a caller can only pass the line on. Each class below is a failure that some
    caller handles and continues. This one is caught only where a command, a step or a tick ends.
    """


class SettingError(AtxError):
    """A setting is wrong. The caller does without settings; the next run says which one it is."""


class FileError(AtxError):
    """A file cannot be read or written now, but may be whole. It is not the same as no file."""


class MissingError(FileError):
    """A file or a version is missing. The caller starts without it, or has it made."""


class DamagedError(FileError):
    """A file is not as it was saved, or another release wrote it. It has to be made again."""


class DatabaseError(AtxError):
    """A database cannot be reached, or refuses. The caller waits, or says whose settings failed."""


class SourceError(AtxError):
    """The database has no table that atx can read. The server itself is well."""


class MlflowError(AtxError):
    """MLflow cannot be used. What does not need it continues."""


class DeliveryError(AtxError):
    """An address on the network did not accept a message. The caller sends it again later."""


class NoLocksError(AtxError):
    """Files on a disk cannot be locked. That is not the same as a lock that somebody holds."""


class Stopped(KeyboardInterrupt):
    """A signal has asked the program to stop.

    A KeyboardInterrupt, so libraries cancel what they wait for. Not that class itself: Python would
    end the process by SIGINT after everything is done, whatever status we return.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        """Store the signal's number."""
        super().__init__()
        self.signum = signum


class Note(str):
    """Something to know that makes no run fail: doctor's exit status does not change."""

    __slots__ = ()
