"""Several surrogates of one name as one stepper: every request goes to the newest whose trained range covers it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_table, positive_float, random_key
from hoam_plugin.numerics import rollout, tolerances
from hoam_plugin.steppers import ParameterRow, Parameters, Variable, clock, row_of
from hoam_plugin.surrogates import Surrogate, stepping, trained_range


def chosen_among(
    name: str, surrogates: Sequence[Surrogate], simulator: Callable[[], Any], *, fallback: bool = False
) -> Surrogate | SurrogateSelection:
    """The stepper that stands for several surrogates of a name: one of them where it covers all others' ranges.

    Surrogates of other variables or parameters than the newest are left out, and so are those whose ranges a newer one
    covers.

    Args:
        name: under which they are registered.
        surrogates: oldest first; at least one.
        simulator: gives the name's simulator, or None; called only where the surrogates do not know what they replace.
        fallback: go to the simulator outside all ranges, whatever the surrogates' own `on_extrapolation`.

    Raises:
        ValueError: `fallback` without a simulator of the same variables.
    """
    newest = surrogates[-1]
    kept: list[Surrogate] = []
    for model in reversed(surrogates):
        if _kind(model) == _kind(newest) and not any(_encloses(other, model) for other in kept):
            kept.append(model)
    replaced = next((model.replaces for model in kept if not model.has_own_state), None)
    if len(kept) == 1 and (not fallback or replaced is not None):
        return newest.with_options(on_extrapolation="fallback") if fallback else newest
    if replaced is None:
        named = simulator()
        if named is not None and {v.name for v in named.variables} == {v.name for v in newest.variables}:
            replaced = named
    policy = "fallback" if fallback else newest.on_extrapolation
    if policy == "fallback" and replaced is None:
        raise ValueError(
            f"fallback=True: name={name!r} has no simulator with the variables {[v.name for v in newest.variables]!r}; "
            f"register one with register({name!r}, simulator)"
        )
    return SurrogateSelection(tuple(kept), replaced, name, policy)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["candidates", "replaces"], meta_fields=["name", "on_extrapolation"]
)
@dataclasses.dataclass(frozen=True, eq=False)
class SurrogateSelection:
    """Surrogates with different trained ranges as one stepper.

    A request (a step, a solution at several times, a velocity) is answered by the newest surrogate whose parameter
    ranges and horizon cover it. With concrete values the choice is made at once; with traced ones it is a `lax.switch`,
    so that one compiled function serves them all. A solution is one request; only under "fallback" is one that no
    surrogate covers whole taken step by step.

    Attributes:
        candidates: newest first.
        replaces: the stepper whose place they take: its State, `init` and `diagnostics`; or None.
        name: under which they are registered.
        on_extrapolation: what is done outside all ranges; "warn" and "ignore" ask the newest, "fallback" `replaces`,
            which takes its own default step.
    """

    candidates: tuple[Surrogate, ...]
    replaces: Any
    name: str
    on_extrapolation: trained_range.Policy

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The components of a sample."""
        return self.candidates[0].variables

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the physics parameters."""
        return self.candidates[0].parameters

    @property
    def dt(self) -> float:
        """The smallest default step of the surrogates, physical units."""
        return min(model.dt for model in self.candidates)

    @property
    def horizon(self) -> tuple[float, float]:
        """From the first to the last trained time of any surrogate."""
        starts, ends = zip(*(model.horizon for model in self.candidates), strict=True)
        return min(starts), max(ends)

    @property
    def has_noise(self) -> bool:
        """Whether a step of any surrogate draws random numbers."""
        return any(model.has_noise for model in self.candidates)

    @property
    def has_own_state(self) -> bool:
        """Whether states are plain ones, made by `state_from_samples`."""
        return self.replaces is None

    def covering(self, parameters: Parameters, times: Any) -> Surrogate | None:
        """The newest surrogate whose ranges hold all of the given concrete values, or None."""
        for model in self.candidates:
            if trained_range.violation(parameters, times, model.ranges, model.horizon) is None:
                return model
        return None

    def for_parameters(self, parameters: Parameters) -> Any:
        """The newest surrogate that covers all of the given concrete values; outside all ranges as the policy says.

        Raises:
            ValueError: unknown or missing parameters, or values outside all ranges under "raise".
        """
        table = parameter_table(parameters, self.parameters)
        model = self.covering(table, ())
        if model is not None:
            return model
        self._enforce(table, ())
        return self.replaces if self.on_extrapolation == "fallback" else self.candidates[0]

    # The replaced stepper's side.

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw the initial population of the replaced stepper.

        Raises:
            ValueError: no stepper is replaced.
        """
        if self.replaces is None:
            return self.candidates[0].init(key, n_samples, parameters)
        return self.replaces.init(key, n_samples, self.candidates[0].for_stepper(self.replaces, parameters))

    def state_from_samples(self, samples: dict[str, Any], time: Any) -> Any:
        """A plain State (empty aux) of given samples, where no stepper of the same variables is replaced."""
        return self.candidates[0].state_from_samples(samples, time)

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Rebuild what the replaced stepper keeps in `aux`."""
        if self.replaces is None:
            return state
        return self.replaces.refresh(state, self.candidates[0].for_stepper(self.replaces, parameters))

    @property
    def diagnostics(self) -> Callable[[Any, Parameters], dict[str, Any]]:
        """The replaced stepper's diagnostics of the learned population, if it has any."""
        if not hasattr(self.replaces, "diagnostics"):
            raise AttributeError("the replaced stepper has no diagnostics")
        return lambda state, parameters: self.replaces.diagnostics(
            self.refresh(state, parameters), self.candidates[0].for_stepper(self.replaces, parameters)
        )

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return getattr(self.replaces, "diagnostic_variables", ())

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Values along the extra dimensions of variables and diagnostics."""
        return getattr(self.replaces, "coordinates", {})

    # The learned side.

    def parameter_row(self, parameters: Parameters) -> ParameterRow:
        """The parameters of one run with all of their digits; see `Surrogate.parameter_row`."""
        return row_of(parameters, self.parameters)

    def check_domain(self, parameters: dict[str, np.ndarray], times: np.ndarray) -> None:
        """Apply the policy to a whole table of parameters and times; `simulate` calls it first."""
        n_rows = max((len(column) for column in parameters.values()), default=1)
        for row in range(n_rows):
            self._enforce({name: column[row] for name, column in parameters.items()}, times)

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Array | None = None) -> Any:
        """Advance by `dt`; see `Surrogate.step`.

        Raises:
            ValueError: no key although a surrogate has noise, or concrete values outside all ranges under "raise".
        """
        self._require_key(key)
        row = self.parameter_row(parameters)
        if not _traced(row, (state.time, dt)):
            now = clock.reading(state)
            times = np.asarray([now, now + float(dt)])
            model = self.covering(row, times)
            if model is not None:
                return _free(model).step(state, dt, row, key)
            self._enforce(row, times)
        return _step(self, state, dt, row, key)

    def solve(
        self, state: Any, times: Any, parameters: Parameters, *, key: Array | None = None, dt: float | None = None
    ) -> Any:
        """The states at all of `times`, with a leading time axis; see `Surrogate.solve`.

        Raises:
            ValueError: as `Surrogate.solve`.
        """
        self._require_key(key)
        row = self.parameter_row(parameters)
        largest_step = positive_float("dt", self.dt if dt is None else dt)
        saved = stepping.require_times(state, times, largest_step)
        if not _traced(row, (state.time, saved)):
            model = self.covering(row, saved)
            if model is not None:
                return _free(model).solve(state, saved, row, key=key, dt=dt)
            self._enforce(row, saved)
        return _solve(self, state, saved, row, key, dt, largest_step)

    def velocity(self, x: Float[Array, "... D"], time: Any, parameters: Parameters) -> Float[Array, "... D"]:
        """Learned drift dx/dt of samples x, see `Surrogate.velocity`; outside NaN, unless the policy ignores it."""
        x, row = jnp.asarray(x), self.parameter_row(parameters)
        branches = [lambda model=model: _free(model).velocity(x, time, row) for model in self.candidates]
        extrapolated = self.on_extrapolation in ("warn", "ignore")
        outside = branches[0] if extrapolated else lambda: jnp.full_like(x, jnp.nan)
        inside = [model.in_range(row, time) for model in self.candidates]
        return jax.lax.switch(_first(inside), [*branches, outside])

    def rates(self, state: Any, parameters: Parameters) -> dict[str, Array]:
        """Learned drift of every variable."""
        row = self.parameter_row(parameters)
        branches = [lambda model=model: _free(model).rates(state, row) for model in self.candidates]
        extrapolated = self.on_extrapolation in ("warn", "ignore")
        outside = branches[0] if extrapolated else lambda: self._lost(state)
        return jax.lax.switch(self._index(row, state), [*branches, outside])

    def _index(self, parameters: ParameterRow, *states: Any) -> Any:
        """Number of the newest surrogate that covers parameters and times of states; their count where none does."""
        inside = []
        for model in self.candidates:
            elapsed = tuple(clock.elapsed(state, model.horizon[0]) for state in states)
            inside.append(trained_range.inside(parameters, elapsed, model.ranges, model.horizon))
        return _first(inside)

    def _switched_step(self, state: Any, dt: Any, parameters: ParameterRow, key: Array | None) -> Any:
        branches = [lambda model=model: _free(model).step(state, dt, parameters, key) for model in self.candidates]
        outside = {"warn": branches[0], "ignore": branches[0]}.get(
            self.on_extrapolation, lambda: self._outside(state, dt, parameters, key)
        )
        return jax.lax.switch(self._index(parameters, state, clock.advanced(state, dt)), [*branches, outside])

    def _outside(self, state: Any, dt: Any, parameters: Parameters, key: Array | None) -> Any:
        if self.on_extrapolation == "raise":
            # Traced values cannot raise.
            return dataclasses.replace(clock.advanced(state, dt), **self._lost(state))
        # The simulator needs its own, mostly smaller step; a fixed number of them, so that reverse mode works.
        n_steps = tolerances.whole_steps(self.dt, self.replaces.dt)
        own = self.candidates[0].for_stepper(self.replaces, parameters)

        def one(state: Any, index: Any) -> tuple[Any, None]:
            own_key = None if key is None else jax.random.fold_in(key, index)
            return self.replaces.step(state, dt / n_steps, own, key=own_key), None

        indices = jnp.arange(n_steps, dtype=jnp.int32)
        return jax.lax.scan(one, self.replaces.refresh(state, own), indices)[0]

    def _lost(self, state: Any) -> dict[str, Any]:
        return {v.name: jnp.full_like(getattr(state, v.name), jnp.nan) for v in self.variables}

    def _enforce(self, parameters: Parameters, times: Any) -> None:
        if self.covering(parameters, times) is not None:
            return
        given = [f"{name}={np.asarray(parameters[name], np.float64).tolist()!r}" for name in self.parameters]
        span = np.asarray(times, np.float64)
        request = ", ".join([*given, *([f"times {span.min():g} to {span.max():g}"] if span.size else [])])
        domains = "; ".join(map(domain_text, self.candidates))
        trained_range.enforce(
            self.on_extrapolation,
            f"none of the {len(self.candidates)} surrogates of name={self.name!r} covers {request}: they were trained "
            f"on {domains}",
        )

    def _require_key(self, key: Any) -> None:
        if key is not None:
            random_key(key)
        elif self.has_noise:
            raise ValueError(
                "key=None: a surrogate of this selection has noise and needs a key, such as jax.random.key(0)"
            )


def domain_text(model: Surrogate) -> str:
    """Trained ranges and horizon as text."""
    ranges = [f"{name} in [{low:g}, {high:g}]" for name, (low, high) in model.ranges.items()]
    return ", ".join([*ranges, f"times in [{model.horizon[0]:g}, {model.horizon[1]:g}]"])


def _kind(model: Surrogate) -> Any:
    return tuple(v.name for v in model.variables), model.shapes, model.parameters


def _encloses(one: Surrogate, other: Surrogate) -> bool:
    spans = [*zip(one.ranges.values(), other.ranges.values(), strict=True), (one.horizon, other.horizon)]
    return all(a[0] <= b[0] and b[1] <= a[1] for a, b in spans)


def _free(model: Surrogate) -> Surrogate:
    """The model without a guard of its own: its ranges have been looked at."""
    return dataclasses.replace(model, on_extrapolation="ignore")


def _traced(parameters: Parameters, times: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((dict(parameters), times)))


def _first(inside: Sequence[Any]) -> Any:
    """Number of the first that is true; their count where none is. Traceable."""
    return jnp.argmax(jnp.stack([*inside, jnp.asarray(True)]))


@jax.jit
def _step(selection: SurrogateSelection, state: Any, dt: Any, parameters: Any, key: Any) -> Any:
    return selection._switched_step(state, dt, parameters, key)


def _solve(
    selection: SurrogateSelection,
    state: Any,
    times: Any,
    parameters: ParameterRow,
    key: Any,
    dt: float | None,
    largest_step: float,
) -> Any:
    saved, remainders = stepping.split_times(state, times)
    steps = [(selection.horizon, largest_step)]
    steps += [(model.horizon, model.dt if dt is None else largest_step) for model in selection.candidates]
    schedules = [stepping.schedule_of(state, times, *step).rounded(saved.dtype) for step in steps]
    return _compiled_solve(selection, state, saved, remainders, parameters, key, schedules)


@jax.jit
def _compiled_solve(
    selection: SurrogateSelection,
    state: Any,
    saved: Any,
    remainders: Any,
    parameters: ParameterRow,
    key: Any,
    schedules: list[rollout.Schedule],
) -> Any:
    stepwise, *own = schedules
    branches = [
        lambda model=model, schedule=schedule: stepping.solved(
            _free(model), state, saved, remainders, parameters, key, schedule
        )
        for model, schedule in zip(selection.candidates, own, strict=True)
    ]
    everywhere = stepping.along(state, saved, remainders)
    outside: Callable[[], Any] = branches[0]
    if selection.on_extrapolation == "fallback":
        outside = functools.partial(
            stepping.stepwise,
            selection._switched_step,
            selection.horizon[0],
            state,
            saved,
            remainders,
            parameters,
            key,
            stepwise,
        )
    elif selection.on_extrapolation == "raise":
        # Traced values cannot raise.
        outside = functools.partial(dataclasses.replace, everywhere, **selection._lost(everywhere))
    last = jax.tree.map(lambda leaf: leaf[-1], everywhere)
    return jax.lax.switch(selection._index(parameters, state, last), [*branches, outside])
