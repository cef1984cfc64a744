"""Progress where no bar can be drawn, as in the log of a batch job: a line now and then."""

from __future__ import annotations

import time
from types import TracebackType

from hoam_plugin._internal.logs import say

# Seconds between two lines.
EVERY = 30.0


class ProgressLines:
    """A line every `EVERY` seconds: what, how far, since when, and how long it may still take.

    Work that takes less leaves no line. Lines come when the work reports, not in between.
    """

    def __init__(self) -> None:
        self._begin = self._last = time.perf_counter()
        self._latest: tuple[str, str] | None = None

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        """Say the end of what was long enough to be reported on."""
        if kind is None and self._latest is not None:
            label, note = self._latest
            _say(label, "100 %", f"{_clock(time.perf_counter() - self._begin)} elapsed", note)

    def tell(self, label: str, share: float, note: str = "", left: str | None = None) -> None:
        """How far the work is.

        Args:
            label: what is done.
            share: of the whole, 0 to 1.
            note: what else there is to say.
            left: how long the rest will take, in words; by default at the pace so far.
        """
        now = time.perf_counter()
        if self._latest is not None:
            self._latest = label, note
        if now - self._last < EVERY:
            return
        self._last, self._latest, elapsed = now, (label, note), now - self._begin
        if left is None:
            left = f"about {_clock(elapsed * (1 - share) / share)} left" if share > 0 else ""
        _say(label, f"{100 * share:.0f} %", f"{_clock(elapsed)} elapsed", left, note)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _say(label: str, *parts: str) -> None:
    say(f"{label}: " + ", ".join(part for part in parts if part))
