"""The discrete inverse continuity equation (DICE): differences between neighbouring times in place of d_t s.

    sum_j { dt_j / 4 ( <|grad s_j|^2>_j + <|grad s_{j+1}|^2>_{j+1} )
            - 1/2 [ <s_j + s_{j+1}>_{j+1} - <s_j + s_{j+1}>_j ] }     (+ the trapezoid of b0 . grad s + eps^2 / 2 lap s)

arXiv:2507.05107, here around a known drift b0. It is invariant to s -> s + c(t).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.losses.action_matching import DEFAULT_EPSILON, squares_and_linear
from hoam_plugin.losses.batch import Nodes
from hoam_plugin.potentials import Embedding, Potential, Weights
from hoam_plugin.quadrature import Rule


@dataclasses.dataclass(frozen=True)
class DICE:
    """The discrete inverse continuity equation on the saved times, whatever they are.

    Assumes only marginals at times that resolve the motion; s is piecewise linear between them (an error of second
    order in their distance), and there is no time derivative of the network that could exploit the times between.

    Attributes:
        epsilon: amplitude of the entropic noise; see `ActionMatching`.

    Raises:
        ValueError: a negative or non-finite epsilon.
    """

    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None and not (math.isfinite(self.epsilon) and self.epsilon >= 0):
            raise ValueError(f"epsilon={self.epsilon!r} must be a finite number of at least 0 or None")

    @property
    def noise(self) -> float:
        """Epsilon with its default."""
        return DEFAULT_EPSILON if self.epsilon is None else self.epsilon

    @property
    def quadrature(self) -> Rule | None:
        """The saved times are taken as they are."""
        return None

    @property
    def coupled(self) -> bool:
        """Whether an iteration follows the same samples through all times."""
        return True

    @property
    def merged(self) -> bool:
        """Single samples are needed."""
        return False

    def n_probes(self, n_dims: int) -> int:
        """The Laplacian is exact."""
        return 0


def pair_terms(
    potential: Potential, embedding: Embedding, weights: Weights, nodes: Nodes, epsilon: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What the given nodes add to the loss, and to its quadratic part.

    The sum over pairs of times is arranged by node: s_j meets the samples at j, and those of both neighbours, where the
    samples at j itself cancel. `Nodes.neighbours` holds the samples at j - 1 and j + 1; those of the end nodes, which
    have one neighbour only, are their own ones in the place of the missing one.
    """
    n_times, n = nodes.points.shape[:2]
    modulations = potential.modulations(weights, nodes.conditions)
    at_rest = jnp.zeros_like(modulations)
    squares, linear = squares_and_linear(potential, embedding, weights, nodes, epsilon, modulations, at_rest)
    neighbours: Any = nodes.rows("neighbours")
    assert nodes.shares is not None
    rows = neighbours.reshape(-1, neighbours.shape[-1])
    features = embedding.streams(rows, laplacian=False, probes=jnp.zeros((len(rows), 0, rows.shape[1]), rows.dtype))
    values = potential.propagate(weights, features, modulations, at_rest).value.reshape(n_times, n, 2)
    differences = jnp.mean(values[:, :, 1] - values[:, :, 0], axis=1) / 2
    quadratic = jnp.sum(nodes.weights * nodes.mean(squares / 2))
    return quadratic + jnp.sum(nodes.weights * nodes.mean(linear) - nodes.shares * differences), quadratic
