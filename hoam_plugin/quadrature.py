"""Quadrature rules on [0, 1]: where in time the action-matching loss is evaluated, and with which weights.

The order of the rule is the point of higher-order action matching (Berman, Blickhan and Peherstorfer 2024,
arXiv:2410.12000, section 3): with random times the loss is plain action matching (Neklyudov et al. 2023).
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

__all__ = [
    "Kind",
    "Rule",
    "gauss_legendre",
    "low_discrepancy",
    "simpson",
    "trapezoid",
    "trapezoid_weights",
    "uniform_random",
]

Kind = Literal["gauss_legendre", "simpson", "trapezoid", "uniform_random", "low_discrepancy"]

_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def __dir__() -> list[str]:
    return __all__


@dataclasses.dataclass(frozen=True)
class Rule:
    """A quadrature rule with `n` nodes on [0, 1]; `random` rules draw their nodes anew for every key.

    Example:
        >>> rule = hoam.quadrature.gauss_legendre(64)
        >>> str(rule), rule.n, rule.random
        ('gauss_legendre(64)', 64, False)
    """

    kind: Kind
    n: int

    @property
    def random(self) -> bool:
        """Whether the nodes depend on a key."""
        return self.kind in ("uniform_random", "low_discrepancy")

    def __str__(self) -> str:
        return f"{self.kind}({self.n})"

    def nodes_and_weights(self, key: Array | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Increasing nodes and weights (float64, summing to 1) on [0, 1].

        Raises:
            ValueError: a random rule without a key.
        """
        if self.random:
            if key is None:
                raise ValueError(f"key=None: the random rule {self} needs a key, such as jax.random.key(0)")
            return np.sort(self._draw_on_host(key)), np.full(self.n, 1.0 / self.n)
        if self.kind == "gauss_legendre":
            nodes, weights = np.polynomial.legendre.leggauss(self.n)
            return (nodes + 1.0) / 2.0, weights / 2.0
        nodes = np.linspace(0.0, 1.0, self.n)
        weights = np.ones(self.n)
        if self.kind == "simpson":
            weights[1:-1:2], weights[2:-1:2] = 4.0, 2.0
        else:
            weights[1:-1] = 2.0
        return nodes, weights / weights.sum()

    def draw(self, key: Array) -> Float[Array, " n"]:
        """Random nodes in [0, 1), unsorted, traceable. Each node is uniform by itself, so the mean is unbiased."""
        if self.kind == "uniform_random":
            return jax.random.uniform(key, (self.n,))
        if self.kind == "low_discrepancy":
            # Kronecker sequence of the golden ratio with one random shift (Cranley-Patterson).
            return (jnp.asarray(self._lattice()) + jax.random.uniform(key)) % 1.0
        raise ValueError(f"rule {self} is deterministic; its nodes come from nodes_and_weights()")

    def _draw_on_host(self, key: Array) -> np.ndarray:
        # 53 random bits a node: of float32's 2^23 different values, 1000 would hold two equal ones in 6 % of draws.
        words = np.asarray(jax.random.bits(key, (self.n, 2), jnp.uint32)).astype(np.float64)
        uniform = (np.floor(words[:, 0] / 2**5) * 2**26 + np.floor(words[:, 1] / 2**6)) / 2**53
        return uniform if self.kind == "uniform_random" else (self._lattice() + uniform[0]) % 1.0

    def _lattice(self) -> np.ndarray:
        return (np.arange(self.n) * _GOLDEN) % 1.0


def _rule(kind: Kind, n: int, least: int) -> Rule:
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < least:
        raise ValueError(f"n={n!r}: quadrature.{kind} needs a whole number of nodes, at least {least}")
    return Rule(kind, int(n))


def gauss_legendre(n: int) -> Rule:
    """Gauss-Legendre rule, exact for polynomials up to degree 2n - 1.

    Args:
        n: number of nodes, at least 1.

    Example:
        >>> nodes, weights = hoam.quadrature.gauss_legendre(2).nodes_and_weights()
        >>> nodes.round(4), weights
        (array([0.2113, 0.7887]), array([0.5, 0.5]))
    """
    return _rule("gauss_legendre", n, 1)


def simpson(n: int) -> Rule:
    """Composite Simpson rule on n equidistant nodes (n odd, at least 3), exact up to degree 3.

    Args:
        n: number of nodes.

    Raises:
        ValueError: `n` is even, below 3, or no whole number.

    Example:
        >>> nodes, weights = hoam.quadrature.simpson(3).nodes_and_weights()
        >>> nodes, weights.round(4)
        (array([0. , 0.5, 1. ]), array([0.1667, 0.6667, 0.1667]))
    """
    rule = _rule("simpson", n, 3)
    if n % 2 == 0:
        raise ValueError(f"n={n!r}: the composite Simpson rule needs an odd number of nodes; try {n - 1} or {n + 1}")
    return rule


def trapezoid(n: int) -> Rule:
    """Composite trapezoidal rule on n equidistant nodes (at least 2), exact up to degree 1.

    Args:
        n: number of nodes.

    Example:
        >>> hoam.quadrature.trapezoid(3).nodes_and_weights()[1]
        array([0.25, 0.5 , 0.25])
    """
    return _rule("trapezoid", n, 2)


def uniform_random(n: int) -> Rule:
    """Independent uniform times with equal weights: plain action matching.

    Args:
        n: number of times that an iteration draws, at least 1.

    Example:
        >>> rule = hoam.quadrature.uniform_random(8)
        >>> rule.random, rule.draw(key).shape
        (True, (8,))
    """
    return _rule("uniform_random", n, 1)


def low_discrepancy(n: int) -> Rule:
    """The times of a randomly shifted Kronecker sequence with equal weights.

    Args:
        n: number of times that an iteration draws, at least 1.

    Example:
        >>> hoam.quadrature.low_discrepancy(8).draw(key).shape
        (8,)
    """
    return _rule("low_discrepancy", n, 1)


def trapezoid_weights(times: np.ndarray) -> np.ndarray:
    """Composite trapezoidal weights on arbitrary increasing times, scaled to sum to 1.

    Args:
        times: at least two, increasing, shape (T,).

    Example:
        >>> hoam.quadrature.trapezoid_weights(np.asarray([0.0, 1.0, 4.0]))
        array([0.125, 0.5  , 0.375])
    """
    gaps = np.diff(np.asarray(times, np.float64))
    weights = np.zeros(len(times))
    weights[:-1] += gaps / 2
    weights[1:] += gaps / 2
    return weights / weights.sum()
