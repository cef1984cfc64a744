"""Several surrogates of one name as one stepper: every request goes to the newest whose trained range covers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_table, positive_float, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, Parameters, SampleState, Scalar, State, StateT
from hoam_plugin.registry import switching
from hoam_plugin.registry.switching import Switch, free, place_of
from hoam_plugin.steppers import Abilities, OfState, ParameterRow, Stepper, Variable, clock, row_of
from hoam_plugin.surrogates import Policy, Surrogate, react, trajectory


def chosen_among(
    name: str, surrogates: Sequence[Surrogate], simulator: Callable[[], Stepper | None], *, fallback: bool = False
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
        if _kind(model) == _kind(newest) and not any(other.trained.encloses(model.trained) for other in kept):
            kept.append(model)
    wholes = (model.learned.in_place.whole for model in kept)
    replaced = next((stepper for stepper in wholes if stepper is not None), None)
    if len(kept) == 1 and (not fallback or replaced is not None):
        return newest.with_options(on_extrapolation="fallback") if fallback else newest
    if replaced is None:
        named = simulator()
        replaced = None if named is None else place_of(newest, named).whole
    policy = "fallback" if fallback else newest.trained.policy
    if policy == "fallback" and replaced is None:
        raise ValueError(
            f"fallback=True: name={name!r} has no simulator with the variables {[v.name for v in newest.variables]!r}; "
            f"register one with register({name!r}, simulator)"
        )
    return SurrogateSelection(tuple(kept), replaced, name, policy)


@pytree(data=("candidates", "replaces"), eq=False)
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
            which takes its own default step, and which is asked in holes among the training runs as well.
    """

    candidates: tuple[Surrogate, ...]
    replaces: Stepper | None
    name: str
    on_extrapolation: Policy

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
        return self._switch.dt

    @property
    def horizon(self) -> tuple[float, float]:
        """From the first to the last trained time of any surrogate."""
        return self._switch.horizon

    def covering(self, parameters: Mapping[str, ArrayLike], times: ArrayLike | Sequence[float]) -> Surrogate | None:
        """The newest surrogate that covers all of the given concrete values, or None; see `Switch.covering`."""
        return self._switch.covering(parameters, times)

    def for_parameters(self, parameters: Mapping[str, ArrayLike | Sequence[float]]) -> Stepper:
        """The newest surrogate that covers all of the given concrete values; outside all ranges as the policy says.

        Raises:
            ValueError: unknown or missing parameters, or values outside all ranges under "raise".
        """
        table = parameter_table(parameters, self.parameters)
        model = self.covering(table, ())
        if model is not None:
            return model
        self._enforce(table, ())
        if self.on_extrapolation == "fallback" and self.replaces is not None:
            return self.replaces
        return self.candidates[0]

    # The replaced stepper's side.

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw the initial population of the replaced stepper.

        Raises:
            ValueError: no stepper is replaced.
        """
        return self._switch.in_place.init(key, n_samples, parameters)

    def refresh(self, state: StateT, parameters: Parameters) -> StateT:
        """Rebuild what the replaced stepper keeps in `aux`."""
        return self._switch.in_place.refresh(state, parameters)

    @property
    def diagnostics(self) -> OfState | None:
        """The replaced stepper's diagnostics of the learned population; None where it has none."""
        return self._switch.in_place.diagnostics

    # The learned side.

    def step(self, state: StateT, dt: Scalar, parameters: Parameters, key: Key | None = None) -> StateT:
        """Advance by `dt`; see `Surrogate.step`.

        Raises:
            ValueError: no key although a surrogate has noise, or concrete values outside all ranges under "raise".
        """
        self._require_key(key)
        row = row_of(parameters, self.parameters)
        if not _traced(row, (state.time, dt)):
            now = clock.reading(state)
            times = np.asarray([now, now + float(dt)])
            model = self.covering(row, times)
            if model is not None:
                return free(model).step(state, dt, row, key)
            self._enforce(row, times)
        return switching.step(self._switch, state, dt, row, key)

    def solve(
        self,
        state: StateT,
        times: ArrayLike | Sequence[Scalar],
        parameters: Parameters,
        *,
        key: Key | None = None,
        dt: float | None = None,
    ) -> StateT:
        """The states at all of `times`, with a leading time axis; see `Surrogate.solve`.

        Raises:
            ValueError: as `Surrogate.solve`.
        """
        self._require_key(key)
        row = row_of(parameters, self.parameters)
        largest_step = positive_float("dt", self.dt if dt is None else dt)
        saved = trajectory.require_times(state, times, largest_step)
        if not _traced(row, (state.time, saved)):
            model = self.covering(row, saved)
            if model is not None:
                return free(model).solve(state, saved, row, key=key, dt=dt)
            self._enforce(row, saved)
        return switching.solve(self._switch, state, saved, row, key, dt, largest_step)

    def velocity(self, x: Float[ArrayLike, "... D"], time: ArrayLike, parameters: Parameters) -> Float[Array, "... D"]:
        """Learned drift dx/dt of samples x, see `Surrogate.velocity`; outside NaN, unless the policy ignores it."""
        return self._switch.velocity(jnp.asarray(x), time, row_of(parameters, self.parameters))

    def rates(self, state: State, parameters: Parameters) -> dict[str, Array]:
        """Learned drift of every variable."""
        return self._switch.rates(state, row_of(parameters, self.parameters))

    # What `simulate` needs beyond the contract.

    def __abilities__(self) -> Abilities:
        """The optional members of a stepper."""
        place = self._switch.in_place
        return Abilities(
            rates=self.rates,
            diagnostics=place.diagnostics,
            diagnostic_variables=place.diagnostic_variables,
            coordinates=place.coordinates,
            solve=self.solve,
            check_domain=self._check_domain,
            parameter_row=self._parameter_row,
            state_from_samples=place.state_from_samples if place.whole is None else None,
        )

    def _check_domain(self, parameters: Mapping[str, np.ndarray], times: np.ndarray) -> None:
        """Apply the policy to a whole table of parameters and times; `simulate` calls it first."""
        n_rows = max((len(column) for column in parameters.values()), default=1)
        for row in range(n_rows):
            self._enforce({name: column[row] for name, column in parameters.items()}, times)

    def _parameter_row(self, parameters: Parameters) -> ParameterRow:
        """The parameters of one run with all of their digits."""
        return row_of(parameters, self.parameters)

    @property
    def _switch(self) -> Switch:
        return Switch(self.candidates, self.replaces, self.on_extrapolation)

    def _enforce(self, parameters: Mapping[str, ArrayLike], times: ArrayLike | Sequence[float]) -> None:
        if self.covering(parameters, times) is not None:
            return
        given = [f"{name}={np.asarray(parameters[name], np.float64).tolist()!r}" for name in self.parameters]
        span = np.asarray(times, np.float64)
        request = ", ".join([*given, *([f"times {span.min():g} to {span.max():g}"] if span.size else [])])
        domains = "; ".join(model.trained.text() for model in self.candidates)
        react(
            self.on_extrapolation,
            f"none of the {len(self.candidates)} surrogates of name={self.name!r} covers {request}: they were trained "
            f"on {domains}",
        )

    def _require_key(self, key: object) -> None:
        if key is not None:
            random_key(key)
        elif self._switch.has_noise:
            raise ValueError(
                "key=None: a surrogate of this selection has noise and needs a key, such as jax.random.key(0)"
            )


def _kind(model: Surrogate) -> tuple[object, ...]:
    return model.learned.layout.names, model.learned.layout.shapes, model.parameters


def _traced(parameters: Parameters, times: object) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((dict(parameters), times)))
