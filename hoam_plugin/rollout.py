"""Moving samples with a learned velocity: one-step integrators, and the schedule of substeps of a trajectory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, UInt32

# Field at one time: samples -> velocity.
Velocity = Callable[[Any], Any]
Noise = Literal["stratified", "independent"]
Integrator = Literal["euler", "heun", "rk4"]
INTEGRATORS = get_args(Integrator)

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


def most_steps(state_time: Any, times: Any, horizon: tuple[float, float], dt: float) -> int:
    """An upper bound, known while tracing, of the number of substeps that `schedule` lays out."""
    n_saved = len(times)
    if isinstance(times, jax.core.Tracer) or isinstance(state_time, jax.core.Tracer):
        return math.ceil((horizon[1] - horizon[0]) / dt) + n_saved
    gaps = np.diff(np.concatenate([[float(state_time)], np.asarray(times, np.float64)]))
    exact = int(np.maximum(np.ceil(np.maximum(gaps, 0) / dt - _ROUND_OFF), 0).sum())
    # Nearby schedules share one compilation; the padding costs at most a few empty steps.
    return max(1, math.ceil(exact / _BUCKET) * _BUCKET)


def schedule(
    state_time: Float[Array, ""], times: Float[Array, " T"], dt: float, n_steps: int
) -> tuple[Float[Array, " S"], Float[Array, " S"], Array, Array]:
    """Equal substeps no longer than `dt` from `state_time` through all of `times`, as one flat, masked list.

    Returns:
        start time of each step, step sizes, whether each step is real (padding is not), and for each saved time the
        number of steps taken before it.
    """
    starts = jnp.concatenate([state_time[None], times[:-1]])
    gaps = times - starts
    counts = jnp.maximum(jnp.ceil(gaps / dt - _ROUND_OFF), 0).astype(jnp.int32)
    # A gap of round-off size only still has to be taken, in one step; an empty one must not divide by zero.
    counts = jnp.where(gaps > 0, jnp.maximum(counts, 1), 0)
    done = jnp.cumsum(counts)
    step = jnp.arange(n_steps, dtype=jnp.int32)
    interval = jnp.minimum(jnp.searchsorted(done, step, side="right"), len(times) - 1)
    sizes = gaps / jnp.maximum(counts, 1).astype(gaps.dtype)
    within = (step - (done - counts)[interval]).astype(gaps.dtype)
    real = step < done[-1]
    return starts[interval] + within * sizes[interval], jnp.where(real, sizes[interval], 0), real, done
