"""The discrete inverse continuity equation (DICE): differences between neighbouring times in place of d_t s.

    sum_j { dt_j / 4 ( <|grad s_j|^2>_j + <|grad s_{j+1}|^2>_{j+1} )
            - 1/2 [ <s_j + s_{j+1}>_{j+1} - <s_j + s_{j+1}>_j ] }     (+ the trapezoid of b0 . grad s + eps^2 / 2 lap s)

arXiv:2507.05107, here around a known drift b0. It is invariant to s -> s + c(t).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, cast

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.losses.action_matching import ActionMatching, parts_of
from hoam_plugin.losses.base import EntropicLoss
from hoam_plugin.losses.batch import Nodes
from hoam_plugin.losses.differences import half_differences
from hoam_plugin.potentials import Embedding, LearnedDrift, Potential, Weights
from hoam_plugin.quadrature import trapezoid_weights


@dataclasses.dataclass(frozen=True)
class DICE(EntropicLoss):
    """The discrete inverse continuity equation on the saved times, whatever they are.

    Assumes only marginals at times that resolve the motion; s is piecewise linear between them (an error of second
    order in their distance), and there is no time derivative of the network that could exploit the times between.

    Attributes:
        epsilon: amplitude of the entropic noise; see `ActionMatching`.

    Raises:
        ValueError: a negative or non-finite epsilon.

    Example:
        >>> hoam.DICE(epsilon=0.1).epsilon
        0.1
    """

    compares_times: ClassVar[bool] = True

    def time_weights(self, times: Float[np.ndarray, " T"], given: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """The trapezoidal rule on the saved times, whatever they are."""
        return trapezoid_weights(times)

    def judged_by(self) -> ActionMatching:
        """Action matching whose time derivative acts on the data to a higher order."""
        return ActionMatching(self.epsilon, samples="coupled", time_derivative="data")

    def interior(
        self,
        potential: LearnedDrift,
        embedding: Embedding,
        weights: Weights,
        nodes: Nodes,
        reference: Float[Array, "k D"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `pair_terms`."""
        return pair_terms(cast(Potential, potential), embedding, weights, nodes, self.noise)


def pair_terms(
    potential: Potential, embedding: Embedding, weights: Weights, nodes: Nodes, epsilon: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """What the given nodes add to the loss, and to its quadratic part.

    The sum over pairs of times is arranged by node: s_j meets the samples at j, and those of both neighbours, where the
    samples at j itself cancel. `Nodes.neighbours` holds the samples at j - 1 and j + 1; those of the end nodes, which
    have one neighbour only, are their own ones in the place of the missing one.
    """
    modulations = potential.modulations(weights, nodes.conditions)
    at_rest = jnp.zeros_like(modulations)
    parts = parts_of(potential, embedding, weights, nodes, epsilon, modulations, at_rest)
    assert nodes.shares is not None
    differences = half_differences(potential, embedding, weights, nodes, modulations)
    quadratic = jnp.sum(nodes.weights * nodes.mean(parts.squares / 2))
    return quadratic + jnp.sum(nodes.weights * nodes.mean(parts.linear) - nodes.shares * differences), quadratic
