"""Moving samples with a learned velocity: one-step integrators, and the schedule of substeps of a trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, UInt32

from hoam_plugin.numerics import tolerances

# Field at one time: samples -> velocity.
Velocity = Callable[[Any], Any]
Noise = Literal["stratified", "independent"]
Integrator = Literal["euler", "heun", "rk4"]
INTEGRATORS = get_args(Integrator)

# Of a step, where times are known in single precision only.
_ROUND_OFF = 1e-5
_BUCKET = 32


def euler(
    field_at: Callable[[Any], Velocity], x: Float[Array, "n D"], time: Any, dt: Any, increment: Float[Array, "n D"]
) -> Float[Array, "n D"]:
    """Euler-Maruyama step of dx = field dt + dW."""
    return x + dt * field_at(time)(x) + increment


def runge_kutta_4(
    field_at: Callable[[Any], Velocity], x: Float[Array, "n D"], time: Any, dt: Any
) -> Float[Array, "n D"]:
    """Classical fourth-order Runge-Kutta step of dx/dt = field_at(t)(x)."""
    middle = field_at(time + dt / 2)
    k1 = field_at(time)(x)
    k2 = middle(x + dt / 2 * k1)
    k3 = middle(x + dt / 2 * k2)
    k4 = field_at(time + dt)(x + dt * k3)
    return x + dt / 6 * (k1 + 2 * (k2 + k3) + k4)


def stochastic_heun(
    field_at: Callable[[Any], Velocity], x: Float[Array, "n D"], time: Any, dt: Any, increment: Float[Array, "n D"]
) -> Float[Array, "n D"]:
    """Heun step of dx = field dt + dW for additive noise: weak order 2 (Kloeden and Platen 1992, section 15.1)."""
    k1 = field_at(time)(x)
    k2 = field_at(time + dt)(x + dt * k1 + increment)
    return x + dt / 2 * (k1 + k2) + increment


def independent_normals(key: Array, z: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Standard normal variates, independent for all samples."""
    return jax.random.normal(key, z.shape, z.dtype)


