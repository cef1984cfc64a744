"""Low-noise sampling: scrambled Hammersley points and inverse distribution functions, traceable by JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float, Int, UInt32

from hoam_plugin._types import Key
from hoam_plugin.numerics import periodic
from hoam_plugin.steppers import default_float

__all__ = [
    "cosine_density_quantile",
    "gaussian_mixture_quantile",
    "quiet_points",
    "samples_of_table",
    "uniform_points",
]

# Sobol dimensions 2 to 5: inner coefficients of the primitive polynomial as bits, and the first direction numbers (Joe
# and Kuo 2008, "Constructing Sobol sequences with better two-dimensional projections").
_PRIMITIVE = ((0, (1,)), (1, (1, 3)), (1, (1, 3, 1)), (2, (1, 1, 1)))


def __dir__() -> list[str]:
    return __all__


def _reverse_bits(x: UInt32[Array, " n"]) -> UInt32[Array, " n"]:
    for shift, mask in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF)):
        x = ((x & np.uint32(mask)) << np.uint32(shift)) | ((x >> np.uint32(shift)) & np.uint32(mask))
    return (x << np.uint32(16)) | (x >> np.uint32(16))


def _owen_scramble(x: UInt32[Array, " n"], seed: UInt32[Array, ""]) -> UInt32[Array, " n"]:
    """Nested uniform scrambling by a hash that only lets lower bits of the reversed word affect higher ones.

    Laine and Karras 2011, "Stratified sampling for stochastic transparency", with the constants of Burley 2020.
    """
    x = _reverse_bits(x) + seed
    for factor in (0x6C50B47C, 0xB82F1E52, 0xC7AFE638, 0x8D22F6E6):
        x = x ^ (x * np.uint32(factor))
    return _reverse_bits(x)


def quiet_points(key: Key, n: int, n_dims: int = 2) -> Float[Array, "n d"]:
    """The scrambled Hammersley set: `n` points in the unit cube, far more even than random ones, in random order.

    The first coordinate is evenly spaced, the others are scrambled Sobol sequences. For any `n`, and above all where it
    is no power of two, this is quieter than the first `n` points of a Sobol sequence of as many dimensions: linear
    growth rates of a plasma (1e5 particles, amplitude 1e-4) scatter by 1 % from key to key instead of 5 %.

    Args:
        key: JAX random key.
        n: number of points.
        n_dims: coordinates of each.

    Raises:
        ValueError: `n_dims` outside 2 to 6.

    Example:
        >>> points = simulators.sampling.quiet_points(key, 1000, 2)
        >>> points.shape, round(float(points[:, 0].mean()), 3)
        ((1000, 2), 0.5)
    """
    if not 2 <= n_dims <= len(_PRIMITIVE) + 2:
        raise ValueError(f"n_dims={n_dims!r} must lie between 2 and {len(_PRIMITIVE) + 2}")
    shift_key, scramble_key, order_key = jax.random.split(key, 3)
    index = jnp.arange(n, dtype=jnp.uint32)
    others = []
    for dim in range(n_dims - 1):
        own_key = jax.random.fold_in(scramble_key, dim) if dim else scramble_key
        word = _owen_scramble(_sobol_word(index, dim), jax.random.bits(own_key, (), jnp.uint32))
        others.append(_to_unit(word))
    dtype = others[0].dtype
    spaced = (index.astype(dtype) + jax.random.uniform(shift_key, (), dtype)) / n
    first = jnp.minimum(spaced, 1 - jnp.finfo(dtype).epsneg)  # round-off may reach 1
    # In random order, so that any subset of the samples is a sample of the population too.
    return jax.random.permutation(order_key, jnp.stack([first, *others], axis=-1))


def _sobol_word(index: UInt32[Array, " n"], dim: int) -> UInt32[Array, " n"]:
    """The Sobol sequence of one dimension (from 0) as 32-bit fractions, in its natural order."""
    if dim == 0:
        return _reverse_bits(index)
    n_bits = max(1, (len(index) - 1).bit_length())
    bits = (index[:, None] >> np.arange(n_bits, dtype=np.uint32)[None, :]) & np.uint32(1)
    directions = np.asarray(_directions(*_PRIMITIVE[dim - 1])[:n_bits], np.uint32)[None, :]
    return jax.lax.reduce(bits * directions, np.uint32(0), jax.lax.bitwise_xor, (1,))


def _directions(coefficients: int, start: tuple[int, ...]) -> list[int]:
    """The 32 direction numbers that a primitive polynomial and its first numbers give."""
    degree, m = len(start), list(start)
    for k in range(degree, 32):
        value = m[k - degree] ^ (m[k - degree] << degree)
        for i in range(1, degree):
            if (coefficients >> (degree - 1 - i)) & 1:
                value ^= m[k - i] << i
        m.append(value)
    return [number << (31 - k) for k, number in enumerate(m)]


def _to_unit(bits: UInt32[Array, " n"]) -> Float[Array, " n"]:
    dtype = default_float()
    kept = 23 if dtype == jnp.float32 else 32  # the half added below takes one more bit; rounded up, it would give 1
    return ((bits >> np.uint32(32 - kept)).astype(dtype) + 0.5) * (2.0**-kept)


def uniform_points(key: Key, n: int, n_dims: int, start: str) -> Float[Array, "n d"]:
    """Points in the unit cube for a "quiet" or a "random" start.

    Args:
        key: JAX random key.
        n: number of points.
        n_dims: coordinates of each.
        start: "quiet" for `quiet_points`, "random" for independent ones.

    Example:
        >>> simulators.sampling.uniform_points(key, 1000, 3, "quiet").shape
        (1000, 3)
    """
    return quiet_points(key, n, n_dims) if start == "quiet" else jax.random.uniform(key, (n, n_dims))


def cosine_density_quantile(
    u: Float[Array, " n"], length: Float[Array, ""] | float, amplitude: Float[Array, ""] | float, mode: int
) -> Float[Array, " n"]:
    """Positions x in [0, length) whose density is 1 + amplitude cos(2 pi mode x / length), |amplitude| < 1.

    Inverts the cumulative density x/L + a/(2 pi m) sin(2 pi m x/L) = u by safeguarded Newton steps.

    Args:
        u: points in [0, 1), shape (n,).
        length: period L.
        amplitude: a.
        mode: wavelengths m in the period.

    Example:
        >>> x = simulators.sampling.cosine_density_quantile(jnp.asarray([0.25, 0.5]), 50.0, 0.0, 1)
        >>> x.tolist()
        [12.5, 25.0]
    """
    k = 2 * jnp.pi * mode
    half_width = jnp.abs(jnp.asarray(amplitude, u.dtype)) / k
    low, high = u - half_width, u + half_width

    s = u
    for _ in range(12):
        residual = s + amplitude / k * jnp.sin(k * s) - u
        s = jnp.clip(s - residual / (1 + amplitude * jnp.cos(k * s)), low, high)
    return periodic.wrapped_by_product(s, 1.0) * length


def gaussian_mixture_quantile(
    u: Float[Array, " n"], weights: tuple[float, ...], means: tuple[float, ...], widths: tuple[float, ...]
) -> Float[Array, " n"]:
    """Samples of a mixture of normals: [0, 1] is cut in proportion to the weights, each piece mapped to its normal.

    Args:
        u: points in [0, 1), shape (n,).
        weights: shares of the normals, of any sum.
        means: of each normal.
        widths: standard deviation of each.

    Example:
        >>> beams = {"weights": (0.5, 0.5), "means": (-3.0, 3.0), "widths": (1.0, 1.0)}
        >>> v = simulators.sampling.gaussian_mixture_quantile(jnp.asarray([0.25, 0.75]), **beams)
        >>> v.round(1).tolist()
        [-3.0, 3.0]
    """
    edges = (np.cumsum((0.0, *weights)) / np.sum(weights)).tolist()
    v = jnp.zeros_like(u)
    tiny = jnp.finfo(u.dtype).eps
    for left, right, mean, width in zip(edges[:-1], edges[1:], means, widths, strict=True):
        local = jnp.clip((u - left) / (right - left), tiny, 1 - tiny)
        v = jnp.where((u >= left) & (u < right), mean + width * ndtri(local), v)
    return v


def samples_of_table(
    u: Float[Array, "sample 2"], f: Float[Array, "n_x n_v"], length: float, low: float, high: float
) -> tuple[Float[Array, " sample"], Float[Array, " sample"]]:
    """Map points of the unit square to samples (x, v) of a density that is linear between the nodes of a grid.

    The position comes from the inverse of the cumulative density, the velocity from that of its conditional
    distribution at the position.

    Args:
        u: points, such as those of `quiet_points`.
        f: density, not negative and of any norm; nodes x_i = i length / n_x (periodic) and v_j from `low` to `high`.
        length: period of the position.
        low: velocity of the first column.
        high: velocity of the last.

    Example:
        >>> u = jax.random.uniform(key, (100, 2))
        >>> x, v = simulators.sampling.samples_of_table(u, jnp.ones((8, 16)), 50.0, -3.0, 3.0)
        >>> x.shape, bool(abs(v).max() <= 3)
        ((100,), True)
    """
    n_x, n_v = f.shape
    density = jnp.sum((f[:, 1:] + f[:, :-1]) / 2, axis=1)
    following = jnp.roll(density, -1)
    cumulative = jnp.concatenate([jnp.zeros(1, f.dtype), jnp.cumsum((density + following) / 2)])
    wanted = u[:, 0] * cumulative[-1]
    cell = jnp.clip(jnp.searchsorted(cumulative, wanted, side="right") - 1, 0, n_x - 1)
    s = _reached(wanted - cumulative[cell], density[cell], following[cell])
    x = (cell.astype(f.dtype) + s) * (length / n_x)

    rows = jnp.concatenate([jnp.zeros((n_x, 1), f.dtype), jnp.cumsum((f[:, 1:] + f[:, :-1]) / 2, axis=1)], axis=1)
    right = jnp.where(cell == n_x - 1, 0, cell + 1)

    def mixed(table: Float[Array, "n_x n_v"], index: Int[Array, " sample"]) -> Float[Array, " sample"]:
        return (1 - s) * table[cell, index] + s * table[right, index]

    target = u[:, 1] * mixed(rows, jnp.full_like(cell, n_v - 1))

    def halve(_: Int[Array, ""], bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        lower, upper = bracket
        middle = (lower + upper) // 2
        below = mixed(rows, middle) <= target
        return jnp.where(below, middle, lower), jnp.where(below, upper, middle)

    bracket = jnp.zeros_like(cell), jnp.full_like(cell, n_v - 1)
    column, _ = jax.lax.fori_loop(0, max(1, (n_v - 1).bit_length()), halve, bracket)
    column = jnp.minimum(column, n_v - 2)
    r = _reached(target - mixed(rows, column), mixed(f, column), mixed(f, column + 1))
    return jnp.where(x < length, x, 0), low + (column.astype(f.dtype) + r) * ((high - low) / (n_v - 1))


def _reached(
    area: Float[Array, " sample"], left: Float[Array, " sample"], right: Float[Array, " sample"]
) -> Float[Array, " sample"]:
    """Where in [0, 1] the area under a straight line from `left` to `right` reaches `area`."""
    # The stable form of the quadratic's root also holds where the line is level.
    root = jnp.sqrt(jnp.maximum(left**2 + 2 * (right - left) * area, jnp.finfo(area.dtype).tiny))
    return jnp.clip(2 * area / jnp.maximum(left + root, jnp.finfo(area.dtype).tiny), 0, 1)
