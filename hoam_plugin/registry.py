"""The registry: one name, a simulator and any number of surrogates; downstream code asks by name and gets either.

Names resolve when Python runs, not when compiled code does: call `stepper(name)` outside `jit` and pass the stepper in.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import importlib.metadata
import json
import threading
from collections.abc import Iterator
from typing import Any

import xarray as xr

from hoam_plugin.checks import suggestion

ENTRY_POINTS = "hoam_plugin.steppers"


@dataclasses.dataclass
class _Entry:
    simulator: Any = None
    surrogates: list[Any] = dataclasses.field(default_factory=list)
    default: Any = None


_entries: dict[str, _Entry] = {}
_lock = threading.RLock()
_selected: contextvars.ContextVar[dict[str, Any] | None] = contextvars.ContextVar("hoam_selected", default=None)


def register(name: str, stepper: Any, *, default: bool = False) -> None:
    """Put a stepper under a name: a surrogate beside the name's simulator, anything else as the simulator itself.

    Args:
        name: a published name (see `names`) or a new one.
        stepper: a Stepper.
        default: for a surrogate: return it from `stepper(name)` from now on.

    Raises:
        TypeError: not a Stepper.
        ValueError: a bad name, or `default` for a simulator (it is what is returned without any surrogate).
    """
    from hoam_plugin.steppers import Stepper
    from hoam_plugin.surrogate import Surrogate

    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name={name!r} must be an identifier such as 'two_stream'")
    if not isinstance(stepper, Stepper):
        raise TypeError(
            f"stepper={stepper!r} must be a Stepper: variables, parameters, dt, horizon, init, step, refresh"
        )
    with _lock:
        entry = _entries.setdefault(name, _Entry())
        if isinstance(stepper, Surrogate):
            entry.surrogates.append(stepper)
            if default:
                entry.default = stepper
        else:
            if default:
                raise ValueError("default=True selects a surrogate; a simulator is returned wherever none is selected")
            entry.simulator = stepper


def unregister(name: str) -> None:
    """Forget what was registered under a name; published steppers stay.

    Raises:
        ValueError: nothing is registered under the name.
    """
    with _lock:
        if name not in _entries:
            raise ValueError(f"name={name!r} is not registered; {suggestion(name, _entries)}")
        del _entries[name]


def names() -> list[str]:
    """All names: registered ones, and those published under the entry-point group `hoam_plugin.steppers`."""
    with _lock:
        return sorted({*_entries, *_published()})


def surrogates(name: str) -> tuple[Any, ...]:
    """The surrogates registered under a name, oldest first."""
    with _lock:
        return tuple(_entries[name].surrogates) if name in _entries else ()


def stepper(name: str, *, surrogate: Any = None) -> Any:
    """The stepper of a name: its simulator, unless a surrogate is selected.

    A surrogate is selected by the argument, by an enclosing `use_surrogate(name)`, or by `register(..., default=True)`,
    in this order.

    Args:
        name: see `names`.
        surrogate: True for the surrogate registered last, False for the simulator, or a surrogate.

    Raises:
        ValueError: an unknown name (near ones are suggested), or no surrogate where one is asked for.
    """
    _require_known(name)
    if surrogate is None:
        surrogate = (_selected.get() or {}).get(name)
    if surrogate is None and name in _entries:
        surrogate = _entries[name].default
    if surrogate is None or surrogate is False:
        return _simulator(name)
    return _latest(name) if surrogate is True else surrogate


@contextlib.contextmanager
def use_surrogate(name: str, surrogate: Any = True) -> Iterator[Any]:
    """Within the block, `stepper(name)` returns a surrogate (the one registered last, unless given).

    Local to the thread or task, re-entrant, undone when the block is left.

    Raises:
        ValueError: an unknown name, or one without a surrogate.
    """
    _require_known(name)
    chosen = _latest(name) if surrogate is True else surrogate
    token = _selected.set({**(_selected.get() or {}), name: chosen})
    try:
        yield chosen
    finally:
        _selected.reset(token)


def build(name: str, arguments: dict[str, Any] | None = None) -> Any:
    """A published simulator, built anew from its factory.

    Raises:
        ValueError: the name is not published.
    """
    published = _published()
    if name not in published:
        raise ValueError(f"name={name!r} is not a published stepper; {suggestion(name, published)}")
    return published[name].load()(**(arguments or {}))


def rebuild_stepper(ds: xr.Dataset) -> Any:
    """The stepper that made an ensemble, from the Dataset's attributes; None if they name none that is known here."""
    return rebuild_from_attribute(str(ds.attrs.get("stepper", "")))


def rebuild_from_attribute(text: str) -> Any:
    """As `rebuild_stepper`, from the text of the attribute `stepper`."""
    if not text:
        return None
    description = json.loads(text)
    if description["name"] not in _published():
        return None
    return build(description["name"], {name: _tuples(value) for name, value in description["arguments"].items()})


def _tuples(value: Any) -> Any:
    # JSON has no tuples, and the arguments of a stepper, static parts of a pytree, are hashable.
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _published() -> dict[str, Any]:
    return {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}


def _require_known(name: str) -> None:
    known = names()
    if name not in known:
        raise ValueError(f"name={name!r} is not a known stepper; {suggestion(name, known)}")


def _simulator(name: str) -> Any:
    with _lock:
        if name in _entries and _entries[name].simulator is not None:
            return _entries[name].simulator
    if name in _published():
        return build(name)
    raise ValueError(f"name={name!r} has surrogates but no simulator; register one with register({name!r}, simulator)")


def _latest(name: str) -> Any:
    have = surrogates(name)
    if not have:
        raise ValueError(f"name={name!r} has no surrogate; register one with register({name!r}, surrogate)")
    return have[-1]
