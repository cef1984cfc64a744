"""What a stepper can do beyond the contract; the one place that asks for members which need not be there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from hoam_plugin._types import Parameters, State
from hoam_plugin.steppers.contract import Stepper
from hoam_plugin.steppers.variables import Variable

# Of the state at hand and the parameters of its run: name to array.
OfState = Callable[[Any, Parameters], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Abilities:
    """Optional members of a stepper; None, or empty, where it has none.

    A stepper just has members of these names. One that has many can instead return all of them from a method
    `__abilities__()`.

    Attributes:
        known_drift: (state, parameters) -> drift of some variables that nothing has to learn, such as friction.
        noise: (state, parameters) -> amplitudes of the noise of the variables.
        rates: (state, parameters) -> time derivatives of all variables, without noise.
        diagnostics: (state, parameters) -> values that `simulate` records beside the variables.
        diagnostic_variables: what `diagnostics` returns.
        coordinates: values along the extra dimensions of variables and diagnostics.
        sample_coordinates: (n_samples) -> xarray Variables along `sample` of the stepper's ensembles.
        check_run: (table of the parameters of all runs, dt) -> None, before they start; errors and warnings about the
            physics.
        check_domain: (table, times) -> None, before they start; errors and warnings about ranges.
        recover: (state before, state after, parameters) -> None, or a state from which the steps between two saved
            times are repeated, such as one with larger buffers; called outside of compiled code.
        describe: () -> entry-point name and JSON-safe arguments that rebuild the stepper, or None where it cannot be
            described.
        parameter_row: (parameters) -> the parameters of one run in the form that keeps all of their digits.
        advance: (state, dt, n_steps, parameters, key) -> state after a traceable number of equal steps.
        parts: (n_samples, n_workers) -> number of threads that share a step.
        advance_in_parts: (state, dt, n_steps, parameters, key, pool, n_parts) -> state; `advance` on threads.
        state_from_samples: (samples by name, time) -> state, where `init` has not the structure of the states.
    """

    known_drift: OfState | None = None
    noise: OfState | None = None
    rates: OfState | None = None
    diagnostics: OfState | None = None
    diagnostic_variables: tuple[Variable, ...] = ()
    coordinates: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sample_coordinates: Callable[[int], Mapping[str, Any]] | None = None
    check_run: Callable[..., None] | None = None
    check_domain: Callable[..., None] | None = None
    recover: Callable[..., State | None] | None = None
    describe: Callable[[], tuple[str, dict[str, Any]] | None] | None = None
    parameter_row: Callable[[Parameters], Parameters] | None = None
    advance: Callable[..., Any] | None = None
    parts: Callable[[int, int], int] | None = None
    advance_in_parts: Callable[..., Any] | None = None
    state_from_samples: Callable[..., Any] | None = None


_FIELDS = tuple(field.name for field in dataclasses.fields(Abilities))


def abilities_of(stepper: Stepper | None) -> Abilities:
    """The optional members of a stepper; none of None."""
    own = getattr(stepper, "__abilities__", None)
    if own is not None:
        return own()
    found = {name: getattr(stepper, name, None) for name in _FIELDS}
    return Abilities(**{name: member for name, member in found.items() if member is not None})
