"""How a process ends that is asked to by a signal: by an exception, or by force where Python does not hear of it.

Ctrl-C, SIGTERM of batch systems and SIGHUP of closed terminals raise KeyboardInterrupt once, so that whatever saves or
clears away when it is interrupted does so for all of them. While JAX compiles or computes, Python hears of nothing, and
some code swallows exceptions; a thread therefore waits beside, and after a few seconds, or at a second Ctrl-C, clears
away what is being written and ends the process. Imports are not interrupted, which some libraries do not survive: the
thread sends the signal again until they are done. It does so, too, where Python ignored the exception, as in what runs
while memory is collected.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

from hoam_plugin._internal import unfinished

# Batch systems kill 30 s after SIGTERM (Slurm, Kubernetes), some after 10 s (Docker).
GRACE_SECONDS = 5.0
_AGAIN_SECONDS = 0.05
# The signals, and what they do where nobody has changed it; changed ones are left alone.
_DEFAULTS = {
    getattr(signal, name): signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
}
_SHOW_CURSOR = "\x1b[?25h"
_OVER = b"\0"
_current: Ending | None = None


class Ending:
    """The signal by which the process is being ended.

    Attributes:
        number: of the signal, or None.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._over = False
        self._set: list[int] = []

    @property
    def exit_code(self) -> int:
        """As shells have it of a process that died by the signal: 130 after Ctrl-C, 143 after SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    def begin(self) -> None:
        """Take the signals."""
        self._heard, self._of_signals = socket.socketpair()
        self._of_signals.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(self._of_signals.fileno(), warn_on_full_buffer=False)
        for number, default in _DEFAULTS.items():
            if signal.getsignal(number) is default:
                signal.signal(number, self._hear)
                self._set.append(number)
        self._ignored = ignored = sys.unraisablehook
        sys.unraisablehook = lambda args: None if self._is_of_the_end(args.exc_type) else ignored(args)
        self._thread = threading.Thread(target=self._wait, name="hoam-ending", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Give them back."""
        self._over = True
        sys.unraisablehook = self._ignored
        for number in self._set:
            signal.signal(number, _DEFAULTS[number])
        signal.set_wakeup_fd(self._wakeup)
        self._of_signals.send(_OVER)
        self._thread.join()
        self._heard.close()
        self._of_signals.close()

    def leave(self, code: int) -> NoReturn:
        """End the process at once; threads that compute and libraries that clear up are not waited for."""
        unfinished.clear_all()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.number is None and not self._over and not _is_importing(frame):
            self.number = number
            raise KeyboardInterrupt

    def _is_of_the_end(self, kind: type[BaseException]) -> bool:
        """Whether an exception that Python ignored follows from the signal; the signal's own is to come again.

        What was being made when the signal came, such as an event loop, complains when it is thrown away half made.
        """
        if self.number is None:
            return False
        if issubclass(kind, KeyboardInterrupt):
            self.number = None
        return True

    def _wait(self) -> None:
        """See that the process ends once a signal has come."""
        while (first := self._heard.recv(1)) != _OVER:
            if first[0] in self._set:
                if not self._ends_by_itself(first[0]):
                    self._force(first[0])
                return

    def _ends_by_itself(self, number: int) -> bool:
        """Wait for the end, unless it takes too long or Ctrl-C comes again."""
        deadline, own = time.monotonic() + GRACE_SECONDS, 0
        self._heard.settimeout(_AGAIN_SECONDS)
        while time.monotonic() < deadline:
            try:
                again = self._heard.recv(1)
            except TimeoutError:
                if self.number is None:
                    os.kill(os.getpid(), number)
                    own += 1
                continue
            if again == _OVER:
                return True
            if again[0] == number and own:
                own -= 1
            elif again[0] == signal.SIGINT:
                break
        return False

    def _force(self, number: int) -> None:
        unfinished.clear_all()
        self.number = self.number or number
        name = signal.Signals(self.number).name
        said = f"hoam: interrupted: ended by {name} within a computation; what was complete on disk is kept\n"
        with contextlib.suppress(OSError):
            os.write(2, (_SHOW_CURSOR if sys.stderr.isatty() else "").encode() + said.encode())
        os._exit(self.exit_code)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def has_signal() -> bool:
    """Whether the process is being ended by a signal."""
    return _current is not None and _current.number is not None


@contextlib.contextmanager
def by_signals() -> Iterator[Ending]:
    """Within the block the process ends as this module says; in other threads than the main one as before."""
    global _current
    if _current is not None or threading.current_thread() is not threading.main_thread():
        yield _current or Ending()
        return
    ending = _current = Ending()
    ending.begin()
    try:
        yield ending
    finally:
        _current = None
        ending.end()
