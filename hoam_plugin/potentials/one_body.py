"""Functions of the position of one particle: monomials, and harmonics of periodic coordinates, up to a total degree."""

from __future__ import annotations

import itertools
from types import ModuleType
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

ArrayT = TypeVar("ArrayT", jax.Array, np.ndarray)


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
    return _products(jnp, terms, _derivatives(jnp, terms, z), (0,) * len(terms.periods))


def one_body_derivatives(
    terms: OneBodyTerms, z: Float[np.ndarray, "... d"]
) -> tuple[Float[np.ndarray, "... k"], Float[np.ndarray, "... d k"], Float[np.ndarray, "... d d k"]]:
    """Values, gradients and second derivatives, on the host."""
    n = len(terms.periods)
    functions = _derivatives(np, terms, z)

    def differentiated(*axes: int) -> np.ndarray:
        return _products(np, terms, functions, tuple(axes.count(axis) for axis in range(n)))

    gradient = np.stack([differentiated(a) for a in range(n)], axis=-2)
    second = np.stack([np.stack([differentiated(a, b) for b in range(n)], axis=-2) for a in range(n)], axis=-3)
    return differentiated(), gradient, second


def _derivatives(numpy: ModuleType, terms: OneBodyTerms, z: ArrayT) -> list[list[ArrayT]]:
    """Per coordinate its functions, with their first and second derivatives, (..., m)."""
    result = []
    for axis, period in enumerate(terms.periods):
        x, highest = z[..., axis], max(term[axis] for term in terms.functions)
        one, zero = numpy.ones_like(x), numpy.zeros_like(x)
        orders: list[list[ArrayT]] = [[one], [zero], [zero]]
        for m in range(1, highest + 1):
            for order, value in enumerate(_power(x, m, one, zero) if period is None else _wave(numpy, x, m, period)):
                orders[order].append(value)
        result.append([numpy.stack(order, axis=-1) for order in orders])
    return result


def _power(x: ArrayT, m: int, one: ArrayT, zero: ArrayT) -> tuple[ArrayT, ArrayT, ArrayT]:
    return x**m, m * x ** (m - 1) if m > 1 else one, m * (m - 1) * x ** (m - 2) if m > 1 else zero


def _wave(numpy: ModuleType, x: ArrayT, m: int, period: float) -> tuple[ArrayT, ArrayT, ArrayT]:
    frequency = 2 * np.pi / period * ((m + 1) // 2)
    cos, sin = numpy.cos(frequency * x), numpy.sin(frequency * x)
    if m % 2:
        return cos, -frequency * sin, -(frequency**2) * cos
    return sin, frequency * cos, -(frequency**2) * sin


def _products(
    numpy: ModuleType, terms: OneBodyTerms, functions: list[list[ArrayT]], orders: tuple[int, ...]
) -> ArrayT:
    """All terms, each coordinate differentiated so often."""
    columns = np.asarray(terms.functions)
    factors = [of[order][..., columns[:, axis]] for axis, (of, order) in enumerate(zip(functions, orders, strict=True))]
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product
