"""What a jax-md `shift_fn` does to positions, found out by shifting a few of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin._types import ArrayLike

from .jax_md_modules import usual_promotions
from .protocols import Shift

# Of the shift, such as `box`.
Keywords: TypeAlias = Mapping[str, object]

# Places, in periods, and where a torus has them; boxes of a half or a third of the period have them elsewhere.
_PLACES = np.asarray([0.77, 1.27, -0.31])
_ON_TORUS = np.asarray([0.77, 0.27, 0.69])
# Free space leaves all of these where they are.
_FAR = np.asarray([-1e3, -3.7, 0.77, 2.9, 1e3])
# What rounding moves a position by, in periods or relative to where it is.
_ROUND_OFF = 1e-5
# Displacements, in periods, of which one moves positions by a part of the period, however long its unit is.
_SIZES = 10.0 ** np.arange(-15, 16)


def shifts_as(shift_fn: Shift, dim: int, period: float | None, keywords: Keywords) -> jax.Array:
    """Whether `shift_fn` wraps positions at `period` along every axis, or nowhere for None, as a traceable boolean.

    Args:
        shift_fn: of jax-md.
        dim: number of axes.
        period: of the torus.
        keywords: passed on to `shift_fn`, such as `box`.
    """
    places, expected, length = (_FAR, _FAR, 1.0) if period is None else (_PLACES, _ON_TORUS, period)

    def fits() -> jax.Array:
        rest = np.zeros((len(places), dim))
        landed = _shifted(shift_fn, places[:, None] * np.full(dim, length), rest, keywords)
        off = jnp.abs(landed / length - jnp.asarray(expected, landed.dtype)[:, None])
        allowed = np.abs(expected) if period is None else np.ones(len(places))
        return jnp.all(off < jnp.asarray(_ROUND_OFF * allowed, off.dtype)[:, None])

    return _while_tracing(fits)


def displacement_map(shift_fn: Shift, dim: int, period: float | None, keywords: Keywords) -> jax.Array:
    """The matrix J of `shift_fn(R, dR) = R + J dR`: the identity, but for fractional coordinates.

    jax-md gives its transformations derivatives that are not theirs, so that positions are shifted instead.
    """
    length = 1.0 if period is None else period

    def moved_by(sizes: jax.Array) -> jax.Array:
        """How far displacements of these sizes move positions: (size, axis of the displacement, axis)."""
        start = jnp.full((len(sizes) * dim, dim), 0.5 * length, np.float32)
        displacement = (sizes[:, None, None] * jnp.eye(dim, dtype=np.float32)[None]).reshape(-1, dim)
        return (_shifted(shift_fn, start, displacement, keywords) - start).reshape(-1, dim, dim)

    def matrix() -> jax.Array:
        # Fractional coordinates move by little in a large box and by many periods in a small one.
        sizes = jnp.asarray(_SIZES * length, np.float32)
        far = jnp.max(jnp.abs(moved_by(sizes)), axis=(1, 2))
        first = jnp.argmax(far > 0.02 * length)
        size = sizes[first] * (0.2 * length / far[first])
        return moved_by(size[None])[0].T / size

    return _while_tracing(matrix)


def is_identity(matrix: jax.Array | np.ndarray) -> bool:
    """Whether a matrix is known while tracing, and known to be the identity up to round-off."""
    if isinstance(matrix, jax.core.Tracer):
        return False
    return bool(np.abs(np.asarray(matrix) - np.eye(len(matrix))).max() < _ROUND_OFF)


def distance_of_neighbours(position: np.ndarray, period: float | None, to_position: np.ndarray | None) -> float:
    """A length of about the distance of neighbouring particles, in the unit of displacements.

    Args:
        position: (N, dim).
        period: of the box.
        to_position: see `displacement_map`; None for the identity.
    """
    n, dim = position.shape
    spread = float(np.ptp(position, axis=0).max()) or float(np.abs(position).max()) or 1.0
    unit = 1.0 if to_position is None else abs(float(np.linalg.det(to_position))) ** (1 / dim)
    return (spread if period is None else period) / n ** (1 / dim) / unit


def _shifted(shift_fn: Shift, position: ArrayLike, displacement: ArrayLike, keywords: Keywords) -> jax.Array:
    try:
        with usual_promotions():
            moved = shift_fn(jnp.asarray(position, jnp.float32), jnp.asarray(displacement, jnp.float32), **keywords)
    except jax.errors.JAXTypeError:
        raise
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"shift_fn does not move (N, dim) positions by displacements ({error}); space.free and space.periodic "
            "return (displacement_fn, shift_fn)"
        ) from error
    return moved.astype(jnp.float32)


def _while_tracing(function: Callable[[], jax.Array]) -> jax.Array:
    """The value of `function` even while something is being traced, unless it depends on that."""
    try:
        with jax.ensure_compile_time_eval():
            return function()
    except jax.errors.UnexpectedTracerError:
        # The box is being traced.
        return function()
