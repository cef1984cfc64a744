"""The action-matching loss: Monte Carlo over samples, quadrature over time, one forward pass for all derivatives.

    L(s) = E_mu { E_{rho_0}[s] - E_{rho_1}[s] + int_0^1 E_{rho_t}[ |grad s|^2 / 2 + d_t s + eps^2 / 2 lap s ] dt }

Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000, equations 8 to 10): with a high-order rule for the time
integral this is HOAM; with random times it is action matching (Neklyudov et al. 2023, arXiv:2210.06662).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import either, of_type, positive_int
from hoam_plugin.dynamics import CONDITION_TIME_RATE, Dynamics
from hoam_plugin.losses import cells
from hoam_plugin.losses.base import EntropicLoss
from hoam_plugin.losses.batch import Batch, Nodes, if_there, rows_of
from hoam_plugin.potentials import (
    MOST_FORWARD_DIMS,
    Embedding,
    Force,
    LearnedDrift,
    Potential,
    Streams,
    VectorField,
    Weights,
    modulations_and_rates,
)
from hoam_plugin.quadrature import Rule

# Up to these many coordinates, all derivatives are carried forward: see `benchmarks/results/laplacian.md`.
_MOST_EXACT_DIMS = 16

Laplacian = Literal["exact", "hutchinson"]
Samples = Literal["independent", "coupled", "merged"]
TimeDerivative = Literal["network", "data"]


@dataclasses.dataclass(frozen=True)
class ActionMatching(EntropicLoss):
    """Action matching with the time quadrature as its parameter.

    Attributes:
        epsilon: amplitude of the entropic noise in normalised units (each coordinate scaled as in training, time on
            [0, 1]); the surrogate is an ODE for 0 and an SDE above. None takes 0.5 for the structure "gradient", and is
            all that other structures allow: there the noise is that of the stepper.
        quadrature: rule on which the ensemble was saved, or a random rule that draws from its saved times anew in each
            iteration (plain action matching). None takes the ensemble's `quadrature_weight`, else the composite Simpson
            or trapezoidal rule on its times.
        laplacian: with epsilon > 0, "exact" or "hutchinson" (an unbiased estimate from random directions, whose cost
            does not grow with the number of coordinates); None takes the exact one up to 16 coordinates.
        probes: random directions per sample of the estimate.
        samples: which samples an iteration sees. "independent": subsets drawn anew at every node. "coupled": the same
            samples at all nodes and both ends; where sample i is the same trajectory at all times, as `simulate` saves
            them, the fluctuations of the linear terms cancel to the quadrature error. "merged": all samples, as a few
            weighted points with the same density, momentum and pressure (`hoam_plugin.losses.cells`), for the structure
            "kinetic" with one velocity and a `VectorField`. All have the same expectation. None takes "merged" where it
            can be had, else "independent", and so knows nothing of trajectories.
        time_derivative: what is differentiated in time. "network": the potential, as published; on finitely many nodes
            this has no lower bound. "data": the expectations of the potential of each node, held still, over the
            samples of neighbouring saved times, which has one. None takes "network".

    Raises:
        ValueError: a negative or non-finite epsilon, an unknown kind of Laplacian, samples or derivative, or no probe.
        TypeError: a quadrature that is not a rule.
    """

    quadrature: Rule | None = None
    laplacian: Laplacian | None = None
    probes: int = 1
    samples: Samples | None = None
    time_derivative: TimeDerivative | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        of_type(
            "quadrature", self.quadrature, (Rule, type(None)), "a rule such as quadrature.gauss_legendre(64) or None"
        )
        either("laplacian", self.laplacian, "exact", "hutchinson", None)
        if self.samples not in (None, *get_args(Samples)):
            raise ValueError(f"samples={self.samples!r} must be one of {get_args(Samples)!r} or None")
        either("time_derivative", self.time_derivative, *get_args(TimeDerivative), None)
        positive_int("probes", self.probes)

    @property
    def coupled(self) -> bool:
        """Whether an iteration follows the same samples through all times."""
        return self.samples == "coupled"

    @property
    def merged(self) -> bool:
        """Whether an iteration sees all samples as a few weighted points."""
        return self.samples == "merged"

    def n_probes(self, n_dims: int) -> int:
        """Random directions per sample of `n_dims` coordinates; 0 where the Laplacian is exact or unused."""
        exact = n_dims <= _MOST_EXACT_DIMS if self.laplacian is None else self.laplacian == "exact"
        return 0 if exact or not self.noise else self.probes

    def settled(self, dynamics: Dynamics, potential: Potential | VectorField) -> ActionMatching:
        """With epsilon and the choice of samples.

        Raises:
            ValueError: merged samples where the samples enter the loss in other ways than by their moments.
        """
        by_moments = len(dynamics.structure.kinematics) == 1 and potential.has_components
        if self.merged and not by_moments:
            raise ValueError(
                "samples='merged' goes with structure='kinetic', one velocity and a VectorField(...) only; use "
                "'independent' or 'coupled'"
            )
        default: Samples = "merged" if by_moments else "independent"
        epsilon = super().settled(dynamics, potential).epsilon
        return dataclasses.replace(self, epsilon=epsilon, samples=self.samples or default)

    def judged_by(self) -> ActionMatching:
        """The form with a lower bound, on all saved times."""
        random = self.quadrature is not None and self.quadrature.random
        return dataclasses.replace(self, time_derivative="data", quadrature=None if random else self.quadrature)

    def interior(
        self,
        potential: LearnedDrift,
        embedding: Embedding,
        weights: Weights,
        nodes: Nodes,
        reference: Float[Array, "k D"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `interior_terms`."""
        return interior_terms(cast(Potential, potential), embedding, weights, nodes, reference, self.noise)

    def boundary(
        self, potential: LearnedDrift, embedding: Embedding, weights: Weights, batch: Batch
    ) -> Float[Array, ""]:
        """See `end_terms`."""
        return end_terms(cast(Potential, potential), embedding, weights, batch)


