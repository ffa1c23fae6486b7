"""How a command ends that is asked to by Ctrl-C or a signal: one line, one status, each time.

Python and the libraries raise an exception in the middle of whatever runs just then. It may be
taken for that code's own failure, be raised as another one (Dagster does so during a run), or be
ignored, where it hits what Python runs by itself, such as a destructor. Not here: what a command
does to end in order (each does that itself), nor the line (`main.py`).
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from atx_assets.errors import Stopped

#: Those that ask a program to end, and let it do so in order.
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds after which a signal that went unheard is sent again.
_AGAIN = 0.1


class Stopping:
    """Raises `Stopped` at a signal, whoever else handles signals meanwhile, and notes the first."""

    def __init__(self) -> None:
        """Nothing is changed before `heed`."""
        self._first = 0
        self._reading, self._writing = -1, -1
        self._unraisable = sys.unraisablehook

    def heed(self) -> None:
        """Take signals from now on, but for those that are ignored, as by nohup; main thread."""
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        # Written to by Python itself, whatever function others have a signal handled by.
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for sent in _ASKING:
            if signal.getsignal(sent) is not signal.SIG_IGN:
                signal.signal(sent, _stop)
        sys.unraisablehook = self._ignored

    @property
    def signal(self) -> int:
        """The first signal that has asked to end; 0 if none has."""
        try:
            while not self._first and (came := os.read(self._reading, 1)):
                self._first = came[0] if came[0] in _ASKING else 0
        except OSError:  # none has come, or nothing was changed yet
            pass
        return self._first

    def end(self) -> None:
        """Heed no more. After a signal, another one ends the process at once, without a word."""
        if self.signal:
            for sent in _ASKING:
                if signal.getsignal(sent) is not signal.SIG_IGN:
                    signal.signal(sent, signal.SIG_DFL)
        sys.unraisablehook = self._unraisable
        signal.set_wakeup_fd(-1)
        for end in (self._reading, self._writing):
            os.close(end)
        self._reading = self._writing = -1

    def _ignored(self, unraisable: "sys.UnraisableHookArgs") -> None:
        """Ask again where the exception was raised in what Python ignores the exceptions of."""
        if self.signal and not isinstance(unraisable.exc_value, Exception):
            main = threading.main_thread().ident or 0
            again = threading.Timer(_AGAIN, _send, [main, self.signal])
            again.daemon = True
            again.start()
        else:
            self._unraisable(unraisable)


def _stop(signum: int, _frame: FrameType | None) -> NoReturn:
    raise Stopped(signum)


def _send(thread: int, signum: int) -> None:
    signal.pthread_kill(thread, signum)
