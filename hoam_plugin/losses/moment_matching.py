"""A field from marginals alone: regression on the rates of change of many moments, bounded below by 0.

    L(u) = int sum_k (d/dtau E[f_k] - E[grad f_k . (b0 + u)] - E[sigma^2 / 2 lap f_k])^2 + lambda E|u|^2 dtau / 2

This is the weak form of the continuity (with noise: Fokker-Planck) equation for test functions f_k, here random waves
in combinations for which a squared residual is an error of kinetic energy. The time derivative acts on the data; there
is none of the network, and nothing at the ends.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import non_negative_float, positive_float, positive_int, refusal
from hoam_plugin.dynamics import Dynamics, Kind
from hoam_plugin.losses.base import AbstractLoss, TrainingDefaults
from hoam_plugin.losses.batch import Nodes, rows_of
from hoam_plugin.losses.weak_form import MomentTargets, moment_targets, random_waves
from hoam_plugin.potentials import Embedding, LearnedDrift, Weights


@dataclasses.dataclass(frozen=True)
class MomentMatching(AbstractLoss):
    """Least squares between the rates of change of moments in the samples and those under the learned field.

    Needs marginals only: samples at different times need not belong together, but where they do, the rates are known
    far better. Marginals leave every field free whose flux has no divergence; `energy` chooses the one of least kinetic
    energy, which is a gradient. Where the stepper declares its noise ("field" and "kinetic"), the field is the drift
    under that noise, and the surrogate moves with it; else the field moves the samples without noise.

    Attributes:
        n_waves: number of test functions, cos(w . z + b) in normalised coordinates.
        lowest: frequency |w|, radians per standard deviation.
        highest: the other end of the frequencies, evenly spread on a logarithmic scale; along periodic coordinates they
            are whole multiples of that of the period.
        energy: weight lambda of the kinetic energy of the field, beside the squared error in the same units.

    Raises:
        ValueError: no wave, frequencies that are not above 0 or do not increase, a negative energy.

    Example:
        >>> hoam.MomentMatching(n_waves=128).n_waves
        128
    """

    n_waves: int = 256
    lowest: float = 0.3
    highest: float = 5.0
    energy: float = 1e-3

    structures: ClassVar[tuple[Kind, ...]] = ("gradient", "kinetic", "field")
    bounded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        positive_int("n_waves", self.n_waves)
        positive_float("lowest", self.lowest)
        if positive_float("highest", self.highest) < self.lowest:
            raise refusal(ValueError, "highest", self.highest, f"at least lowest={self.lowest!r}")
        non_negative_float("energy", self.energy)

    def targets(self, ds: xr.Dataset, dynamics: Dynamics) -> MomentTargets:
        """The rates of change of the moments of all samples."""
        waves = random_waves(dynamics.normalisation.periods, self.n_waves, self.lowest, self.highest)
        return moment_targets(waves, ds, dynamics)

    def interior(
        self,
        potential: LearnedDrift,
        embedding: Embedding,
        weights: Weights,
        nodes: Nodes,
        reference: Float[Array, "k D"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The squared residuals over the given nodes with the energy, and half of the mean square of the field alone.

        The samples of each node are two independent subsets, one after the other: the square of a mean over one would
        be that of the expectation plus a variance, which the product of the two means is not.
        """
        assert nodes.moments is not None  # every batch of this loss has them
        n_times, n = nodes.points.shape[:2]
        rows = rows_of(nodes.points)
        waves = random_waves(embedding.periods, self.n_waves, self.lowest, self.highest)
        frequencies, phases = (jnp.asarray(values, rows.dtype) for values in waves)
        modulations = potential.modulations(weights, nodes.conditions)
        learned = potential.drift(weights, embedding, rows, modulations)
        velocity = learned
        if len(driven := embedding.gradient_coordinates) < rows.shape[1]:
            assert nodes.drift is not None  # positions move with velocities
            velocity = rows_of(nodes.drift).at[:, np.asarray(driven)].add(learned)
        sines = jnp.sin(rows @ frequencies.T + phases[None, :])
        # As products of matrices, E[grad f . u] costs a fraction of the sum over samples of their products.
        halves = (n_times, 2, n // 2, -1)
        moved = jnp.einsum("tank,tand->takd", sines.reshape(halves), velocity.reshape(halves)) / (n // 2)
        means = -jnp.einsum("takd,kd->tak", moved, frequencies)
        explained = jnp.einsum("tik,tak->tai", nodes.moments.whitening, means)
        residuals = nodes.moments.rates[:, None, :] - explained
        squares = jnp.sum(residuals[:, 0] * residuals[:, 1], axis=1)
        energies = nodes.mean(jnp.sum(learned**2, axis=1))
        return (
            jnp.sum(nodes.weights * (squares + self.energy * energies)) / 2,
            jnp.sum(nodes.weights * energies) / 2,
        )

    def default_training(self) -> TrainingDefaults:
        """Few times of one run with many samples each: a residual is a difference of means."""
        return {"iterations": 4000, "n_samples": 256, "n_times": 8}
