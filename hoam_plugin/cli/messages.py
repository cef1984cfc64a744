"""What the command line says beside its results: through `logging`, on standard error, one line each."""

from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Literal, TextIO

from hoam_plugin._internal import ending
from hoam_plugin._internal.logs import LOGGER

Loudness = Literal["quiet", "normal", "verbose"]
_LEVELS: dict[Loudness, int] = {"quiet": logging.WARNING, "normal": logging.INFO, "verbose": logging.DEBUG}
_KINDS = {logging.WARNING: "warning", logging.ERROR: "error"}


class _Lines(logging.Handler):
    """Writes `hoam: kind: message` to what is standard error at the time, which a progress bar may have replaced."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO = sys.stderr
        print(self.format(record), file=stream, flush=True)

    def format(self, record: logging.LogRecord) -> str:
        kind = getattr(record, "kind", _KINDS.get(record.levelno, ""))
        return f"hoam: {kind}{': ' if kind else ''}{' '.join(record.getMessage().split())}"


@contextlib.contextmanager
def messages_on_stderr(reworded: Callable[[Warning], str]) -> Iterator[None]:
    """Within the block, what the package logs and what anybody warns of is written to standard error.

    Args:
        reworded: what a warning says on the command line.
    """

    def show(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        if issubclass(category, DeprecationWarning) and not sys.warnoptions:
            # For whoever writes programs, even where a library asks for its own to be shown.
            return
        if ending.has_signal() and issubclass(category, RuntimeWarning) and "was never awaited" in str(message):
            # Of what was under way when the signal came, such as the reading of a store.
            return
        LOGGER.warning("%s", message if isinstance(message, str) else reworded(message))

    handler, before = _Lines(), LOGGER.level
    LOGGER.addHandler(handler)
    LOGGER.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(before)


def set_loudness(wanted: Loudness) -> None:
    """How much is said from here on: quiet leaves warnings and errors, verbose also says what was chosen."""
    LOGGER.setLevel(_LEVELS[wanted])


def say(message: str) -> None:
    """Something that is good to know, such as what was written."""
    LOGGER.info("%s", message)


def say_failure(kind: Literal["error", "fault", "interrupted"], message: str) -> None:
    """Why the command ended early."""
    LOGGER.error("%s", message, extra={"kind": kind})
