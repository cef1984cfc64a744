"""Particles in the place of a grid run: as states of its solver, and as surrogates."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from hoam_plugin import surrogates
from hoam_plugin._types import Parameters, SampleState, State
from hoam_plugin.numerics import tolerances
from hoam_plugin.simulators import VlasovPoissonGrid
from hoam_plugin.steppers import clock, require_stepper, state_type
from hoam_plugin.surrogates import Surrogate, required_stepper


def grid_state(solver: VlasovPoissonGrid, state: State, parameters: Parameters) -> SampleState:
    """The state of a grid solver whose distribution is that of the particles of `state`, by bilinear weights.

    Args:
        solver: whose grid and State.
        state: of a surrogate or a particle code, with the variables x and v.
        parameters: physics parameters, for the field.

    Raises:
        ValueError: a state without x or v.

    Example:
        >>> from hoam_plugin.adapters import vlasov
        >>> grid = simulators.two_stream(solver="grid", n_x=32, n_v=64)
        >>> on_grid = vlasov.grid_state(grid, state, {"mu": 1.4})
        >>> on_grid.x.shape
        (64,)
    """
    samples = {name: getattr(state, name) for name in ("x", "v") if getattr(state, name, None) is not None}
    missing = [name for name in ("x", "v") if name not in samples]
    if missing:
        raise ValueError(f"state={type(state).__name__} lacks the variables {missing!r}; it must hold x and v")
    rest = {clock.TIME: clock.remainder_of(state, clock.TIME)}
    own = phase_space_state(jnp.asarray(state.time), **samples, remainder=rest)
    return solver.refresh(own, parameters)


def in_place_of(surrogate: Surrogate, solver: VlasovPoissonGrid) -> Surrogate:
    """A surrogate that was trained on particles, in the place of a grid run.

    It draws its samples from the solver's initial distribution, and its ensembles carry the solver's diagnostics, such
    as `electric_field` and, with `record_distribution`, f on the solver's grid, of the learned population.

    Args:
        surrogate: of the variables x and v.
        solver: of the same box.

    Raises:
        ValueError: other variables, another box, other parameters, or other known physics than that of the training.

    Example:
        >>> from hoam_plugin.adapters import vlasov
        >>> grid = simulators.two_stream(solver="grid", n_x=32, n_v=64)
        >>> vlasov.in_place_of(model, grid).parameters
        ('mu',)
    """
    required_stepper(require_stepper("solver", solver), surrogate.variables)
    own = {v.name: v.period for v in surrogate.variables}
    theirs = {v.name: v.period for v in solver.variables}
    if set(own) != set(theirs) or any(_differ(own[name], theirs[name]) for name in own):
        raise ValueError(
            f"solver has the periods {theirs!r} of its variables, but the surrogate was trained on {own!r}"
        )
    if tuple(surrogate.parameters) != tuple(solver.parameters):
        raise ValueError(
            f"solver has the parameters {list(solver.parameters)!r}, but the surrogate was trained over "
            f"{list(surrogate.parameters)!r}"
        )
    return surrogates.in_place_of(surrogate, solver)


def phase_space_state(time: jax.Array, x: jax.Array, v: jax.Array, remainder: Mapping[str, jax.Array]) -> SampleState:
    """A State of positions and velocities, with what rounding has cut off its time."""
    return state_type(("x", "v"))(time=time, x=x, v=v, remainder=remainder)


def _differ(a: float | None, b: float | None) -> bool:
    return (a is None) != (b is None) or (a is not None and b is not None and abs(a - b) > tolerances.tolerance(b))
