"""The action-matching loss: Monte Carlo over samples, quadrature over time, one forward pass for all derivatives.

    L(s) = E_mu { E_{rho_0}[s] - E_{rho_1}[s] + int_0^1 E_{rho_t}[ |grad s|^2 / 2 + d_t s + eps^2 / 2 lap s ] dt }

Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000, equations 8 to 10): with a high-order rule for the time
integral this is HOAM; with random times it is action matching (Neklyudov et al. 2023, arXiv:2210.06662).

On finitely many nodes this has no lower bound: d_t s may be as low as it likes at the nodes, if s comes back up between
them. Integrated by parts in time, with s_j = s(., t_j) held still, the time derivative acts on the population,

    L(s) = sum_j w_j { E_j[ |grad s_j|^2 / 2 + eps^2 / 2 lap s_j ] - sum_l D_jl E_l[s_j] },

where D differentiates in time. Each time has a problem of its own, -div(rho grad s) = d_t rho, whose solution bounds
the loss, and a function of time alone drops out as the rows of D sum to 0.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, cast, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import either, of_type, positive_int
from hoam_plugin.dynamics import CONDITION_TIME_RATE, Dynamics, Structure
from hoam_plugin.losses import cells
from hoam_plugin.losses.base import AbstractLoss, EntropicLoss
from hoam_plugin.losses.batch import Batch, Nodes, if_there, rows_of
from hoam_plugin.losses.differences import over_neighbours
from hoam_plugin.numerics.summation_by_parts import derivatives_by_parts
from hoam_plugin.potentials import (
    MOST_FORWARD_DIMS,
    CoLoRA,
    Embedding,
    Force,
    LearnedDrift,
    Potential,
    Streams,
    VectorField,
    Weights,
    modulations_and_rates,
)
from hoam_plugin.quadrature import Rule, trapezoid_weights

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
            [0, 1]); the surrogate is an ODE for 0 and an SDE above. None takes 0.3 for the structure "gradient", and is
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
            can be had, which knows nothing of trajectories; else "coupled" for the structure "kinetic" on saved times,
            if positions are found to move with the velocities from one to the next, and "independent" for all others.
        time_derivative: what is differentiated in time. "network": the potential, as published; on finitely many nodes
            this has no lower bound. "data": the expectations of the potential of each node, held still, over the
            samples of neighbouring saved times, which has one. None takes "data" for the structure "gradient" on saved
            times, else "network".

    Raises:
        ValueError: a negative or non-finite epsilon, an unknown kind of Laplacian, samples or derivative, or no probe.
        TypeError: a quadrature that is not a rule.

    Example:
        >>> hoam.ActionMatching(epsilon=0.1).epsilon
        0.1
        >>> hoam.ActionMatching(quadrature=hoam.quadrature.gauss_legendre(64)).quadrature.n
        64
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

    def time_weights(self, times: Float[np.ndarray, " T"], given: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Those of the rule, but never Simpson's where the data are differentiated.

        Each time then has a problem of its own, so that the weights only have to be even, as Simpson's are not.
        """
        if self.time_derivative == "data" and self.quadrature is None and (given > 0).all():
            return trapezoid_weights(times)
        return given

    def settled(
        self, dynamics: Dynamics, potential: Potential | VectorField, *, trajectories: bool = True
    ) -> ActionMatching:
        """With epsilon, the choice of samples and what is differentiated in time.

        Raises:
            ValueError: merged samples where the samples enter the loss in other ways than by their moments.
        """
        by_moments = len(dynamics.structure.kinematics) == 1 and potential.has_components
        if self.merged and not by_moments:
            raise ValueError(
                "samples='merged' goes with structure='kinetic', one velocity and a VectorField(...) only; use "
                "'independent' or 'coupled'"
            )
        # The force of few trajectories is their acceleration, that of unrelated samples a difference of noisy fluxes.
        follows = trajectories and dynamics.structure.kind == "kinetic" and not self._random
        default: Samples = "merged" if by_moments else "coupled" if follows else "independent"
        epsilon = super().settled(dynamics, potential).epsilon
        on_data = dynamics.structure.kind == "gradient" and not self._random
        derivative: TimeDerivative = "data" if on_data else "network"
        return dataclasses.replace(
            self,
            epsilon=epsilon,
            samples=self.samples or default,
            time_derivative=self.time_derivative or derivative,
        )

    def require_structure(self, structure: Structure, *, based: bool = False) -> None:
        """Raise ValueError where the loss, or its epsilon, does not go with a structure. A base is a known drift."""
        super().require_structure(structure)

    def default_potential(self, structure: Structure) -> Potential | VectorField:
        """For gradients `marginal_potential()`."""
        return marginal_potential() if structure.kind == "gradient" else super().default_potential(structure)

    def judged_by(self) -> ActionMatching:
        """The form with a lower bound, on all saved times."""
        return dataclasses.replace(self, time_derivative="data", quadrature=None if self._random else self.quadrature)

    @property
    def _random(self) -> bool:
        return self.quadrature is not None and self.quadrature.random

    def derivatives(
        self, times: Float[np.ndarray, " T"], weights: Float[np.ndarray, " T"]
    ) -> tuple[Int[np.ndarray, "T K"], Float[np.ndarray, "T K"]] | None:
        """Of the means over the samples, where these are what is differentiated."""
        return derivatives_by_parts(times, weights) if self.time_derivative == "data" else None

    def interior(
        self,
        potential: LearnedDrift,
        embedding: Embedding,
        weights: Weights,
        nodes: Nodes,
        reference: Float[Array, "k D"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `interior_terms` and `data_terms`."""
        if self.time_derivative == "data":
            return data_terms(cast(Potential, potential), embedding, weights, nodes, self.noise)
        return interior_terms(cast(Potential, potential), embedding, weights, nodes, reference, self.noise)

    def boundary(
        self, potential: LearnedDrift, embedding: Embedding, weights: Weights, batch: Batch
    ) -> Float[Array, ""]:
        """See `end_terms`."""
        data = self.time_derivative == "data"
        if data and (self.coupled or self.merged):
            return super().boundary(potential, embedding, weights, batch)
        return end_terms(cast(Potential, potential), embedding, weights, batch, fix_gauge=not data)


def without_noise(loss: AbstractLoss) -> ActionMatching | None:
    """Action matching with epsilon 0, whose minimiser in a linear space is solved for; None for other losses."""
    return dataclasses.replace(loss, epsilon=0.0) if isinstance(loss, ActionMatching) and not loss.epsilon else None


def takes_pairs(loss: AbstractLoss) -> bool:
    """Whether it has a lower bound, is over single samples, and takes the drift of each as known."""
    return isinstance(loss, ActionMatching) and not loss.merged and loss.time_derivative == "data"


def marginal_potential() -> CoLoRA:
    """The default potential where a gradient is learned from marginals: larger than `CoLoRA()`."""
    return CoLoRA(width=48, rank=6, hyper_width=32)


class Parts(NamedTuple):
    """What the loss is made of, at every sample.

    Attributes:
        value: of the potential.
        squares: |grad s|^2 in the driven coordinates.
        linear: the rate of the potential, along the drift if there is one, with the Laplacian's term.
    """

    value: Float[Array, " N"]
    squares: Float[Array, " N"]
    linear: Float[Array, " N"]


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
    parts = parts_of(potential, embedding, weights, nodes, epsilon, modulations, rates)
    quadratic_part = jnp.sum(nodes.weights * nodes.mean(parts.squares / 2))
    linear_part = jnp.sum(nodes.weights * nodes.mean(parts.linear))
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


def data_terms(
    potential: Potential, embedding: Embedding, weights: Weights, nodes: Nodes, epsilon: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The same for the form whose time derivative acts on the data, where s has no gauge.

    The coefficients of `Nodes` are those of D, so that one pass over the samples of a node gives its own term as well.
    """
    modulations = potential.modulations(weights, nodes.conditions)
    parts = parts_of(potential, embedding, weights, nodes, epsilon, modulations, jnp.zeros_like(modulations))
    assert nodes.coefficients is not None
    moved = nodes.coefficients[:, 0] * nodes.mean(parts.value)
    moved = moved + over_neighbours(potential, embedding, weights, nodes, modulations)
    quadratic_part = jnp.sum(nodes.weights * nodes.mean(parts.squares / 2))
    return quadratic_part + jnp.sum(nodes.weights * (nodes.mean(parts.linear) - moved)), quadratic_part


def parts_of(
    potential: Potential,
    embedding: Embedding,
    weights: Weights,
    nodes: Nodes,
    epsilon: float,
    modulations: Float[Array, "T ..."],
    rates: Float[Array, "T ..."],
) -> Parts:
    """What the loss is made of at every sample, or cell of samples, of the given nodes."""
    if nodes.flux is not None:
        return Parts(*cells.terms_of_cells(cast(Force, potential), weights, embedding, nodes, modulations, rates))
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
    linear = streams.rate if streams.laplacian is None else streams.rate + (epsilon**2 / 2) * streams.laplacian
    return Parts(streams.value, squares, linear)


def end_terms(
    potential: Potential, embedding: Embedding, weights: Weights, batch: Batch, *, fix_gauge: bool = True
) -> Float[Array, ""]:
    """E_{rho_0}[s] - E_{rho_1}[s] averaged over the runs of the batch, or with the factors that these have in D.

    Args:
        potential: s.
        embedding: how samples enter.
        weights: of the network.
        batch: its `end_conditions` say at which times s is taken, `end_signs` with which factor.
        fix_gauge: in the gauge of `interior_terms`; factors that do not add up to 0 by themselves need none.
    """
    modulations = potential.modulations(weights, batch.end_conditions)

    def mean_at_end(
        z: Float[Array, "m D"], phi: Float[Array, "..."], multiplicity: Float[Array, " m"] | None
    ) -> Float[Array, ""]:
        values = potential.value(weights, embedding.features(z), phi)
        mean = jnp.mean(values if multiplicity is None else values * multiplicity)
        if not (fix_gauge and potential.has_gauge):
            return mean
        return mean - jnp.mean(potential.value(weights, embedding.features(batch.reference), phi))

    means = jax.vmap(mean_at_end)(batch.end_points, modulations, batch.end_multiplicity)
    return jnp.sum(batch.end_signs * means)
