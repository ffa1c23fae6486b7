"""What a check of `atx doctor` says that is neither well nor a failure. Not here: the checks."""


class Note(str):
    """Something to know, which no run fails for: it does not change the exit status."""

    __slots__ = ()
