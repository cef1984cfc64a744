"""Populations of interacting samples, which are stepped as one sample."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, Parameters, SampleState, Scalar
from hoam_plugin.dynamics import compute_dtype
from hoam_plugin.simulators import DiffraxStepper
from hoam_plugin.steppers import SampleLayout, Variable, clock, state_type

from .function_types import OfRows

# The population as one sample.
_WHOLE = Variable("x", dims=("sample_of_population", "column"))

PerVariable = dict[str, Float[Array, "sample ..."]]


@pytree()
class PopulationStepper(DiffraxStepper):
    """A `DiffraxStepper` whose functions take the whole population, (n, D), as those of interacting particles do.

    A step solves for the population as if it were one sample of n D coordinates: adaptive steps are shared. Its noise
    is diagonal.
    """

    def step(self, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """One step of length `dt` for the whole population; errors as those of `DiffraxStepper`."""
        layout = SampleLayout.of(self.variables, state)
        x = layout.flattened(state)
        kept = clock.kept_remainders(state)
        names = [name for name in layout.names if name in kept]
        rest = {clock.TIME: kept[clock.TIME]} if clock.TIME in kept else {}
        if names:
            rest["x"] = layout.flattened({name: clock.remainder_of(state, name) for name in layout.names})[None]
        whole = state_type(("x",))(time=state.time, x=x[None], remainder=rest)
        moved = self._of_one_sample(x.shape).step(whole, dt, parameters, key=key)
        placed = dataclasses.replace(layout.placed(state, moved.x[0]), time=moved.time)
        if not rest:
            return placed
        lost = layout.parts(moved.remainder["x"][0]) if names else {}
        time = {clock.TIME: moved.remainder[clock.TIME]} if clock.TIME in rest else {}
        return dataclasses.replace(placed, remainder={**kept, **time, **{name: lost[name] for name in names}})

    def rates(self, state: SampleState, parameters: Parameters) -> PerVariable:
        """Drift of the variables, without the noise."""
        return self._of_population(self.drift, state, parameter_row(parameters, self.parameters))

    @property
    def noise(self) -> Callable[[SampleState, Parameters], PerVariable] | None:
        """(state, parameters) -> amplitude of each variable's noise; None where it depends on the samples."""
        if not (self.is_noisy and self.additive):
            return None
        return lambda state, parameters: self._of_population(self.diffusion, state, parameters)

    @property
    def known_drift(self) -> Callable[[SampleState, Parameters], PerVariable] | None:
        """(state, parameters) -> what `known` says, by variable; None where nothing is declared as known."""
        known = self.known
        return None if known is None else lambda state, parameters: self._of_population(known, state, parameters)

    def _of_one_sample(self, shape: tuple[int, ...]) -> DiffraxStepper:
        """The equation of the population as one sample."""

        def whole(function: OfRows) -> OfRows:
            return lambda time, y, values: function(time, y.reshape(shape), values).reshape(-1)

        return DiffraxStepper(
            drift=whole(self.drift),
            diffusion=whole(self.diffusion) if callable(self.diffusion) else self.diffusion,
            initial=self.initial,
            parameters=self.parameters,
            variables=(_WHOLE,),
            solver=self.solver,
            stepsize_controller=self.stepsize_controller,
            additive=self.additive,
        )

    def _of_population(self, function: OfRows, state: SampleState, parameters: Parameters) -> PerVariable:
        """The value of `function(time, x, parameters)` of a population, by variable."""
        layout = SampleLayout.of(self.variables, state)
        x = layout.flattened(state)
        x = x.astype(compute_dtype(x.dtype))
        # What is known of a stepper may be asked for together with parameters that are not its own.
        own = {name: parameters[name] for name in self.parameters if name in parameters}
        row = {n: jnp.asarray(v).astype(x.dtype) for n, v in parameter_row(own, self.parameters).items()}
        time = jnp.asarray(state.time).astype(x.dtype)
        placed = layout.placed(state, function(time, x, row))
        return {name: getattr(placed, name) for name in layout.names}
