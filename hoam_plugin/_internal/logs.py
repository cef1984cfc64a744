"""The logger of the package, which is silent until somebody listens, and what is said to whoever asked for progress."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from contextvars import ContextVar

LOGGER = logging.getLogger("hoam_plugin")
LOGGER.addHandler(logging.NullHandler())

_shown: ContextVar[bool] = ContextVar("hoam_progress_shown", default=True)


def say(line: str) -> None:
    """A line about progress: to the logger where somebody listens to it (INFO), else to standard error itself.

    Whoever asks for progress gets it, also from a script that has not set up any logging.
    """
    if not _shown.get():
        return
    if LOGGER.isEnabledFor(logging.INFO) and _is_listened_to():
        LOGGER.log(logging.INFO, "%s", line)
    else:
        print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def without_progress() -> Iterator[None]:
    """Within the block there are no bars and lines of progress, whoever asks for them."""
    token = _shown.set(False)
    try:
        yield
    finally:
        _shown.reset(token)


def shows_progress() -> bool:
    """Whether this is not within such a block."""
    return _shown.get()


def _is_listened_to() -> bool:
    node: logging.Logger | None = LOGGER
    while node is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in node.handlers):
            return True
        node = node.parent if node.propagate else None
    return False