def interior_terms(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    nodes: Nodes,
    reference: Float[Array, "k D"],
    epsilon: float,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The time integral of the loss over the given nodes, and its quadratic part int E |grad s|^2 / 2 alone.

    s is fixed up to a function c(t, mu), which costs nothing in the quadratic part; on finitely many nodes the loss
    would fall without bound along it. So the mean of s over the reference points is taken off s, here and at the ends:
    exact integration would not notice. A potential that vanishes where the driven coordinates do has no such freedom.
    """
    n_times = len(nodes.conditions)
    modulations, rates = modulations_and_rates(potential, weights, nodes.conditions, CONDITION_TIME_RATE)
    if nodes.flux is not None:
        squares, linear = cells.terms_of_cells(cast(Force, potential), weights, embedding, nodes, modulations, rates)
    else:
        squares, linear = squares_and_linear(potential, embedding, weights, nodes, epsilon, modulations, rates)
    quadratic_part = jnp.sum(nodes.weights * nodes.mean(squares / 2))
    linear_part = jnp.sum(nodes.weights * nodes.mean(linear))
    if potential.has_gauge:
        n_dims = nodes.points.shape[-1]
        still = embedding.streams(
            jnp.tile(reference, (n_times, 1)),
            laplacian=False,
            probes=jnp.zeros((n_times * len(reference), 0, n_dims), reference.dtype),
        )
        gauge = potential.propagate(weights, still, modulations, rates).rate
        linear_part = linear_part - jnp.sum(nodes.weights * jnp.mean(gauge.reshape(n_times, -1), axis=1))
    return quadratic_part + linear_part, quadratic_part


def squares_and_linear(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    nodes: Nodes,
    epsilon: float,
    modulations: Float[Array, "T ..."],
    rates: Float[Array, "T ..."],
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """|grad s|^2 in the driven coordinates at every sample, and the rate along the drift with the Laplacian's term."""
    rows, probes, drift = rows_of(nodes.points), if_there(rows_of, nodes.probes), if_there(rows_of, nodes.drift)
    driven = embedding.gradient_coordinates
    reverse = probes is not None or (epsilon == 0 and len(driven) > MOST_FORWARD_DIMS and potential.has_gauge)
    if reverse and probes is None:
        probes = jnp.zeros((len(rows), 0, rows.shape[1]), rows.dtype)

    def total_and_streams(rows: Float[Array, "N D"]) -> tuple[Float[Array, ""], Streams]:
        features = embedding.streams(rows, laplacian=epsilon > 0, probes=probes, drift=drift)
        streams = potential.propagate(weights, features, modulations, rates)
        return jnp.sum(streams.value), streams

    if reverse:
        # Backwards through the value alone, so that the cost does not grow with the number of coordinates.
        gradient, streams = jax.grad(total_and_streams, has_aux=True)(rows)
        squares = jnp.sum(gradient[:, np.asarray(driven)] ** 2, axis=1)
    else:
        streams = total_and_streams(rows)[1]
        squares = jnp.sum(streams.gradient**2, axis=0)
    return squares, streams.rate if streams.laplacian is None else streams.rate + (epsilon**2 / 2) * streams.laplacian


def end_terms(potential: Potential, embedding: Embedding, weights: Weights, batch: Batch) -> Float[Array, ""]:
    """E_{rho_0}[s] - E_{rho_1}[s] in the gauge of `interior_terms`, averaged over the runs of the batch."""
    modulations = potential.modulations(weights, batch.end_conditions)

    def mean_at_end(
        z: Float[Array, "m D"], phi: Float[Array, ...], multiplicity: Float[Array, " m"] | None
    ) -> Float[Array, ""]:
        values = potential.value(weights, embedding.features(z), phi)
        mean = jnp.mean(values if multiplicity is None else values * multiplicity)
        if not potential.has_gauge:
            return mean
        return mean - jnp.mean(potential.value(weights, embedding.features(batch.reference), phi))

    means = jax.vmap(mean_at_end)(batch.end_points, modulations, batch.end_multiplicity)
    return jnp.sum(batch.end_signs * means)
