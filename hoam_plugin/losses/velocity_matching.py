"""Regression of the learned drift onto recorded or measured velocities: no time derivatives, bounded below by 0.

    L(u) = E_{mu, t} E_{rho_t}[ |u(X, t, mu) - F|^2 / 2 ],   F = dX/dt - b0 in the driven coordinates

With the drift itself as dX/dt it has the same minimiser as action matching around the known drift b0 when the noise is
the true one (see docs/method.md). With dX/dt from symmetric increments of trajectories it learns the velocity of the
probability current (first-order trajectory matching, arXiv:2606.11138).
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.losses.batch import Nodes
from hoam_plugin.potentials import Embedding, Weights
from hoam_plugin.quadrature import Rule


@dataclasses.dataclass(frozen=True)
class VelocityMatching:
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
    """

    relative: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.relative <= 1:
            raise ValueError(f"relative={self.relative!r} must lie between 0 (absolute errors) and 1 (relative ones)")

    @property
    def noise(self) -> float:
        """No entropic noise."""
        return 0.0

    @property
    def quadrature(self) -> Rule | None:
        """The times are weighted as the ensemble says."""
        return None

    @property
    def coupled(self) -> bool:
        """Whether an iteration follows the same samples through all times."""
        return False

    @property
    def merged(self) -> bool:
        """Single samples are needed."""
        return False

    def n_probes(self, n_dims: int) -> int:
        """No random directions."""
        return 0


@dataclasses.dataclass(frozen=True)
class TrajectoryMatching(VelocityMatching):
    """Velocity matching to symmetric increments (X_{t+h} - X_{t-h}) / 2h of trajectories (arXiv:2606.11138).

    Assumes that sample i is the same trajectory at all times, saved at equal distances h that resolve it (the error is
    of order h^2), and no more than one half of a period per h in periodic variables. For noisy dynamics the increments
    average to the velocity of the probability current, noise included, so the surrogate moves without noise. The first
    and the last saved time have no symmetric increment and are left out.
    """


def squared_error(
    potential: Any, embedding: Embedding, weights: Weights, nodes: Nodes
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """The weighted squared error over the given nodes, and the quadratic part E |u|^2 / 2 alone."""
    assert nodes.targets is not None  # `fit` has seen to it
    modulations = potential.modulations(weights, nodes.conditions)
    learned = potential.drift(weights, embedding, nodes.rows("points"), modulations)
    error: Any = learned - nodes.rows("targets")

    def weighted(squares: Any) -> Any:
        return jnp.sum(nodes.weights * nodes.mean(jnp.sum(squares, axis=1) / 2))

    return weighted(error**2), weighted(learned**2)
