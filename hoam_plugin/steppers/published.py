"""Steppers that installed distributions publish under the entry-point group `hoam_plugin.steppers`.

An entry point names a simulator (a factory, such as a class or function, or a Stepper) or surrogates: a `Surrogate`,
the path of a saved one, several of these in a list or tuple, or a function that returns any of them. Which of the two
it is shows when it is loaded; the entry points of this package are known to be simulators and load no other package.
Saved surrogates are recognised by their paths and not read here; see `hoam_plugin.registry.published_surrogates`.
"""

from __future__ import annotations

import contextvars
import dataclasses
import importlib.metadata
import json
import os
import textwrap
import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, TypeGuard, cast, runtime_checkable

import xarray as xr

from hoam_plugin._internal import xarray_arrival
from hoam_plugin.steppers.contract import Stepper, TrainedStepper

# All rooms that import xarray import this module.
xarray_arrival.imported()

ENTRY_POINTS = "hoam_plugin.steppers"
_OWN = "hoam-plugin"

# A surrogate, or the path of a saved one.
Trained: TypeAlias = TrainedStepper | str | os.PathLike[str]
Factory: TypeAlias = Callable[..., Stepper]


@runtime_checkable
class Loadable(Protocol):
    """An entry point of the standard library, or of its backport, whose class is another."""

    def load(self) -> Any:
        """What it names."""
        ...


@dataclasses.dataclass(frozen=True)
class EntryPoint:
    """A name that a distribution publishes.

    Attributes:
        name: of the stepper.
        origin: the distribution and its version, as in "distribution hoam-plugin 0.2.0".
        own: whether this package publishes it.
        entry: what loads it.
        key: tells it from all others, also from those of another version or folder.
    """

    name: str
    origin: str
    own: bool
    entry: Loadable
    key: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Content:
    """What an entry point loads.

    Attributes:
        surrogates: trained steppers, or paths of saved ones.
        simulator: the simulator or its factory; None where there are surrogates.
    """

    surrogates: tuple[Trained, ...] = ()
    simulator: Stepper | Factory | None = None


_loaded: dict[tuple[str, ...], Content] = {}
_lock = threading.Lock()
# A surrogate asks for the simulator that it replaces while it is being loaded.
_loading: contextvars.ContextVar[frozenset[tuple[str, ...]]] = contextvars.ContextVar("hoam_loading")


def entry_points() -> dict[str, tuple[EntryPoint, ...]]:
    """The published names and who publishes them, ours first, then in the order of the distributions' names."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        distribution = entry.dist
        assert distribution is not None  # entry points found by searching belong to one
        title, place = distribution.metadata["Name"], str(distribution.locate_file(""))
        origin = f"distribution {title} {distribution.version}"
        key = (entry.name, entry.value, title, distribution.version, place)
        found.setdefault(entry.name, []).append(EntryPoint(entry.name, origin, title == _OWN, entry, key))
    return {name: tuple(sorted(points, key=lambda p: (not p.own, p.key[2:]))) for name, points in found.items()}


def build(name: str, arguments: Mapping[str, object]) -> Stepper | None:
    """The simulator published under a name, built anew from its factory; None where there is none.

    Raises:
        ValueError: two distributions publish a simulator under the name (ours goes before any other), or arguments for
            one that is published ready-made.
    """
    point, simulator = _simulator(name)
    if point is None or simulator is None:
        return None
    if not _is_factory(simulator):
        if arguments:
            raise ValueError(f"name={name!r} is published as a ready stepper by {point.origin}; it takes no arguments")
        return cast(Stepper, simulator)
    return simulator(**arguments)


def rebuild_stepper(ds: xr.Dataset) -> Stepper | None:
    """The stepper that made an ensemble, from the Dataset's attributes; None if they name none that is known here."""
    return rebuild_from_attribute(str(ds.attrs.get("stepper", "")))


def rebuild_from_attribute(text: str) -> Stepper | None:
    """As `rebuild_stepper`, from the text of the attribute `stepper`."""
    if not text:
        return None
    try:
        described = json.loads(text)
        name, arguments = str(described["name"]), {n: _tuples(v) for n, v in described["arguments"].items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"the attribute stepper={textwrap.shorten(text, 80)!r} does not describe a stepper: it wants JSON with "
            "'name' and 'arguments'; delete it, and pass replaces= instead"
        ) from error
    return build(name, arguments)


def simulator_origin(name: str) -> str:
    """Who publishes the simulator of a name, or ""; errors as `build`."""
    point, _ = _simulator(name)
    return "" if point is None else point.origin


def content(point: EntryPoint) -> Content:
    """What an entry point loads, loaded once; without a lock, since it runs other packages' code."""
    if point.key not in _loaded:
        token = _loading.set(_loading.get(frozenset()) | {point.key})
        try:
            made = _load(point)
        finally:
            _loading.reset(token)
        with _lock:
            _loaded.setdefault(point.key, made)
    return _loaded[point.key]


def is_loading(point: EntryPoint) -> bool:
    """Whether this very entry point is being loaded."""
    return point.key in _loading.get(frozenset())


def _simulator(name: str) -> tuple[EntryPoint | None, Stepper | Factory | None]:
    points = entry_points().get(name, ())
    if points and points[0].own:
        return points[0], points[0].entry.load()
    found, errors = [], []
    for point in points:
        if is_loading(point):
            continue
        try:
            loaded = content(point)
        except Exception as error:  # which must not hide the others
            errors.append(error)
            continue
        if loaded.simulator is not None:
            found.append((point, loaded.simulator))
    if len(found) > 1:
        origins = " and ".join(point.origin for point, _ in found)
        raise ValueError(
            f"name={name!r} is published as a simulator by {origins}; uninstall one of them, or choose by "
            f"register({name!r}, simulator)"
        )
    if not found and errors:
        raise errors[0]
    return found[0] if found else (None, None)


def _load(point: EntryPoint) -> Content:
    loaded = point.entry.load()
    made = loaded() if _is_factory(loaded) else loaded
    parts = made if isinstance(made, list | tuple) else (made,)
    if parts and all(isinstance(part, str | os.PathLike | TrainedStepper) for part in parts):
        return Content(surrogates=tuple(parts))
    if isinstance(made, Stepper):
        return Content(simulator=loaded)
    raise TypeError(
        f"entry point {point.name!r} of {point.origin} gives {type(made).__name__}; it must be a Stepper, a Surrogate, "
        "the path of a saved one, a list of these, or a function that returns one of them"
    )


def _is_factory(loaded: object) -> TypeGuard[Factory]:
    # A class of steppers has all attributes of one.
    return isinstance(loaded, type) or (callable(loaded) and not isinstance(loaded, Stepper))


def _tuples(value: object) -> object:
    # JSON has no tuples, and the arguments of a stepper, static parts of a pytree, are hashable.
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
