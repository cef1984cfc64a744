"""Checks of what a program gives to a surrogate in jax-md's place: time steps, masses, constants, keywords."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin._internal import warned
from hoam_plugin._types import Numbers
from hoam_plugin.numerics import tolerances
from hoam_plugin.surrogates import Surrogate

from .stepper import JaxMDStepper

# Keywords that say where particles or what their neighbours are; the learned dynamics need none of them.
_HARMLESS = ("t", "neighbor", "neighbors", "neighbor_idx", "nbrs", "nbr_lists", "box", "new_box", "perturbation")


def substeps(surrogate: Surrogate, dt: object) -> int | None:
    """Steps of the surrogate's own size, or smaller, that make up `dt`; None where it is being traced.

    Raises:
        ValueError: a step that is not positive, or longer than the trained time range.
    """
    if isinstance(dt, jax.core.Tracer):
        return None
    duration = surrogate.horizon[1] - surrogate.horizon[0]
    try:
        size = float(np.asarray(dt))
    except (TypeError, ValueError):
        size = math.nan
    if not (math.isfinite(size) and 0 < size <= duration + tolerances.overshoot(0.0, duration)):
        raise ValueError(
            f"dt={dt if math.isnan(size) else size!r} must be above 0 and at most {duration:g}, the length of the time "
            "range that the surrogate was trained on"
        )
    return max(1, math.ceil(size / surrogate.dt * (1 - tolerances.ROUND_OFF)))


def traced_substeps(surrogate: Surrogate, dt: jax.Array) -> jax.Array:
    """The same of a time step that is being traced."""
    return jnp.maximum(1, jnp.ceil(dt * (1 / surrogate.dt) * (1 - tolerances.ROUND_OFF))).astype(jnp.int32)


def require_mass(surrogate: Surrogate, mass: object) -> None:
    """Raise ValueError for masses, in any of jax-md's shapes, that are not those of the training."""
    replaced = surrogate.learned.replaces
    if not isinstance(replaced, JaxMDStepper) or isinstance(mass, jax.core.Tracer):
        return
    trained, given = np.asarray(replaced.system.particles.mass, np.float64), np.asarray(mass)
    fits = given.size in (1, trained.size) or trained.size == 1
    if not (fits and tolerances.same(np.ones(1), given.reshape(-1) / trained.reshape(-1)).all()):
        raise ValueError(
            f"mass={given.tolist()!r} is not the {trained.tolist()!r} that the surrogate was trained with; "
            "give the same"
        )


def require_start(shape: tuple[int, ...], mass: object, momenta: object, kT: object) -> None:
    """Raise ValueError for masses, momenta or a temperature that do not fit the positions of a system.

    Args:
        shape: (N, dim) of the positions.
        mass: of all particles, or one for each, of shape (N,) or (N, 1).
        momenta: of the shape of positions, or None.
        kT: temperature.
    """
    if _shape(mass) not in ((), (shape[0],), (shape[0], 1)):
        raise ValueError(f"mass is {_said(mass)} and must be a number, or one for each of the {shape[0]} particles")
    if momenta is not None and _shape(momenta) != shape:
        raise ValueError(f"momenta is {_said(momenta)} and must be numbers of the shape {shape} of the positions")
    if kT is not None and _shape(kT) != ():
        raise ValueError(f"kT is {_said(kT)} and must be a number")


def _shape(value: object) -> tuple[int, ...] | None:
    """The shape of numbers, or None for anything else."""
    own = value if isinstance(value, jax.Array) else np.asarray(value)
    dtype = own.dtype
    return own.shape if isinstance(dtype, np.dtype) and dtype.kind in "fiuV" else None


def _said(value: object) -> str:
    """A value in a message, or what it is."""
    shape = value.shape if isinstance(value, jax.Array) else np.asarray(value).shape
    return f"of the shape {shape}" if shape else repr(value)


def require_unchanged(ensemble: str, name: str, have: Numbers, value: Numbers) -> None:
    """Raise ValueError for another value of a constant that the surrogate was not trained over."""
    if value is have:
        return
    if isinstance(value, jax.core.Tracer) or isinstance(have, jax.core.Tracer):
        changed = f"{name} is being traced and may change"
    elif not tolerances.same(np.atleast_1d(np.asarray(have)), np.atleast_1d(np.asarray(value))).all():
        changed = f"{name}={np.asarray(value).tolist()!r} is not the {np.asarray(have).tolist()!r} of {ensemble}"
    else:
        return
    raise ValueError(
        f"{changed}, but the surrogate was not trained over {name}; leave it constant, or train over several values"
    )


def require_own_options(options: Mapping[str, object]) -> None:
    """Raise ValueError for ignored keywords that are near misses of the two that are not jax-md's."""
    for name in options:
        near = difflib.get_close_matches(name, ("parameters", "beyond"), n=1, cutoff=0.8)
        if near and near[0] != name:
            raise ValueError(f"{name!r} is no keyword; did you mean {near[0]!r}?")


def warn_of_ignored(surrogate: Surrogate, keywords: Mapping[str, object]) -> None:
    """Warn of floating-point keywords, which an energy would look at and the surrogate does not."""
    for name, value in keywords.items():
        is_number = isinstance(value, float | np.ndarray | np.floating | jax.Array)
        if name not in _HARMLESS and is_number and jnp.issubdtype(jnp.result_type(value), jnp.floating):
            warned.warn(
                f"the keyword {name!r} is ignored: the surrogate was trained over {list(surrogate.parameters)!r}",
                stacklevel=4,
            )
