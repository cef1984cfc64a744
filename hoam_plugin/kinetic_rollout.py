"""Steps of a kinetic surrogate: positions drift, velocities are kicked by the learned force, positions drift again.

Strang splitting with one force per step, at the middle of the step: second order, time-reversible, and symplectic for a
force that derives from a potential (Hairer, Lubich and Wanner 2006, section I.1.4). Where friction, noise or a force
that depends on the velocity take part, the kick itself is a stochastic Heun step at fixed positions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin import tabulation
from hoam_plugin.steppers import Parameters
from hoam_plugin.vector_field import VectorField

if TYPE_CHECKING:
    from hoam_plugin.surrogate import Surrogate


def drift_kick_drift(
    model: Surrogate, x: Float[Array, "n D"], time: Any, dt: Any, parameters: Parameters, increment: Float[Array, "n D"]
) -> Float[Array, "n D"]:
    """Samples after one step with given noise; `time` is that of its start."""
    positions, velocities = (np.asarray(columns) for columns in zip(*model.structure.kinematics, strict=True))
    middle = time + dt / 2
    x = x.at[:, positions].add(dt / 2 * x[:, velocities])
    v, noise = x[:, velocities], increment[:, velocities]
    dynamics = model.dynamics

    def known(v: Any) -> Any:
        return dynamics.drift(x.at[:, velocities].set(v), middle, parameters)[:, velocities]

    learned = model.learned_drift(middle, parameters, x.dtype)
    force = _force(model, learned, x, positions) if isinstance(model.potential, VectorField) else None

    def slope(v: Any) -> Any:
        own = learned(x.at[:, velocities].set(v)) if force is None else force
        return own + known(v) if dynamics.has_driven_drift else own

    change = dt * slope(v) + noise
    if force is None or dynamics.has_driven_drift:
        change = (change + dt * slope(v + change) + noise) / 2
    v = v + change
    return x.at[:, velocities].set(v).at[:, positions].add(dt / 2 * v)


def _force(model: Surrogate, learned: Any, x: Float[Array, "n D"], positions: np.ndarray) -> Float[Array, "n Y"]:
    """The force at the samples, from a table where it depends on one or two positions and that costs less."""
    if not tabulation.pays(len(x), len(positions)):
        return learned(x)
    norm = model.normalisation
    periods = tuple(
        None if norm.periods[p] is None else norm.periods[p] * norm.scale[p].astype(x.dtype) for p in positions.tolist()
    )

    def at_positions(q: Any) -> Any:
        # The force does not look at the velocities.
        return learned(jnp.zeros((len(q), x.shape[1]), x.dtype).at[:, positions].set(q))

    return tabulation.at_samples(at_positions, x[:, positions], periods)
