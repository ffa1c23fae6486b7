"""What goes wrong in a way that a person can mend. Not here: handling it (see `cli/main.py`)."""


class AtxError(Exception):
    """A failure told in one line: what is wrong, where, and the mend.

    The program `atx` prints the line and exits with status 1; in the Dagster UI it is the
    step's error. It never wraps a bug: those keep their own type and traceback.
    """
