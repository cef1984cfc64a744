"""Functions of the position of one particle: monomials, and harmonics of periodic coordinates, up to a total degree."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class OneBodyTerms(NamedTuple):
    """Products of one function per coordinate, without the constant.

    Function m of a coordinate without a period is its power m, of degree m; of one with a period they are 1 and, of
    degree k, the functions 2k - 1 and 2k, cos and sin of the harmonic k.

    Attributes:
        periods: of the coordinates, or None.
        functions: of each term, those of the coordinates.
    """

    periods: tuple[float | None, ...]
    functions: tuple[tuple[int, ...], ...]

    @property
    def n(self) -> int:
        """Number of terms."""
        return len(self.functions)


def one_body_terms(periods: tuple[float | None, ...], degree: int) -> OneBodyTerms:
    """All terms up to a total degree."""
    numbers = [range(1 + degree * (1 if period is None else 2)) for period in periods]
    degrees = [lambda m, period=period: m if period is None else (m + 1) // 2 for period in periods]
    terms = tuple(
        term
        for term in itertools.product(*numbers)
        if 0 < sum(of(m) for of, m in zip(degrees, term, strict=True)) <= degree
    )
    return OneBodyTerms(periods, terms)


def one_body_values(terms: OneBodyTerms, z: Float[Array, "... d"]) -> Float[Array, "... k"]:
    """All terms at positions."""
    return _products(terms, _derivatives(terms, z), (0,) * len(terms.periods))


def one_body_continued(
    terms: OneBodyTerms, coefficients: Float[Array, "... k"], z: Float[Array, "... d"], ends: Float[Array, "2 d"]
) -> Float[Array, "..."]:
    """The sum of the terms with coefficients; beyond the ends of a range it goes on as a straight line.

    A polynomial says nothing of places where there was no particle. Along periods there are no ends.
    """
    return jnp.sum(one_body_continued_values(terms, z, ends) * coefficients, axis=-1)


def one_body_continued_values(
    terms: OneBodyTerms, z: Float[Array, "... d"], ends: Float[Array, "2 d"]
) -> Float[Array, "... k"]:
    """All terms, which go on as straight lines; see `one_body_continued`."""
    row = (1,) * (z.ndim - 1) + (-1,)
    free = np.asarray([period is None for period in terms.periods]).reshape(row)
    inside = jnp.where(free, jnp.clip(z, ends[0].reshape(row), ends[1].reshape(row)), z)
    value, change = jax.jvp(lambda z: one_body_values(terms, z), (inside,), (z - inside,))
    return value + change


def one_body_derivatives(
    terms: OneBodyTerms, z: Float[Array, "... d"]
) -> tuple[Float[Array, "... k"], Float[Array, "... d k"], Float[Array, "... d d k"]]:
    """Values, gradients and second derivatives."""
    n = len(terms.periods)
    functions = _derivatives(terms, z)

    def differentiated(*axes: int) -> Float[Array, "... k"]:
        return _products(terms, functions, tuple(axes.count(axis) for axis in range(n)))

    gradient = jnp.stack([differentiated(a) for a in range(n)], axis=-2)
    second = jnp.stack([jnp.stack([differentiated(a, b) for b in range(n)], axis=-2) for a in range(n)], axis=-3)
    return differentiated(), gradient, second


def _derivatives(terms: OneBodyTerms, z: Float[Array, "... d"]) -> list[list[Float[Array, "... _"]]]:
    """Per coordinate its functions, with their first and second derivatives."""
    result = []
    for axis, period in enumerate(terms.periods):
        x, highest = z[..., axis], max(term[axis] for term in terms.functions)
        orders = [[jnp.ones_like(x)], [jnp.zeros_like(x)], [jnp.zeros_like(x)]]
        for m in range(1, highest + 1):
            for order, value in zip(orders, _power(x, m) if period is None else _wave(x, m, period), strict=True):
                order.append(value)
        result.append([jnp.stack(order, axis=-1) for order in orders])
    return result


def _power(x: Float[Array, "..."], m: int) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    slope = m * x ** (m - 1) if m > 1 else jnp.ones_like(x)
    return x**m, slope, m * (m - 1) * x ** (m - 2) if m > 1 else jnp.zeros_like(x)


def _wave(
    x: Float[Array, "..."], m: int, period: float
) -> tuple[Float[Array, "..."], Float[Array, "..."], Float[Array, "..."]]:
    frequency = 2 * np.pi / period * ((m + 1) // 2)
    cos, sin = jnp.cos(frequency * x), jnp.sin(frequency * x)
    if m % 2:
        return cos, -frequency * sin, -(frequency**2) * cos
    return sin, frequency * cos, -(frequency**2) * sin


def _products(
    terms: OneBodyTerms, functions: list[list[Float[Array, "... _"]]], orders: tuple[int, ...]
) -> Float[Array, "... k"]:
    """All terms, each coordinate differentiated so often."""
    columns = np.asarray(terms.functions)
    factors = [of[order][..., columns[:, axis]] for axis, (of, order) in enumerate(zip(functions, orders, strict=True))]
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product
