"""Particles of a jax-md state as samples of a surrogate, and back."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.steppers import clock, state_type
from hoam_plugin.surrogates import Surrogate

_POSITIONS = ("position", "x", "r", "R", "q")
_VELOCITIES = ("velocity", "v")
_MOMENTA = ("momentum", "p")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which variables of a surrogate are position and momentum.

    Attributes:
        position: name.
        momentum: name, or None.
        is_velocity: whether it is the momentum per mass.
        names: of both, in the order of the surrogate.
        position_shape: of one sample.
        period: of the position.
        momentum_columns: places of the momentum in a flattened sample.
    """

    position: str
    momentum: str | None
    is_velocity: bool
    names: tuple[str, ...]
    position_shape: tuple[int, ...]
    period: float | None
    momentum_columns: tuple[int, ...]

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

    def no_remainders(self, position: Any) -> dict[str, Any]:
        """What rounding has cut off a new system: nothing. Positions on a torus are never far from 0."""
        if position.dtype == np.float64:
            return {}
        names = (["position"] if self.period is None else []) + ([] if self.momentum is None else ["momentum"])
        return {name: jnp.zeros_like(position) for name in names}

    def state(self, system: Any) -> Any:
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
        own = {name: self._samples(fields[name]) for name in self.names}
        kept = {name: self._samples(values) for name, values in remainder.items()}
        return state_type(self.names)(time=system.time, remainder={**kept, clock.TIME: system.remainder["time"]}, **own)

    def with_momenta(self, system: Any, state: Any) -> Any:
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

    def change(self, system: Any, after: Any) -> Any:
        """How a State's positions differ from those of a system of jax-md, by the shortest way on a torus.

        What both have in `remainder` counts: it is the displacement that the dynamics made, not a difference of
        rounded positions.
        """
        shape = system.position.shape
        moved = getattr(after, self.position).reshape(shape) - system.position
        if "position" in system.remainder:
            return moved + clock.remainder_of(after, self.position).reshape(shape)
        if self.period is not None:
            moved = moved - self.period * jnp.round(moved * (1 / self.period))
        return moved

    def force(self, rate: Float[Array, "n D"], mass: Any, shape: tuple[int, ...]) -> Any:
        """Rate of the momenta, from that of flattened samples."""
        own = rate[:, np.asarray(self.momentum_columns)].reshape(shape)
        return own * jnp.asarray(mass, own.dtype) if self.is_velocity else own

    def _samples(self, values: Any) -> Any:
        n_samples = 1 if len(self.position_shape) == 2 else len(values)
        return values.reshape(n_samples, *self.position_shape)


def columns_of(surrogate: Any, ensemble: str, has_momentum: bool) -> Columns:
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
        shapes = dict(zip(names, surrogate.shapes, strict=True))
        starts = np.cumsum([0, *(math.prod(shapes[n]) for n in names)])
        place = 0 if momentum is None else names.index(momentum)
        return Columns(
            position=position,
            momentum=momentum,
            is_velocity=momentum is not None and momentum not in _MOMENTA,
            names=names,
            position_shape=tuple(shapes[position]),
            period=variables[position].period,
            momentum_columns=() if momentum is None else tuple(range(starts[place], starts[place + 1])),
        )
    moves = "positions and momenta" if has_momentum else "positions alone"
    raise ValueError(f"{ensemble} moves {moves}, but the surrogate's variables {list(names)!r} {wrong}")


def learned_rate(surrogate: Surrogate, state: Any, parameters: Any) -> Float[Array, "n D"]:
    """The learned part of the drift of flattened samples; 0 in columns that are not learned."""
    y = surrogate.centred(state)
    elapsed = clock.elapsed(state, surrogate.horizon[0]).astype(y.dtype)
    learned = surrogate.learned_drift(elapsed, parameters, y.dtype)(y)
    return jnp.zeros_like(y).at[:, np.asarray(surrogate.structure.driven)].set(learned)


def learned_rate_of_step(
    surrogate: Surrogate, before: Any, after: Any, dt: Any, parameters: Any, key: Any
) -> Float[Array, "n D"]:
    """The same as the mean over one step that was taken with `key`: what moved samples beside friction and noise.

    A step evaluates the network once, in its middle; another evaluation would double its cost.
    """
    y, moved = (surrogate.centred(state) for state in (before, after))
    elapsed, size = clock.elapsed(before, surrogate.horizon[0]).astype(y.dtype), jnp.asarray(dt, y.dtype)
    rate = (moved - y - surrogate.increment(y, elapsed, size, parameters, key)) / size
    if surrogate.dynamics.has_driven_drift:
        rate = rate - surrogate.dynamics.drift((y + moved) / 2, elapsed, parameters)
    return rate
