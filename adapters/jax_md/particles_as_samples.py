"""Particles of a jax-md state as samples of a surrogate, and back."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Key, Parameters, SampleState, Scalar, State
from hoam_plugin.numerics.normals import Noise
from hoam_plugin.numerics.periodic import nearest_image
from hoam_plugin.steppers import SampleLayout, clock, state_type
from hoam_plugin.surrogates import LearnedDynamics, Surrogate, one_step

from .surrogate_states import SurrogateState

_POSITIONS = ("position", "x", "r", "R", "q")
_VELOCITIES = ("velocity", "v")
_MOMENTA = ("momentum", "p")


@dataclasses.dataclass(frozen=True)
class PositionAndMomentum:
    """Which variables of a surrogate are position and momentum.

    Attributes:
        layout: of the surrogate's samples.
        position: name.
        momentum: name, or None.
    """

    layout: SampleLayout
    position: str
    momentum: str | None

    @property
    def is_velocity(self) -> bool:
        """Whether the momentum is recorded per mass."""
        return self.momentum is not None and self.momentum not in _MOMENTA

    @property
    def position_shape(self) -> tuple[int, ...]:
        """Shape of the position of one sample."""
        return self.layout.shapes[self.layout.names.index(self.position)]

    @property
    def period(self) -> float | None:
        """Period of the position, or None."""
        return self.layout.variables[self.layout.names.index(self.position)].period

    def require_shape(self, shape: tuple[int, ...]) -> None:
        """Check the shape (N, dim) of the positions of a system.

        Raises:
            ValueError: it is not what the surrogate was trained on.
        """
        own = self.position_shape
        if len(shape) == 2 and (own == tuple(shape) or (math.prod(own) == shape[1] and len(own) < 2)):
            return
        what = f"{own[0]} particles in {own[1]} dimensions" if len(own) == 2 else f"{math.prod(own)} dimensions"
        raise ValueError(
            f"R has the shape {tuple(shape)}, but variable {self.position!r} of the surrogate holds {what}; give "
            "(N, dim) positions that match"
        )

    def no_remainders(self, position: jax.Array) -> dict[str, jax.Array]:
        """What rounding has cut off a new system: nothing. Positions on a torus are never far from 0."""
        if position.dtype == np.float64:
            return {}
        names = (["position"] if self.period is None else []) + ([] if self.momentum is None else ["momentum"])
        return {name: jnp.zeros_like(position) for name in names}

    def state(self, system: SurrogateState) -> SampleState:
        """The surrogate's State of one of jax-md's: each particle a sample, or all of them one."""
        rest = {name: clock.remainder_of(system, name) for name in self.no_remainders(system.position)}
        fields, remainder = {self.position: system.position}, {}
        if "position" in rest:
            remainder[self.position] = rest["position"]
        if self.momentum is not None:
            mass = jnp.asarray(system.mass, system.momentum.dtype) if self.is_velocity else 1
            fields[self.momentum] = system.momentum / mass
            if "momentum" in rest:
                remainder[self.momentum] = rest["momentum"] / mass
        own = {name: self._samples(fields[name]) for name in self.layout.names}
        kept = {name: self._samples(values) for name, values in remainder.items()}
        remainder = {**kept, clock.TIME: system.remainder["time"]}
        return state_type(self.layout.names)(time=system.time, remainder=remainder, **own)

    def with_momenta(self, system: SurrogateState, state: State) -> SurrogateState:
        """A system of jax-md with the momenta of a State of the surrogate."""
        if self.momentum is None:
            return system
        old, shape = system.momentum.dtype, system.momentum.shape
        mass = jnp.asarray(system.mass, old) if self.is_velocity else 1
        system = system.set(momentum=(getattr(state, self.momentum).reshape(shape) * mass).astype(old))
        if "momentum" not in system.remainder:
            return system
        rest = (clock.remainder_of(state, self.momentum).reshape(shape) * mass).astype(old)
        return system.set(remainder={**system.remainder, "momentum": rest})

    def change(self, system: SurrogateState, after: State) -> jax.Array:
        """How a State's positions differ from those of a system of jax-md, by the shortest way on a torus.

        What both have in `remainder` counts: it is the displacement that the dynamics made, not a difference of
        rounded positions.
        """
        shape = system.position.shape
        moved = getattr(after, self.position).reshape(shape) - system.position
        if "position" in system.remainder:
            return moved + clock.remainder_of(after, self.position).reshape(shape)
        if self.period is not None:
            moved = nearest_image(moved, self.period)
        return moved

    def force(self, rate: Float[Array, "n D"], mass: Scalar, shape: tuple[int, ...]) -> jax.Array:
        """Rate of the momenta, from that of flattened samples."""
        assert self.momentum is not None  # there are forces where there are momenta
        own = rate[:, self.layout.columns(self.momentum)].reshape(shape)
        return own * jnp.asarray(mass, own.dtype) if self.is_velocity else own

    def _samples(self, values: jax.Array) -> jax.Array:
        n_samples = 1 if len(self.position_shape) == 2 else len(values)
        return values.reshape(n_samples, *self.position_shape)


def position_and_momentum(surrogate: object, ensemble: str, has_momentum: bool) -> PositionAndMomentum:
    """Position and momentum among the variables of a surrogate.

    Raises:
        TypeError: not a surrogate.
        ValueError: variables that are not those of the ensemble.
    """
    if not isinstance(surrogate, Surrogate):
        raise TypeError(
            f"surrogate={surrogate!r} must be a surrogate, made by fit or load; to leave a program with its energy "
            f"function as it is, use replacing({ensemble!r}, surrogate)"
        )
    variables = {v.name: v for v in surrogate.variables}
    names = tuple(variables)
    momentum = next((n for n in names if variables[n].velocity_of or n in _VELOCITIES + _MOMENTA), None)
    target = None if momentum is None else variables[momentum].velocity_of
    position = target or next((n for n in names if n in _POSITIONS and n != momentum), None)
    strangers = [n for n in names if n not in (position, momentum)]
    if position is None or strangers:
        wrong = f"lack a position, such as {_POSITIONS[0]!r}" if position is None else f"have {strangers[0]!r} as well"
    elif has_momentum and momentum is None:
        wrong = "lack a momentum or velocity; train on an ensemble that has one, or use brownian"
    elif not has_momentum and momentum is not None:
        wrong = f"have {momentum!r} as well; train on positions alone, ds[[{position!r}]], or use nvt_langevin"
    else:
        return PositionAndMomentum(surrogate.learned.layout, position, momentum)
    moves = "positions and momenta" if has_momentum else "positions alone"
    raise ValueError(f"{ensemble} moves {moves}, but the surrogate's variables {list(names)!r} {wrong}")


def learned_rate(learned: LearnedDynamics, state: State, parameters: Parameters) -> Float[Array, "n D"]:
    """The learned part of the drift of flattened samples; 0 in columns that are not learned."""
    y = learned.centred(state)
    elapsed = clock.elapsed(state, learned.normalisation.horizon[0]).astype(y.dtype)
    drift = learned.learned_drift(elapsed, parameters, y.dtype)(y)
    return jnp.zeros_like(y).at[:, np.asarray(learned.structure.driven)].set(drift)


def learned_rate_of_step(
    learned: LearnedDynamics, noise: Noise, before: State, after: State, dt: Scalar, parameters: Parameters, key: Key
) -> Float[Array, "n D"]:
    """The same as the mean over one step that was taken with `key`: what moved samples beside friction and noise.

    A step evaluates the network once, in its middle; another evaluation would double its cost.
    """
    y, moved = (learned.centred(state) for state in (before, after))
    elapsed = clock.elapsed(before, learned.normalisation.horizon[0]).astype(y.dtype)
    size = jnp.asarray(dt, y.dtype)
    rate = (moved - y - one_step.increment(learned, noise, y, elapsed, size, parameters, key)) / size
    dynamics = learned.dynamics
    if dynamics.has_driven_drift:
        rate = rate - dynamics.drift((y + moved) / 2, elapsed, parameters)
    return rate
