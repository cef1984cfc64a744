"""The snapshots of all runs, drawn one after the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from hoam_plugin.importing.described import Description
from hoam_plugin.importing.drawing import draw, follow
from hoam_plugin.importing.precision import in_precision, is_resolved, unresolved
from hoam_plugin.importing.shelf import Record, Shelf
from hoam_plugin.importing.snapshots import Snapshot, checked

# One run: its snapshots in order of time, in the forms that `checked` takes.
Run = Iterable[object]


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How samples are drawn.

    Attributes:
        n_samples: per run and time.
        seed: of a random key.
        dtype: of the samples.
        follows: whether the particles of the first snapshot are followed by their ids, as long as none is lost or
            injected.
    """

    n_samples: int
    seed: Sequence[int]
    dtype: np.dtype
    follows: bool = True

    def rng(self, run: int, index: int) -> np.random.Generator:
        """Of one snapshot, independent of all others."""
        return np.random.default_rng([*self.seed, run, index])


def collect(
    runs: Sequence[Run], drawing: Drawing, described: Description, shelf: Shelf, advance: Callable[[], object]
) -> list[int]:
    """Draw from every snapshot that is not on the shelf yet; the numbers of snapshots of the runs.

    What is said of the variables is held against those of the first snapshot, before the others are read.

    Raises:
        ValueError: a snapshot that is none, other variables than those of the first one, times that do not increase, or
            values that the dtype cannot hold.
    """
    lengths = []
    first: Record | None = None
    # Variables that single precision makes one number in every snapshot.
    blurred: set[str] | None = None
    for run, snapshots in enumerate(runs):
        begin: Record | None = None
        before: Record | None = None
        index = 0
        for index, given in enumerate(snapshots, 1):
            record = shelf.get(run, index - 1)
            if record is None:
                snapshot = checked(given, f"run {run}, snapshot {index - 1}")
                if first is None:
                    described.variables({name: tuple(c.shape[1:]) for name, c in snapshot.variables.items()})
                else:
                    _require_alike(snapshot, first)
                if before is not None and snapshot.time <= before.time:
                    raise ValueError(
                        f"{snapshot.where} has the time {snapshot.time:g}, after {before.time:g}; times must increase"
                    )
                record, unclear = _record_of(snapshot, drawing, run, index - 1, begin, before)
                blurred = unclear if blurred is None else blurred & unclear
                shelf.put(run, index - 1, record)
            first, begin, before = first or record, begin or record, record
            advance()
        if not index:
            raise ValueError(f"run {run} has no snapshots; give at least one")
        lengths.append(index)
    for name in sorted(blurred or ()):
        raise unresolved(f"variable {name!r}", drawing.dtype)
    return lengths


def _record_of(
    snapshot: Snapshot, drawing: Drawing, run: int, index: int, begin: Record | None, before: Record | None
) -> tuple[Record, set[str]]:
    """What is kept of a snapshot, and the variables that its precision does not resolve."""
    drawn = draw(snapshot, drawing.n_samples, drawing.rng(run, index))
    variables, ids, followed = drawn.variables, drawn.ids, begin is None and drawn.ids is not None
    if begin is not None and before is not None and before.followed and drawing.follows:
        whole, first = drawn.population, begin.population
        if whole is not None and first is not None and begin.ids is not None and whole.is_same(first):
            own = follow(snapshot, begin.ids)
            if own is not None:
                variables, ids, followed = own, begin.ids, True
    unclear = {name for name, values in variables.items() if not is_resolved(values, drawing.dtype)}
    record = Record(
        time=snapshot.time,
        variables={
            name: in_precision(values, drawing.dtype, f"{snapshot.where}: {name!r}")
            for name, values in variables.items()
        },
        # Those of the first snapshot are enough.
        ids=ids if index == 0 and drawing.follows else None,
        population=drawn.population if index == 0 else None,
        n=snapshot.n,
        total=drawn.weight.total,
        effective=drawn.weight.effective,
        followed=followed and drawing.follows,
    )
    return record, unclear


def _require_alike(snapshot: Snapshot, first: Record) -> None:
    shapes = {name: tuple(c.shape[1:]) for name, c in snapshot.variables.items()}
    wanted = {name: values.shape[1:] for name, values in first.variables.items()}
    if shapes != wanted:
        raise ValueError(
            f"{snapshot.where} has the variables {_said(shapes)}, but those before have {_said(wanted)}; all snapshots "
            "need the same"
        )


def _said(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(name if not shape else f"{name} {shape}" for name, shape in sorted(shapes.items()))
