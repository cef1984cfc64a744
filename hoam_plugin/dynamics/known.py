"""The drift b0 and the noise around which is learned, dX = (b0 + u) dt + sigma dW: known, or of moments alone."""

from __future__ import annotations

import itertools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Parameters, Scalar
from hoam_plugin.dynamics.moments import MomentDrift
from hoam_plugin.dynamics.normalisation import CONDITION_TIME_RATE, Normalisation
from hoam_plugin.dynamics.structure import Structure
from hoam_plugin.steppers import OfState, SampleLayout, Stepper, abilities_of, clock, state_type


@pytree(data=("normalisation", "stepper", "base"))
class Dynamics:
    """The known part of the dynamics of an ensemble's stepper, and a base that takes its place where nothing is known.

    Positions move with their velocities. What the stepper declares as `known_drift(state, parameters)` for the driven
    variables, such as friction, and as `noise(state, parameters)`, the amplitudes of their noise, is added; both return
    a dict from names of variables to values, per sample or one for all, in physical units, and may look at the time
    and the variables of the state alone.

    Attributes:
        normalisation: of samples, time and parameters.
        stepper: the stepper, or None.
        structure: which columns are driven, and how positions follow velocities.
        layout: of the samples.
        base: how all coordinates move that are not learned to move otherwise, in normalised time, or None.
    """

    normalisation: Normalisation
    stepper: Stepper | None
    structure: Structure
    layout: SampleLayout
    base: MomentDrift | None = None

    @property
    def has_drift(self) -> bool:
        """Whether there is a drift b0."""
        return self.structure.knows_dynamics or self.base is not None

    @property
    def has_noise(self) -> bool:
        """Whether the stepper declares noise that counts here."""
        return self.structure.knows_dynamics and abilities_of(self.stepper).noise is not None

    @property
    def has_driven_drift(self) -> bool:
        """Whether the stepper declares a known drift of the driven variables that counts here."""
        return self.structure.kind == "kinetic" and abilities_of(self.stepper).known_drift is not None

    def drift(self, y: Float[Array, "n D"], elapsed: Scalar, parameters: Parameters) -> Float[Array, "n D"]:
        """The drift b0 at centred samples and the time since the start of the horizon, physical units."""
        if self.base is not None:
            norm = self.normalisation
            at = jnp.asarray(elapsed, y.dtype)
            based = self.base.drift(norm.of_centred(y), norm.tau(at), parameters)
            return based * (norm.scale.astype(y.dtype)[None, :] / norm.time_unit(at))
        velocities, ahead = self.normalisation.physical(y), {x: v - x for x, v in self.structure.kinematics}
        parts = []
        # Neighbours that are alike go together: a configuration of particles has hundreds of coordinates.
        for offset, alike in itertools.groupby(range(y.shape[1]), key=ahead.get):
            first, *rest = alike
            last = first + 1 + len(rest)
            moved = y[:, first:last] if offset is None else velocities[:, first + offset : last + offset]
            parts.append(jnp.zeros_like(moved) if offset is None else moved)
        drift = jnp.concatenate(parts, axis=-1)
        known_drift = abilities_of(self.stepper).known_drift
        if self.has_driven_drift and known_drift is not None:
            declared = self._declared(known_drift, y, elapsed, parameters)
            driven = np.asarray(self.structure.driven)
            drift = drift.at[:, driven].set(declared[:, driven])
        return drift

    def noise(self, y: Float[Array, "n D"], elapsed: Scalar, parameters: Parameters) -> Float[Array, "n D"]:
        """The noise amplitude sigma at centred samples, physical units; 0 where none is declared."""
        noise = abilities_of(self.stepper).noise
        return self._declared(noise, y, elapsed, parameters) if self.has_noise and noise else jnp.zeros_like(y)

    def normalised(
        self, z: Float[Array, "n D"], condition: Float[Array, " C"]
    ) -> tuple[Float[Array, "n D"], Float[Array, "n D"]]:
        """Drift and noise in normalised units, at normalised samples, time and parameters."""
        norm = self.normalisation
        if self.base is not None:
            parameters = norm.physical_condition(condition)[1]
            return self.base.drift(z, (condition[0] + 1) / CONDITION_TIME_RATE, parameters), jnp.zeros_like(z)
        y = norm.centred_samples(z)
        elapsed, parameters = norm.physical_condition(condition)
        scale = norm.scale.astype(z.dtype)[None, :]
        unit = norm.time_unit(elapsed)
        drift = self.drift(y, elapsed, parameters) * (unit / scale)
        return drift, self.noise(y, elapsed, parameters) * (unit**0.5 / scale)

    def _declared(
        self, function: OfState, y: Float[Array, "n D"], elapsed: Scalar, parameters: Parameters
    ) -> Float[Array, "n D"]:
        """What the stepper says of its variables, in columns; 0 for those that it leaves out."""
        x, start = self.normalisation.physical(y), self.normalisation.horizon[0]
        assert self.stepper is not None  # it declares the function
        state = state_type(self.layout.names)(**clock.at(start, x.dtype), **self.layout.parts(x))
        state = clock.with_elapsed(state, start, elapsed)
        own = {name: parameters[name] for name in self.stepper.parameters if name in parameters}
        columns = self.layout.empty(len(x), x.dtype)
        said = {name: jnp.broadcast_to(value, columns[name].shape) for name, value in function(state, own).items()}
        return self.layout.flattened(columns | said)
