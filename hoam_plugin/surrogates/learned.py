"""The learned dynamics: weights, units, and what was known of the dynamics around them."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import DTypeLike, Parameters, Scalar, State, StateT
from hoam_plugin.dynamics import Dynamics, MomentDrift, Normalisation, Structure, centred, with_centred
from hoam_plugin.numerics.integrators import Velocity
from hoam_plugin.potentials import (
    Embedding,
    LearnedDrift,
    Potential,
    VectorField,
    Weights,
    bound,
    committee_of,
    embedding_of,
)
from hoam_plugin.steppers import SampleLayout, Stepper, abilities_of
from hoam_plugin.surrogates.in_place import InPlaceOf


@pytree(data=("weights", "normalisation", "replaces", "base"), eq=False, repr=False)
class LearnedDynamics:
    """A learned drift of samples: dX = grad_x s(X, t, mu) dt + epsilon dW in normalised units, or around known parts.

    See arXiv:2410.12000, equation 5, and, for dX = (b0 + u) dt + sigma dW with known b0 and sigma, where u drives some
    coordinates only, `hoam_plugin.dynamics.structure`. Methods take centred samples y (see `Normalisation.centred`)
    and the time since the start of the horizon.

    Attributes:
        weights: of the potential.
        normalisation: of samples, time and parameters.
        replaces: the stepper whose place is taken: its State type, `init`, `diagnostics` and known physics; or None.
        potential: the network.
        layout: the variables of a sample as columns.
        structure: what is known and what is learned.
        epsilon: entropic noise in normalised units; 0 for none.
        known_noise: whether the replaced stepper's `noise` acts as well.
        known_drift: whether its `known_drift` of the driven variables does.
        stepper_attribute: how to rebuild the replaced stepper, as in an ensemble's attributes, or "".
        base: a motion of all coordinates that the learned drift corrects, or None.
        members: how many networks there are, whose mean is the drift; of several, weights lie along a leading axis.
    """

    weights: Weights
    normalisation: Normalisation
    replaces: Stepper | None
    potential: Potential | VectorField
    layout: SampleLayout
    structure: Structure
    epsilon: float
    known_noise: bool
    known_drift: bool
    stepper_attribute: str = ""
    base: MomentDrift | None = None
    members: int = 1

    @property
    def has_noise(self) -> bool:
        """Whether a step draws random numbers."""
        return self.epsilon > 0 or self.known_noise

    @property
    def dynamics(self) -> Dynamics:
        """What is known of the dynamics."""
        return Dynamics(self.normalisation, self.replaces, self.structure, self.layout, self.base)

    @property
    def in_place(self) -> InPlaceOf:
        """The side of the replaced stepper."""
        return InPlaceOf(self.replaces, self.layout.variables, self.normalisation.parameters)

    def centred(self, state: State) -> Float[Array, "n D"]:
        """The samples of a state, centred."""
        return centred(state, self.layout, self.normalisation)

    def with_centred(self, state: StateT, y: Float[Array, "n D"]) -> StateT:
        """The state with other samples; periodic ones have to lie in their period."""
        return with_centred(state, self.layout, self.normalisation, y)

    def field(self, elapsed: Scalar, parameters: Parameters, dtype: DTypeLike) -> Velocity:
        """The drift at one time as a function of (sample, D) arrays; everything but the samples is formed once."""
        learned = self.learned_drift(elapsed, parameters, dtype)
        return self._with_known(learned, elapsed, parameters)

    def _with_known(
        self, learned: Velocity, elapsed: Scalar, parameters: Parameters, unit: Scalar | None = None
    ) -> Velocity:
        """The known drift, or that of the base, per a unit of time, and the learned one."""
        driven, dynamics = np.asarray(self.structure.driven), self.dynamics
        if not dynamics.has_drift:
            return learned

        def field(y: Float[Array, "n D"]) -> Float[Array, "n D"]:
            known = dynamics.drift(y, elapsed, parameters)
            known = known if unit is None else jnp.multiply(unit, known)
            # To put numbers into places takes twenty times as long as all the rest, where there are many.
            return known + learned(y) if len(driven) == y.shape[1] else known.at[:, driven].add(learned(y))

        return field

    def learned_drift(
        self, elapsed: Scalar, parameters: Parameters, dtype: DTypeLike, step: tuple[Scalar, Scalar] | None = None
    ) -> Callable[[Float[Array, "n D"]], Float[Array, "n Y"]]:
        """The learned part at one time, of the driven columns, as a function of (sample, D) arrays; physical units.

        Args:
            elapsed: time since the start of the horizon.
            parameters: of one run.
            dtype: of the samples.
            step: beginning and size of a step, of which `elapsed` is some time: by how much the clock of the population
                goes on in it is then exact.
        """
        time, dt = (elapsed, None) if step is None else step
        at, size = jnp.asarray(time, dtype), None if dt is None else jnp.asarray(dt, dtype)
        unit = self.normalisation.time_unit(at, size)
        return self._driven(self.normalisation.condition(elapsed, parameters, dtype), unit)

    def _driven(self, condition: Float[Array, " C"], unit: Scalar) -> Callable[..., Float[Array, "n Y"]]:
        """The learned drift per a unit of time."""
        norm, dtype = self.normalisation, condition.dtype
        # float64 samples are moved in float64: the weights are widened, the samples never narrowed.
        weights = jax.tree.map(lambda w: w.astype(dtype), self.weights)
        embedding, network = self.network()
        modulation = network.modulations(weights, condition[None, :])[0]
        rate = driven_rate(self, dtype, unit)
        return lambda y: rate * network.drift_at_one_time(weights, embedding, norm.of_centred(y), modulation)

    def network(self) -> tuple[Embedding, LearnedDrift]:
        """How samples enter, and the potential or field in the form that the structure gives it."""
        embedding = embedding_of(self.potential, self.normalisation, self.structure)
        return embedding, committee_of(bound(self.potential, self.structure, embedding), self.members)


def field_of_tau(learned: LearnedDynamics, tau: Scalar, parameters: Parameters, dtype: DTypeLike) -> Velocity:
    """The drift per normalised time, dy/dtau, at one normalised time; samples in physical units."""
    norm, reading = learned.normalisation, jnp.asarray(tau, dtype)
    driven = learned._driven(norm.condition_at(reading, parameters), 1.0)
    if not learned.dynamics.has_drift:
        return driven
    elapsed = norm.elapsed(reading)
    unit = norm.time_unit(elapsed)
    return learned._with_known(driven, elapsed, parameters, unit)


def learned_drift_over_steps(
    learned: LearnedDynamics,
    y: Float[Array, "n D"],
    starts: Float[Array, " T"],
    sizes: Float[Array, " T"],
    parameters: Parameters,
) -> Float[Array, "N Y"]:
    """`LearnedDynamics.learned_drift` of the same samples in the middle of several steps, step after step."""
    norm, dtype = learned.normalisation, y.dtype
    weights = jax.tree.map(lambda w: w.astype(dtype), learned.weights)
    embedding, network = learned.network()
    conditions = jax.vmap(lambda t: norm.condition(t, parameters, dtype))(starts + sizes / 2)
    modulations = network.modulations(weights, conditions)
    unit = norm.time_unit(starts, sizes)
    units = jnp.repeat(unit, len(y))[:, None] if isinstance(unit, jax.Array) else unit
    return driven_rate(learned, dtype, units) * network.drift(
        weights, embedding, jnp.tile(norm.of_centred(y), (len(starts), 1)), modulations
    )


def noise_amplitude(
    learned: LearnedDynamics,
    y: Float[Array, "n D"],
    elapsed: Scalar,
    parameters: Parameters,
    dt: Scalar | None = None,
) -> Float[Array, "_ D"]:
    """The sigma in dX = drift dt + sigma dW, physical units; one row where it is the same for all samples.

    Args:
        learned: whose noise.
        y: centred samples.
        elapsed: time since the start of the horizon.
        parameters: of one run.
        dt: size of a step that begins then, over which the square of the entropic noise is averaged exactly.
    """
    if learned.known_noise:
        return learned.dynamics.noise(y, elapsed, parameters)
    norm = learned.normalisation
    at, size = jnp.asarray(elapsed, y.dtype), None if dt is None else jnp.asarray(dt, y.dtype)
    return (norm.scale.astype(y.dtype) * (learned.epsilon / norm.time_unit(at, size) ** 0.5))[None, :]


def driven_rate(learned: LearnedDynamics, dtype: DTypeLike, unit: Scalar) -> Float[Array, "_ Y"]:
    """From normalised to physical drifts of the driven columns, per a unit of time."""
    return learned.normalisation.scale.astype(dtype)[np.asarray(learned.structure.driven)][None, :] / unit


def require_known_physics(learned: LearnedDynamics) -> LearnedDynamics:
    """The same, after checking that its stepper declares the drift and the noise that it was trained around.

    Raises:
        ValueError: it declares others.
    """
    dynamics, theirs = learned.dynamics, abilities_of(learned.replaces)
    wrong, has = "", False
    if learned.known_noise and not dynamics.has_noise:
        wrong, has = "noise", theirs.noise is not None
    if learned.known_drift != dynamics.has_driven_drift:
        wrong, has = "known_drift", theirs.known_drift is not None
    if wrong:
        have = f"{type(learned.replaces).__name__} {'has' if has else 'lacks'}"
        raise ValueError(
            f"replaces: the `{wrong}` of the stepper is part of what was learned around, and {have} it; pass the "
            "stepper of the training"
        )
    return learned
