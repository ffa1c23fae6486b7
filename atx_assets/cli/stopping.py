"""How Ctrl-C or a signal ends a command: always with one line and one exit status.

Python and the libraries raise an exception in the middle of whatever code is running. That code may
take it for a failure of its own, raise another one instead (Dagster does so during a run), or lose
it, because Python ignores exceptions in destructors. Not here: how a command cleans up (each does
that itself), nor the line (`main.py`).
"""

import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from atx_assets.errors import Stopped

#: The signals that ask a program to end and let it clean up.
_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: Seconds after which a signal whose exception was lost is sent again.
_AGAIN = 0.1


class Stopping:
    """Raises `Stopped` at a signal and remembers the first, even if a library handles signals."""

    def __init__(self) -> None:
        """Change nothing before `heed`."""
        self._first = 0
        self._reading, self._writing = -1, -1
        self._unraisable = sys.unraisablehook

    def heed(self) -> None:
        """Handle signals from now on, except ignored ones (as under nohup). Main thread only."""
        self._reading, self._writing = os.pipe()
        for end in (self._reading, self._writing):
            os.set_blocking(end, False)
        # Python itself writes to it, whichever handler a library has installed.
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for sent in _ASKING:
            if signal.getsignal(sent) is not signal.SIG_IGN:
                signal.signal(sent, _stop)
        sys.unraisablehook = self._ignored

    @property
    def signal(self) -> int:
        """The first signal that asked the process to end; 0 if there was none."""
        try:
            while not self._first and (came := os.read(self._reading, 1)):
                self._first = came[0] if came[0] in _ASKING else 0
        except OSError:  # no signal has arrived, or `heed` was not called
            pass
        return self._first

    def end(self) -> None:
        """Stop handling signals. After a first signal, a second ends the process immediately."""
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
        """Send the signal again if Python has ignored its exception, as in a destructor."""
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
