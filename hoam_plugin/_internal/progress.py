"""Progress bars: one for a piece of work, or one over several phases with an estimate of the time that is left.

Where standard error is no terminal they are lines in a log instead, see `hoam_plugin._internal.progress_lines`.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple

from hoam_plugin._internal.logs import shows_progress
from hoam_plugin._internal.progress_lines import ProgressLines

if TYPE_CHECKING:
    from rich.console import Console

# What an estimate believes in before anything is done, as a share of the whole.
_PRIOR = 0.1


class Phase(NamedTuple):
    """Of a whole.

    Attributes:
        seconds: what it is expected to take, in comparison to the others.
        bars: how many pieces of work with a bar of their own it has.
    """

    seconds: float
    bars: int = 1


@contextlib.contextmanager
def progress_bar(label: str, total: int, *, show: bool) -> Iterator[Callable[..., None]]:
    """A bar on standard error; yields `advance(steps, note="")`, which does nothing when `show` is false.

    Within a `whole_bar` it is a part of that one.
    """
    if not (show and shows_progress()):
        yield lambda steps=1, note="": None
        return
    whole = _WHOLE.get()
    if whole is not None:
        yield whole.part(total)
        return
    from rich.console import Console

    console = Console(stderr=True)
    if not _draws(console):
        with ProgressLines() as lines:
            yield _counted(lines, label, total)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
    ) as bar:
        task = bar.add_task(label, total=total, note="")

        def advance(steps: int = 1, note: str = "") -> None:
            bar.update(task, advance=steps)
            if note:
                bar.update(task, note=note)

        yield advance


@contextlib.contextmanager
def whole_bar(phases: Mapping[str, Phase], *, show: bool) -> Iterator[Whole]:
    """One bar on standard error over all phases, which names the present one and says how long the rest may take.

    Args:
        phases: in order.
        show: whether there is a bar.
    """
    if not (show and shows_progress()):
        yield Whole(phases)
        return
    from rich.console import Console

    console, whole = Console(stderr=True), Whole(phases)
    if not _draws(console):
        with ProgressLines() as lines:
            whole.tell = lambda name, note: lines.tell(name, whole.done / whole.total, note, whole.left)
            yield from _within(whole)
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TextColumn("{task.fields[whole].left}"),
        TextColumn("{task.fields[note]}"),
        console=console,
        # What is printed on a terminal goes above the bar, and what is piped elsewhere stays there.
        redirect_stdout=sys.stdout.isatty(),
    ) as bar:
        task = bar.add_task("", total=whole.total, note="", whole=whole)
        whole.tell = lambda description, note: bar.update(
            task, completed=whole.done, description=description, note=note
        )
        yield from _within(whole)


def _within(whole: Whole) -> Iterator[Whole]:
    token = _WHOLE.set(whole)
    try:
        yield whole
    finally:
        _WHOLE.reset(token)


def _draws(console: Console) -> bool:
    """Whether a bar can be drawn and drawn again: on a terminal, and in a notebook."""
    return console.is_terminal or console.is_jupyter


def _counted(lines: ProgressLines, label: str, total: int) -> Callable[..., None]:
    """`advance` of a piece of work of so many steps, in lines."""
    count, noted = 0, ""

    def advance(steps: int = 1, note: str = "") -> None:
        nonlocal count, noted
        count, noted = count + steps, note or noted
        lines.tell(label, min(count / max(total, 1), 1.0), noted)

    return advance


class Whole:
    """Several phases, and how far they are.

    Args:
        phases: in order.
    """

    def __init__(self, phases: Mapping[str, Phase]) -> None:
        self._phases, self._begin = phases, time.perf_counter()
        self._now, self._ended, self._bars, self._within = "", 0.0, 0, 0.0
        # Takes the present phase and a note, whenever something has changed.
        self.tell: Callable[[str, str], object] = lambda description, note: None

    @property
    def total(self) -> float:
        """Expected seconds."""
        return sum(phase.seconds for phase in self._phases.values())

    @property
    def done(self) -> float:
        """Expected seconds of what is done."""
        return self._ended + self._within

    @property
    def left(self) -> str:
        """How long the rest will take at the pace so far."""
        known = _PRIOR * self.total
        pace = (time.perf_counter() - self._begin + known) / (self.done + known)
        return f"about {max(self.total - self.done, 0.0) * pace:.0f} s left"

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """The block is this phase."""
        self._now, self._bars, self._within = name, 0, 0.0
        self.tell(name, "")
        yield
        self._ended, self._within = self._ended + self._phases[name].seconds, 0.0
        self.tell(name, "")

    def part(self, total: int) -> Callable[..., None]:
        """`advance` of a piece of work of so many steps in the present phase."""
        phase = self._phases[self._now]
        share, before, count = phase.seconds / phase.bars, self._bars, 0
        self._bars += 1

        def advance(steps: int = 1, note: str = "") -> None:
            nonlocal count
            count += steps
            self._within = min(share * (before + min(count / max(total, 1), 1.0)), phase.seconds)
            self.tell(self._now, note)

        return advance


_WHOLE: ContextVar[Whole | None] = ContextVar("whole", default=None)
