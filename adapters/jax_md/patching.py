"""Surrogates for programs that cannot be edited: `replacing` puts one in the place of a function of jax-md."""

from __future__ import annotations

import contextlib
import functools
import inspect
import threading
from collections.abc import Iterator
from typing import Any

from hoam_plugin._internal.checks import suggestion
from hoam_plugin.surrogates import Surrogate

from . import ensembles
from .ensemble_arguments import require_own_options
from .jax_md_modules import jax_md_simulate
from .particles_as_samples import position_and_momentum
from .protocols import Pair, Simulation
from .surrogate_states import ENSEMBLES

_lock = threading.Lock()
# What `jax_md.simulate` had under a name before, and what it has been given since, the latest last.
_originals: dict[str, Simulation] = {}
_given: dict[str, list[Simulation]] = {}


@contextlib.contextmanager
def replacing(name: str, surrogate: Surrogate, **options: Any) -> Iterator[None]:
    """Within the block, `jax_md.simulate.<name>` takes a surrogate instead of the energy function it is called with.

    A program that calls `jax_md.simulate.nvt_langevin(energy_fn, shift, dt, kT, ...)` gets what
    `hoam_plugin.adapters.jax_md.nvt_langevin(surrogate, shift, dt, kT, ...)` returns. On leaving the block, also by an
    exception, what was there before is put back; blocks may be nested or overlap, and the one entered last counts.

    The change is that of a module's attribute: it holds for the whole process, in all threads. It reaches neither a
    name that was imported before (`from jax_md.simulate import nvt_langevin`) nor functions that were made before.

    Args:
        name: "nve", "nvt_langevin", "nvt_nose_hoover", "brownian", "nvk", "temp_rescale", "temp_berendsen" or
            "temp_csvr".
        surrogate: takes the place of the energy function.
        options: further arguments, such as `parameters` or `beyond`.

    Raises:
        ImportError: without the extra `jax-md`.
        TypeError: not a surrogate, or a name that is no string.
        ValueError: another name, or variables that are not those of the ensemble.

    Example:
        >>> with jax_md.replacing("nvt_langevin", liquid):
        ...     init_fn, apply_fn = simulate.nvt_langevin(energy_fn, shift, 0.02, 0.2, gamma=1.0)
        >>> init_fn(key, places).position.shape
        (16, 2)
    """
    if not isinstance(name, str):
        raise TypeError(f"name is a {type(name).__name__} and must be the name of an ensemble, such as 'nvt_langevin'")
    if name not in ENSEMBLES:
        raise ValueError(f"name={name!r} cannot be replaced; {suggestion(name, ENSEMBLES)}")
    simulate = jax_md_simulate()
    position_and_momentum(surrogate, name, has_momentum=name != "brownian")
    require_own_options(options)
    ours = getattr(ensembles, name)

    def replaced(*args: object, **kwargs: object) -> Pair:
        bound = signature.bind(*args, **kwargs)
        # Its first two arguments, energy and shift, have several names.
        _, shift_fn, *_ = bound.arguments.values()
        first_two = list(signature.parameters)[:2]
        rest: dict[str, object] = {}
        for argument, value in bound.arguments.items():
            if argument not in first_two:
                rest |= (
                    value if signature.parameters[argument].kind is inspect.Parameter.VAR_KEYWORD else {argument: value}
                )
        return ours(surrogate, shift_fn, **{**options, **rest})

    with _lock:
        original = _originals.setdefault(name, getattr(simulate, name))
        signature = inspect.signature(original)
        functools.update_wrapper(replaced, original)
        _given.setdefault(name, []).append(replaced)
        setattr(simulate, name, replaced)
    try:
        yield
    finally:
        with _lock:
            stack = _given[name]
            stack.remove(replaced)
            setattr(simulate, name, stack[-1] if stack else _originals[name])
            if not stack:
                del _originals[name], _given[name]
