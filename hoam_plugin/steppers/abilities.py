"""What a stepper can do beyond the contract; the one place that asks for members which need not be there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
import xarray as xr
from jax.typing import ArrayLike

from hoam_plugin._types import Key, Parameters, Scalar, State
from hoam_plugin.steppers.variables import Variable

# Name and JSON-safe arguments of an entry point.
Description: TypeAlias = tuple[str, dict[str, object]]


# Every stepper takes states of its own class, which no type of an argument can say.
AnyState: TypeAlias = Any


@runtime_checkable
class OfState(Protocol):
    """A function of a state and the parameters of its run: name to array."""

    def __call__(self, state: AnyState, parameters: Parameters, /) -> Mapping[str, ArrayLike]:
        """Values per sample or one for all."""
        ...


@runtime_checkable
class Advance(Protocol):
    """A number of equal steps, in compiled code."""

    def __call__(self, state: AnyState, dt: Scalar, n_steps: jax.Array, parameters: Parameters, key: Key, /) -> State:
        """The state after them."""
        ...


@runtime_checkable
class AdvanceInParts(Protocol):
    """A number of equal steps, of parts of the samples on the threads of a pool."""

    def __call__(
        self,
        state: AnyState,
        dt: Scalar,
        n_steps: int,
        parameters: Parameters,
        key: Key,
        pool: ThreadPoolExecutor,
        n_parts: int,
        /,
    ) -> State:
        """The state after them."""
        ...


class InParts(NamedTuple):
    """Threads that share the samples of a step.

    Attributes:
        number: (n_samples, n_workers) -> how many.
        advance: (state, dt, n_steps, parameters, key, pool, number) -> state.
    """

    number: Callable[[int, int], int]
    advance: AdvanceInParts


@runtime_checkable
class AdvanceByTables(Protocol):
    """A number of equal steps of one run, outside of compiled code, from one saved time to the next."""

    def __call__(
        self, state: AnyState, dt: jax.Array, n_steps: jax.Array, parameters: Parameters, key: Key, /
    ) -> State | None:
        """The state after them; None where they have to be taken in another way."""
        ...


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
        log_density: ((n, D) samples, parameters) -> log of the initial population's density at each of them.
        diagnostic_variables: what `diagnostics` returns.
        coordinates: values along the extra dimensions of variables and diagnostics.
        sample_coordinates: (n_samples) -> xarray Variables along `sample`, or along other dims of the samples.
        check_run: (table of the parameters of all runs, dt) -> None, before they start; errors and warnings about the
            physics.
        check_domain: (table, times) -> None, before they start; errors and warnings about ranges.
        recover: (state before, state after, parameters) -> None, or a state from which the steps between two saved
            times are repeated, such as one with larger buffers; called outside of compiled code.
        describe: () -> entry-point name and JSON-safe arguments that rebuild the stepper, or None where it cannot be
            described.
        parameter_row: (parameters) -> the parameters of one run in the form that keeps all of their digits.
        advance: (state, dt, n_steps, parameters, key) -> state after a traceable number of steps of mean size dt.
        in_parts: how threads share the samples of a step.
        tables: (n_samples) -> a quicker way for one run of so many samples, or None.
        at_equal_steps: (dt) -> the stepper whose steps are equal in time and no longer than dt, where its own are not.
        steps_between: (start, end) -> number of its own steps between two times, where they are not equal in time.
        solve: (state, times, parameters, key=, dt=) -> states at all of the times, with a leading time axis.
        state_from_samples: (samples by name, time) -> state, where `init` has not the structure of the states.

    Example:
        >>> from hoam_plugin.steppers import abilities_of
        >>> able = abilities_of(sim)
        >>> able.rates is not None, able.noise is None
        (True, True)
    """

    known_drift: OfState | None = None
    noise: OfState | None = None
    rates: OfState | None = None
    diagnostics: OfState | None = None
    log_density: Callable[[jax.Array, Parameters], jax.Array] | None = None
    diagnostic_variables: tuple[Variable, ...] = ()
    coordinates: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    sample_coordinates: Callable[[int], Mapping[str, xr.Variable]] | None = None
    check_run: Callable[[Mapping[str, np.ndarray], float], None] | None = None
    check_domain: Callable[[Mapping[str, np.ndarray], np.ndarray], None] | None = None
    recover: Callable[[AnyState, AnyState, Parameters], State | None] | None = None
    describe: Callable[[], Description | None] | None = None
    parameter_row: Callable[[Parameters], Parameters] | None = None
    advance: Advance | None = None
    in_parts: InParts | None = None
    tables: Callable[[int], AdvanceByTables | None] | None = None
    at_equal_steps: Callable[[float], object] | None = None
    steps_between: Callable[[float, float], int] | None = None
    solve: Callable[..., State] | None = None
    state_from_samples: Callable[[Mapping[str, jax.Array], Scalar], State] | None = None


_FIELDS = tuple(field.name for field in dataclasses.fields(Abilities))


def abilities_of(stepper: object) -> Abilities:
    """The optional members of a stepper; none of None."""
    own = getattr(stepper, "__abilities__", None)
    if own is not None:
        return own()
    found = {name: getattr(stepper, name, None) for name in _FIELDS}
    return Abilities(**{name: member for name, member in found.items() if member is not None})
