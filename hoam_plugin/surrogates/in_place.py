"""In the place of a stepper: what a trained stepper has from the one that it replaces."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from hoam_plugin._internal.checks import suggestion
from hoam_plugin._types import Key, Parameters, SampleState, Scalar, StateT
from hoam_plugin.dynamics import remainders_for
from hoam_plugin.steppers import (
    OfState,
    Stepper,
    Variable,
    abilities_of,
    as_jax,
    clock,
    default_float,
    require_representable,
    require_stepper,
    state_type,
)


@dataclasses.dataclass(frozen=True, eq=False)
class InPlaceOf:
    """The side of a trained stepper that comes from the stepper whose place it takes, if there is one.

    Attributes:
        stepper: whose place is taken, or None.
        variables: that are moved in its place, some or all of its own.
        parameters: names of the physics parameters that were trained over.
    """

    stepper: Stepper | None
    variables: tuple[Variable, ...]
    parameters: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        return tuple(v.name for v in self.variables)

    @property
    def whole(self) -> Stepper | None:
        """The replaced stepper where all of its variables are moved, so that its State is used; else None."""
        stepper = self.stepper
        return stepper if stepper is not None and {v.name for v in stepper.variables} == set(self.names) else None

    def for_stepper(self, stepper: Stepper, parameters: Parameters) -> dict[str, Scalar]:
        """What another stepper takes of the parameters; training may have been over others as well.

        Raises:
            ValueError: a name that neither of them knows.
        """
        theirs = tuple(stepper.parameters)
        known = {*theirs, *self.parameters}
        unknown = [name for name in parameters if name not in known]
        if unknown:
            raise ValueError(f"parameters has the unknown name {unknown[0]!r}; {suggestion(unknown[0], known)}")
        return {name: parameters[name] for name in theirs if name in parameters}

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw the initial population of the replaced stepper.

        Raises:
            ValueError: no stepper is replaced.
        """
        if self.stepper is None:
            raise ValueError(
                "this surrogate was trained on an ensemble that names no known stepper, so it cannot draw samples; "
                "pass replaces= to fit or load, or initial= to simulate"
            )
        state = self.stepper.init(key, n_samples, self.for_stepper(self.stepper, parameters))
        if self.whole is not None:
            return cast(SampleState, state)
        samples = {name: getattr(state, name) for name in self.names}
        return clock.with_time(
            self.state_from_samples(samples, state.time), state.time, clock.remainder_of(state, clock.TIME)
        )

    def state_from_samples(self, samples: Mapping[str, ArrayLike], time: Scalar) -> SampleState:
        """A plain State (empty aux) of given samples, where no stepper of the same variables is replaced."""
        for name in self.names:
            if name not in samples:
                raise ValueError(f"samples has {list(samples)!r} and lacks {name!r}; give {list(self.names)!r}")
            require_representable(f"variable {name!r} of samples", samples[name])
        fields = {name: as_jax(samples[name]) for name in self.names}
        dtype = time.dtype if isinstance(time, jax.Array) else default_float()
        traced = isinstance(time, jax.core.Tracer)
        parts = (time, np.zeros((), dtype)) if traced else clock.split(float(time), dtype)
        high, low = (jnp.asarray(part) for part in parts)
        kept = {clock.TIME: low, **remainders_for(fields, self.variables)}
        return state_type(self.names)(time=high, **fields, remainder=kept)

    def refresh(self, state: StateT, parameters: Parameters) -> StateT:
        """Rebuild what the replaced stepper keeps in `aux`, so that the state can go back to it."""
        stepper = self.whole
        if stepper is None:
            return state
        return cast(StateT, stepper.refresh(state, self.for_stepper(stepper, parameters)))

    @property
    def diagnostics(self) -> OfState | None:
        """The replaced stepper's diagnostics of the population moved in its place, or None."""
        stepper = self.whole
        theirs = abilities_of(stepper).diagnostics
        if stepper is None or theirs is None:
            return None
        return lambda state, parameters: theirs(self.refresh(state, parameters), self.for_stepper(stepper, parameters))

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return abilities_of(self.whole).diagnostic_variables

    @property
    def coordinates(self) -> Mapping[str, np.ndarray]:
        """Values along the extra dimensions of variables and diagnostics."""
        return abilities_of(self.whole).coordinates


def required_stepper(replaces: object, variables: tuple[Variable, ...]) -> Stepper | None:
    """`replaces`, after checking that it has the variables of the surrogate.

    Raises:
        TypeError: neither a stepper nor None.
        ValueError: it lacks one.
    """
    if replaces is None:
        return None
    stepper: Stepper = require_stepper("replaces", replaces)
    have = [v.name for v in stepper.variables]
    missing = [v.name for v in variables if v.name not in have]
    if missing:
        raise ValueError(
            f"replaces={type(replaces).__name__} has the variables {have!r} and lacks {missing!r}, which the "
            "surrogate moves"
        )
    return stepper
