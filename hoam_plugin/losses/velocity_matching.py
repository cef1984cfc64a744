"""Regression of the learned drift onto recorded or measured velocities: no time derivatives, bounded below by 0.

    L(u) = E_{mu, t} E_{rho_t}[ |u(X, t, mu) - F|^2 / 2 ],   F = dX/dt - b0 in the driven coordinates

With the drift itself as dX/dt it has the same minimiser as action matching around the known drift b0 when the noise is
the true one (see docs/method.md). With dX/dt from symmetric increments of trajectories it learns the velocity of the
probability current (first-order trajectory matching, arXiv:2606.11138).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Dynamics, Kind, Structure
from hoam_plugin.losses.base import AbstractLoss, TrainingDefaults
from hoam_plugin.losses.batch import Nodes, rows_of
from hoam_plugin.losses.targets import Targets, rate_names, recorded_rates, symmetric_increments, targets_from
from hoam_plugin.potentials import CoLoRA, Embedding, LearnedDrift, Potential, VectorField, Weights

# Below this share of the largest one, a mean square is that of rounding errors.
_LEAST_MEAN_SQUARE = 1e-10


@dataclasses.dataclass(frozen=True)
class VelocityMatching(AbstractLoss):
    """Least squares between the learned drift and the recorded one.

    Assumes that the ensemble records the drift of its variables, `simulate(..., rates=True)`: the drift without noise,
    not an increment. Samples at different times need not belong together. The population follows the physics if the
    noise of the rollout is that of the stepper, which the surrogate takes from it.

    Attributes:
        relative: the squared error at every saved time of every run is divided by this power of the mean square of what
            is to be learned there: 1 counts relative errors, so that quiet phases count as much as loud ones, 0
            absolute ones.

    Raises:
        ValueError: `relative` outside [0, 1].

    Example:
        >>> hoam.VelocityMatching(relative=0.0).relative
        0.0
    """

    relative: float = 1.0

    structures: ClassVar[tuple[Kind, ...]] = ("gradient", "kinetic", "field")
    bounded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 <= self.relative <= 1:
            raise ValueError(f"relative={self.relative!r} must lie between 0 (absolute errors) and 1 (relative ones)")

    def require_ensemble(self, ds: xr.Dataset, driven: Sequence[str]) -> None:
        """Raise ValueError where the rate of a driven variable is not recorded."""
        recorded = rate_names(ds)
        missing = [name for name in driven if name not in recorded]
        if missing:
            raise ValueError(
                f"VelocityMatching needs the recorded rate of {missing[0]!r}, which the ensemble lacks; simulate with "
                "rates=True, or use ActionMatching, DICE or, for trajectories, TrajectoryMatching"
            )

    def targets(self, ds: xr.Dataset, dynamics: Dynamics) -> Targets:
        """The recorded rates."""
        return targets_from(recorded_rates, ds, dynamics, self._importance)

    def _importance(self, targets: Float[np.ndarray, "T B n Y"]) -> Float[np.ndarray, " T"]:
        """Their mean square at each time to the power of minus `relative`."""
        squares = np.mean(np.sum(targets.astype(np.float64) ** 2, axis=-1), axis=(1, 2))
        least = max(_LEAST_MEAN_SQUARE * squares.max(), np.finfo(np.float32).tiny)
        return np.maximum(squares, least) ** -self.relative

    def interior(
        self,
        potential: LearnedDrift,
        embedding: Embedding,
        weights: Weights,
        nodes: Nodes,
        reference: Float[Array, "k D"],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `squared_error`."""
        return squared_error(potential, embedding, weights, nodes)

    def default_potential(self, structure: Structure) -> Potential | VectorField:
        """Fields of more harmonics than marginals resolve."""
        return CoLoRA() if structure.kind == "gradient" else velocity_field()

    def default_training(self) -> TrainingDefaults:
        """Every iteration sees eight runs at 64 saved times."""
        return {"n_samples": 8, "n_times": 64, "runs_per_iteration": 8, "learning_rate": 1e-2}


@dataclasses.dataclass(frozen=True)
class TrajectoryMatching(VelocityMatching):
    """Velocity matching to symmetric increments (X_{t+h} - X_{t-h}) / 2h of trajectories (arXiv:2606.11138).

    Assumes that sample i is the same trajectory at all times, saved at equal distances h that resolve it (the error is
    of order h^2), and no more than one half of a period per h in periodic variables. For noisy dynamics the increments
    average to the velocity of the probability current, noise included, so the surrogate moves without noise. The first
    and the last saved time have no symmetric increment and are left out.

    Example:
        >>> hoam.TrajectoryMatching().structures
        ('gradient', 'kinetic', 'field')
    """

    carries_noise: ClassVar[bool] = False

    def require_ensemble(self, ds: xr.Dataset, driven: Sequence[str]) -> None:
        """Raise ValueError where samples are no trajectories, or there are not three equally spaced times or more."""
        if ds.attrs.get(ensembles.SAMPLING) == ensembles.SNAPSHOTS:
            raise ValueError(
                "TrajectoryMatching needs trajectories, and the attribute 'sampling' of the ensemble says 'snapshots': "
                "samples of different times have nothing to do with one another; use ActionMatching or DICE"
            )
        gaps = np.diff(ds["time"].values.astype(np.float64))
        if len(gaps) < 2 or np.ptp(gaps) > 1e-3 * gaps.mean():
            raise ValueError(
                f"TrajectoryMatching needs at least three equally spaced saved times; the ensemble has {len(gaps) + 1} "
                f"with gaps from {gaps.min():g} to {gaps.max():g}"
            )

    def targets(self, ds: xr.Dataset, dynamics: Dynamics) -> Targets:
        """The symmetric increments."""
        return targets_from(symmetric_increments, ds, dynamics, self._importance)

    def time_weights(self, times: Float[np.ndarray, " T"], given: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Equal ones, but 0 at the two ends, which have no symmetric increment."""
        weights = np.ones(len(times))
        weights[[0, -1]] = 0
        return weights / weights.sum()


def follows_trajectories(loss: AbstractLoss) -> bool:
    """Whether a sample has to be the same one at all times for a loss."""
    return isinstance(loss, TrajectoryMatching)


def velocity_field() -> VectorField:
    """The default network of velocity and trajectory matching; those of marginals resolve fewer harmonics.

    Example:
        >>> hoam.recipes.velocity_field().harmonics
        4
    """
    return VectorField(harmonics=4)


def squared_error(
    potential: LearnedDrift, embedding: Embedding, weights: Weights, nodes: Nodes
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The weighted squared error over the given nodes, and the quadratic part E |u|^2 / 2 alone."""
    assert nodes.targets is not None  # every batch of this loss has them
    modulations = potential.modulations(weights, nodes.conditions)
    learned = potential.drift(weights, embedding, rows_of(nodes.points), modulations)
    error = learned - rows_of(nodes.targets)

    def weighted(squares: Float[Array, "N Y"]) -> Float[Array, ""]:
        return jnp.sum(nodes.weights * nodes.mean(jnp.sum(squares, axis=1) / 2))

    return weighted(error**2), weighted(learned**2)