def stratified_normals(key: Array, z: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Standard normal variates, evenly spread over each group of neighbours in (normalised) phase space.

    Array-RQMC (L'Ecuyer, Lecot and Tuffin 2008, doi:10.1287/opre.1080.0556): the samples are sorted along a Morton
    curve, and each pair of neighbours gets a point of a Kronecker sequence with a random shift, mapped to normal
    variates of opposite sign. Every sample sees exactly the same law as with independent noise, anew in every step, but
    the noise that averages over the population pick up nearly cancels: a quiet start stays quiet.
    """
    n, n_dims = z.shape
    order = _sorting_order(_morton_code(jax.lax.stop_gradient(z)))
    rank = jnp.zeros(n, jnp.uint32).at[order].set(jnp.arange(n, dtype=jnp.uint32), unique_indices=True)
    shift = jax.random.bits(key, (n_dims,), jnp.uint32)
    points = (rank >> np.uint32(1))[:, None] * jnp.asarray(_kronecker_steps(n_dims))[None, :] + shift[None, :]
    # Half a unit below 1 must still be a number below 1.
    n_bits = 23 if z.dtype == jnp.float32 else 32
    uniform = ((points >> np.uint32(32 - n_bits)).astype(z.dtype) + 0.5) * 2.0**-n_bits
    sign = 1 - 2 * (rank & np.uint32(1)).astype(z.dtype)
    return sign[:, None] * ndtri(uniform)


def _kronecker_steps(n_dims: int) -> np.ndarray:
    """Steps of the additive sequence with the powers of the generalised golden ratio, as fractions of 2^32."""
    ratio = 2.0
    for _ in range(64):
        ratio = (1 + ratio) ** (1 / (n_dims + 1))
    return np.round(ratio ** -np.arange(1.0, n_dims + 1) * 2.0**32).astype(np.uint32)


# The kinds of noise by name.
NORMALS: dict[str, Callable[[Any, Any], Any]] = {"stratified": stratified_normals, "independent": independent_normals}


def _morton_code(z: Float[Array, "n D"]) -> UInt32[Array, " n"]:
    """Position along the Morton curve through the bounding box of the samples (its first four coordinates)."""
    n_dims = min(z.shape[1], 4)
    n_bits = min(16, 32 // n_dims)
    low, high = jnp.min(z, axis=0, keepdims=True), jnp.max(z, axis=0, keepdims=True)
    unit = (z - low) / jnp.maximum(high - low, jnp.finfo(z.dtype).tiny)
    cell = jnp.minimum(unit * 2.0**n_bits, 2.0**n_bits - 1).astype(jnp.uint32)
    code = jnp.zeros(z.shape[0], jnp.uint32)
    for bit in range(n_bits):
        for d in range(n_dims):
            digit = (cell[:, d] >> np.uint32(bit)) & np.uint32(1)
            code = code | (digit << np.uint32(bit * n_dims + d))
    return code


def _sorting_order(code: UInt32[Array, " n"]) -> UInt32[Array, " n"]:
    """Stable argsort: digit by digit, each packed with the position into one integer.

    XLA's CPU code sorts plain integers six times faster than pairs of key and index.
    """
    n = len(code)
    position_bits = max(1, (n - 1).bit_length())
    digit_bits = 32 - position_bits
    position = jnp.arange(n, dtype=jnp.uint32)
    order = position
    for shift in range(0, 32, digit_bits):
        digit = (code[order] >> np.uint32(shift)) & np.uint32((1 << digit_bits) - 1)
        packed = jnp.sort((digit << np.uint32(position_bits)) | position)
        order = order[packed & np.uint32((1 << position_bits) - 1)]
    return order


def most_steps(duration: float, n_saved: int, dt: float) -> int:
    """An upper bound of the number of substeps that `schedule` lays out for any times within a duration."""
    return math.ceil(duration / dt) + n_saved


class Schedule(NamedTuple):
    """Substeps one after the other: one flat, masked list.

    Attributes:
        starts: of each step.
        sizes: of each step; 0 for padding.
        real: whether each step is no padding.
        done: for each saved time the number of steps taken before it.
    """

    starts: Any
    sizes: Any
    real: Any
    done: Any

    def rounded(self, dtype: Any) -> Schedule:
        """For compiled code: times known to the host and traced ones then have the same dtype."""
        starts, sizes = (jnp.asarray(part, dtype) for part in (self.starts, self.sizes))
        return Schedule(starts, sizes, jnp.asarray(self.real), jnp.asarray(self.done))


def known_schedule(start: float, times: Float[np.ndarray, " T"], dt: float) -> Schedule:
    """`schedule` in double precision on the host, padded so that nearby schedules share one compilation."""
    starts = np.concatenate([[start], times[:-1]])
    counts = [tolerances.whole_steps(gap, dt, max(abs(start), abs(times[-1]))) for gap in (times - starts).tolist()]
    n_steps = max(1, math.ceil(sum(counts) / _BUCKET) * _BUCKET)
    return _laid_out(np, starts, times, np.asarray(counts, np.int32), n_steps)


def schedule(start: Float[Array, ""], times: Float[Array, " T"], dt: float, n_steps: int) -> Schedule:
    """Equal substeps no longer than `dt` from `start` through all of `times`, of which no step count is known yet."""
    starts = jnp.concatenate([start[None], times[:-1]])
    gaps = times - starts
    counts = jnp.maximum(jnp.ceil(gaps / dt - _ROUND_OFF), 0).astype(jnp.int32)
    # A gap of round-off size only still has to be taken, in one step; an empty one must not divide by zero.
    counts = jnp.where(gaps > 0, jnp.maximum(counts, 1), 0)
    return _laid_out(jnp, starts, times, counts, n_steps)


def _laid_out(numpy: Any, starts: Any, times: Any, counts: Any, n_steps: int) -> Schedule:
    gaps = times - starts
    done = numpy.cumsum(counts, dtype=numpy.int32)
    step = numpy.arange(n_steps, dtype=numpy.int32)
    interval = numpy.minimum(numpy.searchsorted(done, step, side="right"), len(times) - 1)
    sizes = gaps / numpy.maximum(counts, 1).astype(gaps.dtype)
    within = (step - (done - counts)[interval]).astype(gaps.dtype)
    real = step < done[-1]
    return Schedule(starts[interval] + within * sizes[interval], numpy.where(real, sizes[interval], 0), real, done)
