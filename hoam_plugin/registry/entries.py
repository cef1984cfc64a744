"""The registry: one name, a simulator and any number of surrogates; downstream code asks by name and gets either.

Names resolve when Python runs, not when compiled code does: call `stepper(name)` outside `jit` and pass the stepper in.
Other packages publish steppers under the entry-point group `hoam_plugin.steppers`; see
`hoam_plugin.steppers.published`.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias, cast

import numpy as np
import xarray as xr
from jax.typing import ArrayLike

from hoam_plugin._internal.checks import parameter_table, suggestion
from hoam_plugin.registry import published_surrogates
from hoam_plugin.registry.listing import HERE, Listing
from hoam_plugin.registry.selection import SurrogateSelection, chosen_among
from hoam_plugin.steppers import NamedStepper, Stepper, abilities_of, published, require_stepper
from hoam_plugin.surrogates import Surrogate

# What stands for the surrogates of a name.
Chosen: TypeAlias = Surrogate | SurrogateSelection
# Values of parameters, or sequences of them.
Values: TypeAlias = Mapping[str, ArrayLike | Sequence[float]]


@dataclasses.dataclass
class _Entry:
    simulator: Stepper | None = None
    surrogates: list[Listing] = dataclasses.field(default_factory=list)


_entries: dict[str, _Entry] = {}
# Guards the entries; never held while code of others runs, which may come back here from other threads.
_lock = threading.RLock()
_selected: contextvars.ContextVar[dict[str, Stepper] | None] = contextvars.ContextVar("hoam_selected", default=None)


def register(
    name: str, stepper: Stepper, *, default: bool = False, scores: xr.Dataset | Mapping[str, float] | None = None
) -> None:
    """Put a stepper under a name: a surrogate beside the name's simulator, anything else as the simulator itself.

    Args:
        name: a published name (see `names`) or a new one.
        stepper: a Stepper.
        default: for a surrogate: return it from `stepper(name)` from now on. Of several such, that whose trained ranges
            cover the request.
        scores: for a surrogate: how good it is, for `hoam list`: what `compare` returned, or name to number.

    Raises:
        TypeError: not a Stepper, or scores of another type.
        ValueError: a bad name, or `default` or scores for a simulator (it is what is returned without any surrogate).

    Example:
        >>> hoam.register("my_plasma", sim)
        >>> hoam.register("my_plasma", model)
        >>> hoam.registry.unregister("my_plasma")
    """
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name={name!r} must be an identifier such as 'two_stream'")
    require_stepper("stepper", stepper)
    if isinstance(stepper, SurrogateSelection):
        raise TypeError("stepper is a choice among the surrogates of a name; register these one by one")
    if not isinstance(stepper, Surrogate) and (default or scores is not None):
        given = "default=True selects" if default else "scores describe"
        raise ValueError(f"{given} a surrogate; a simulator is returned wherever none is selected")
    numbers = {} if scores is None else _score_numbers(scores)
    with _lock:
        entry = _entries.setdefault(name, _Entry())
        if isinstance(stepper, Surrogate):
            entry.surrogates.append(Listing(name, "surrogate", stepper, HERE, numbers, default))
        else:
            entry.simulator = stepper


def unregister(name: str) -> None:
    """Forget what was registered under a name; published steppers stay.

    Args:
        name: of a stepper.

    Raises:
        ValueError: nothing is registered under the name.

    Example:
        >>> hoam.register("my_plasma", sim)
        >>> hoam.registry.unregister("my_plasma")
    """
    with _lock:
        if name not in _entries:
            raise ValueError(f"name={name!r} is not registered; {suggestion(name, _entries)}")
        del _entries[name]


def names() -> list[str]:
    """All names: registered ones, and those published under the entry-point group `hoam_plugin.steppers`.

    Example:
        >>> "two_stream" in hoam.registry.names()
        True
    """
    with _lock:
        registered = tuple(_entries)
    return sorted({*registered, *published.entry_points()})


def surrogates(name: str) -> tuple[Surrogate, ...]:
    """The surrogates of a name, oldest first: those that distributions publish, then registered ones.

    Args:
        name: of a stepper.

    Example:
        >>> hoam.registry.surrogates("two_stream")
        ()
    """
    return tuple(map(_model, _surrogate_listings(name)))


def catalogue() -> list[Listing]:
    """Every stepper that the registry knows, by name: the simulator, then the surrogates as `surrogates` orders them.

    A stepper that cannot be built is listed with the reason.

    Example:
        >>> [entry.kind for entry in hoam.registry.catalogue() if entry.name == "duffing"]
        ['simulator']
    """
    listings = []
    for name in names():
        listings += [*_simulator_listing(name), *_surrogate_listings(name)]
    return listings


def stepper(
    name: str, *, surrogate: Stepper | bool | None = None, parameters: Values | None = None, fallback: bool = False
) -> NamedStepper:
    """The stepper of a name: its simulator, unless a surrogate is selected.

    A surrogate is selected by the argument, by an enclosing `use_surrogate(name)`, or by `register(..., default=True)`,
    in this order. Where several surrogates with different trained ranges are, the result is a stepper that gives every
    request to the newest one that covers it (`hoam_plugin.registry.selection.SurrogateSelection`).

    Args:
        name: see `names`.
        surrogate: True for all surrogates of the name, False for the simulator, or a surrogate.
        parameters: values, or sequences of them, that a selected surrogate must cover: the result is then that one
            surrogate, the newest that covers them all.
        fallback: go to the simulator outside all trained ranges, whatever the surrogates' own `on_extrapolation`.

    Raises:
        ValueError: an unknown name (near ones are suggested), no surrogate where one is asked for, `parameters` that no
            surrogate covers, unless their `on_extrapolation` allows it, or `fallback` without a simulator.

    Example:
        >>> hoam.register("my_plasma", sim)
        >>> hoam.register("my_plasma", model)
        >>> hoam.stepper("my_plasma", surrogate=True) is model
        True
        >>> hoam.registry.unregister("my_plasma")
    """
    _require_known(name)
    if surrogate is None:
        surrogate = (_selected.get() or {}).get(name)
    if surrogate is None:
        marked = [_model(listing) for listing in _registered_surrogates(name) if listing.default]
        surrogate = _chosen_among(name, marked, fallback) if marked else False
    if surrogate is False:
        return cast(NamedStepper, _simulator(name))
    chosen = _resolved(name, surrogate, fallback)
    return cast(NamedStepper, chosen if parameters is None else _covering(chosen, parameters))


@contextlib.contextmanager
def use_surrogate(name: str, surrogate: Stepper | bool = True, *, fallback: bool = False) -> Iterator[NamedStepper]:
    """Within the block, `stepper(name)` returns a surrogate: one that is given, or the choice among those of the name.

    Local to the thread or task, re-entrant, undone when the block is left. What is registered meanwhile does not change
    the choice.

    Args:
        name: see `names`.
        surrogate: True for all surrogates of the name, False for the simulator, or a surrogate.
        fallback: go to the simulator outside all trained ranges, whatever the surrogates' own `on_extrapolation`.

    Raises:
        ValueError: an unknown name, one without a surrogate, or `fallback` without a simulator.

    Example:
        >>> hoam.register("my_plasma", sim)
        >>> hoam.register("my_plasma", model)
        >>> with hoam.use_surrogate("my_plasma"):
        ...     chosen = hoam.stepper("my_plasma")
        ...
        >>> chosen is model
        True
        >>> hoam.registry.unregister("my_plasma")
    """
    _require_known(name)
    chosen = _simulator(name) if surrogate is False else _resolved(name, surrogate, fallback)
    token = _selected.set({**(_selected.get() or {}), name: chosen})
    try:
        yield cast(NamedStepper, chosen)
    finally:
        _selected.reset(token)


def build(name: str, arguments: Mapping[str, object] | None = None) -> Stepper:
    """A published simulator, built anew from its factory.

    Raises:
        ValueError: the name is not published, or two distributions publish a simulator under it.
    """
    made = published.build(name, arguments or {})
    if made is None:
        raise ValueError(f"name={name!r} is not a published simulator; {suggestion(name, published.entry_points())}")
    return made


def _require_known(name: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"name={name!r} must be the name of a stepper, such as 'two_stream'")
    with _lock:
        if name in _entries:
            return
    known = names()
    if name not in known:
        raise ValueError(f"name={name!r} is not a known stepper; {suggestion(name, known)}")


def _simulator(name: str) -> Stepper:
    found = _simulator_or_none(name)
    if found is None:
        raise ValueError(
            f"name={name!r} has surrogates but no simulator; register one with register({name!r}, simulator)"
        )
    return found


def _simulator_or_none(name: str) -> Stepper | None:
    with _lock:
        entry = _entries.get(name)
    if entry is not None and entry.simulator is not None:
        return entry.simulator
    return published.build(name, {})


def _registered_surrogates(name: str) -> list[Listing]:
    with _lock:
        entry = _entries.get(name)
        return [] if entry is None else list(entry.surrogates)


def _surrogate_listings(name: str) -> list[Listing]:
    others = [Listing(name, "surrogate", model, origin) for model, origin in published_surrogates.surrogates(name)]
    listings = [*others, *_registered_surrogates(name)]
    return [
        dataclasses.replace(listing, scores=listing.scores or _validation(_model(listing).history))
        for listing in listings
    ]


def _model(listing: Listing) -> Surrogate:
    """The surrogate of a listing of one."""
    assert isinstance(listing.stepper, Surrogate)
    return listing.stepper


def _simulator_listing(name: str) -> list[Listing]:
    try:
        made = _simulator_or_none(name)
        with _lock:
            own = name in _entries and _entries[name].simulator is not None
        origin = HERE if own else published.simulator_origin(name)
    except Exception as error:  # another package's factory may fail in any way, which must not hide the others
        origins = ", ".join(point.origin for point in published.entry_points().get(name, ()))
        return [Listing(name, "simulator", None, origins, error=str(error))]
    return [] if made is None else [Listing(name, "simulator", made, origin)]


def _resolved(name: str, surrogate: Stepper | bool, fallback: bool) -> Stepper:
    """The stepper that is given, or for True the choice among the surrogates of the name."""
    if isinstance(surrogate, bool):
        have = surrogates(name)
        if not have:
            raise ValueError(f"name={name!r} has no surrogate; register one with register({name!r}, surrogate)")
        return _chosen_among(name, have, fallback)
    return _chosen_among(name, (surrogate,), True) if fallback and isinstance(surrogate, Surrogate) else surrogate


def _chosen_among(name: str, models: Sequence[Surrogate], fallback: bool) -> Chosen:
    return chosen_among(name, models, lambda: _simulator_or_none(name), fallback=fallback)


def _covering(chosen: Stepper, parameters: Values) -> Stepper:
    """The one stepper that answers a request for concrete parameter values."""
    if isinstance(chosen, SurrogateSelection):
        return chosen.for_parameters(parameters)
    check = abilities_of(chosen).check_domain
    if check is not None:
        check(parameter_table(parameters, chosen.parameters), np.asarray(chosen.horizon))
    return chosen


def _score_numbers(scores: object) -> dict[str, float]:
    """Scores as numbers: of a Dataset of `compare` the surrogate's, means over the runs."""
    if isinstance(scores, xr.Dataset):
        own = scores.sel(reference="surrogate") if "reference" in scores.dims else scores
        own = own.drop_vars([n for n, a in own.items() if "time" in a.dims or str(n).endswith("_spread")])
        return {str(n): float(a.mean()) for n, a in own.items()}
    if isinstance(scores, Mapping):
        return {str(name): float(value) for name, value in scores.items()}
    raise TypeError(f"scores={scores!r} must be a Dataset of compare or a dict of name to number")


def _validation(history: xr.Dataset | None) -> dict[str, float]:
    """The validation loss of the weights that training chose, if it had validation runs."""
    if history is None or "validation" not in history:
        return {}
    if history.attrs.get("judged_on", "validation runs") != "validation runs":
        return {}  # samples of the training runs say nothing about other parameters
    lowest = float(history["validation"].min())
    return {"validation": lowest} if math.isfinite(lowest) else {}
