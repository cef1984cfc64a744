"""`Surrogate`: learned population dynamics as a Stepper that takes its simulator's place."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import finite_float, one_of, positive_float, random_key
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, Parameters, SampleState, Scalar, State, StateT
from hoam_plugin.dynamics import compute_dtype
from hoam_plugin.numerics import tolerances
from hoam_plugin.numerics.integrators import Integrator
from hoam_plugin.numerics.normals import NORMALS, Noise
from hoam_plugin.steppers import Abilities, InParts, OfState, ParameterRow, Variable, clock, row_of
from hoam_plugin.surrogates import file_format, flow_tables, log_density, one_step, threads, trajectory
from hoam_plugin.surrogates.described import Described
from hoam_plugin.surrogates.file_contents import contents_of
from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options, require_integrator
from hoam_plugin.surrogates.provenance import Provenance
from hoam_plugin.surrogates.trained_range import POLICIES, Policy, TrainedRange
from hoam_plugin.surrogates.training_runs import TrainingRuns


# Without provenance as a pytree, so that surrogates that differ only in it share compiled code.
@pytree(data=("learned", "_runs"), dropped=("_provenance",), eq=False, repr=False)
class Surrogate(Described):
    """A learned drift that moves samples so that the population follows the physics.

    dX = grad_x s(X, t, mu) dt + epsilon dW in normalised units (arXiv:2410.12000, equation 5), or, around known
    dynamics, dX = (b0 + u) dt + sigma dW where u drives some coordinates only; see `hoam_plugin.dynamics.structure`.
    Trained on marginals, it reproduces the time marginals and all averages over them, not the two-time statistics of
    single trajectories.

    Attributes:
        learned: the learned dynamics: weights, units, structure, and the stepper whose place is taken.
        trained: the ranges that it was trained on, and what is done outside of them. Traced values cannot raise: there
            "raise" gives NaN. In a hole among the training runs (see `in_range`) "fallback" takes the simulator, and
            "raise" and "warn" warn of concrete values.
        options: how it steps.
    """

    learned: LearnedDynamics
    trained: TrainedRange
    options: Options
    _provenance: Provenance = dataclasses.field(default_factory=Provenance)
    _runs: TrainingRuns | None = None

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The components of a sample."""
        return self.learned.layout.variables

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the physics parameters."""
        return self.learned.normalisation.parameters

    @property
    def dt(self) -> float:
        """Default (largest) time step, physical units."""
        return self.options.dt

    def with_options(
        self,
        *,
        on_extrapolation: Policy | None = None,
        dt: float | None = None,
        noise: Noise | None = None,
        integrator: Integrator | None = None,
        tables: bool | None = None,
    ) -> Surrogate:
        """The same surrogate with another extrapolation policy, default step, kind of noise or integrator, or tables.

        Args:
            on_extrapolation: "raise", "warn", "ignore" or "fallback" (to the replaced stepper) outside the trained
                ranges.
            dt: see `Options`.
            noise: see `Options`.
            integrator: see `Options`.
            tables: see `Options`.

        Raises:
            ValueError: an unknown policy, kind of noise or integrator, "fallback" without a full stepper to fall back
                to, "rk4" with noise, or a dt that is not positive.
        """
        learned, options = self.learned, self.options
        policy = self.trained.policy if on_extrapolation is None else on_extrapolation
        one_of("on_extrapolation", policy, POLICIES)
        if policy == "fallback" and learned.in_place.whole is None:
            raise ValueError(
                "on_extrapolation='fallback' needs the simulator that this surrogate replaces, with the same "
                "variables; pass replaces= to fit or load"
            )
        kind: Noise = options.noise if noise is None else noise
        one_of("noise", kind, NORMALS)
        integrator = options.integrator if integrator is None else integrator
        known = "the stepper's noise" if learned.known_noise else f"epsilon={learned.epsilon:g}"
        require_integrator(integrator, known if learned.has_noise else "")
        step = options.dt if dt is None else positive_float("dt", dt)
        own = Options(step, kind, integrator, options.equal_in, options.tables if tables is None else tables)
        return dataclasses.replace(self, trained=dataclasses.replace(self.trained, policy=policy), options=own)

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw the initial population of the replaced stepper.

        Raises:
            ValueError: no stepper is replaced.
        """
        return self.learned.in_place.init(key, n_samples, parameters)

    def refresh(self, state: StateT, parameters: Parameters) -> StateT:
        """Rebuild what the replaced stepper keeps in `aux`, so that the state can go back to it."""
        return self.learned.in_place.refresh(state, parameters)

    @property
    def diagnostics(self) -> OfState | None:
        """The replaced stepper's diagnostics of the learned population; None where it has none."""
        return self.learned.in_place.diagnostics

    def velocity(self, x: Float[ArrayLike, "... D"], time: ArrayLike, parameters: Parameters) -> Float[Array, "... D"]:
        """Learned drift dx/dt (without the noise) of samples x, the variables flattened in order; physical units.

        Raises:
            ValueError: an unknown or a missing parameter, or samples of another width.
        """
        x = jnp.asarray(x)
        width = self.learned.layout.n_columns
        if x.shape[-1:] != (width,):
            raise ValueError(
                f"x has the shape {x.shape}; it must be (..., {width}), the variables "
                f"{list(self.learned.layout.names)!r} flattened in order"
            )
        elapsed = clock.since(time, self.horizon[0], compute_dtype(x.dtype))
        return _velocity(self.learned, x, elapsed, row_of(parameters, self.parameters))

    def rates(self, state: State, parameters: Parameters) -> dict[str, Array]:
        """Learned drift of every variable."""
        y = self.learned.centred(state)
        elapsed = clock.elapsed(state, self.horizon[0]).astype(y.dtype)
        drift = _rates(self.learned, y, elapsed, row_of(parameters, self.parameters))
        moved = self.learned.layout.placed(state, drift)
        return {name: getattr(moved, name) for name in self.learned.layout.names}

    def step(self, state: StateT, dt: Scalar, parameters: Parameters, key: Key | None = None) -> StateT:
        """Advance by `dt`; returns the State type that it was given, with `aux` passed through.

        Raises:
            ValueError: no key although epsilon > 0, an unknown or a missing parameter, or a concrete parameter or time
                outside its range under "raise".
            TypeError: a key that is none.
        """
        self._require_key(key)
        row = row_of(parameters, self.parameters)
        times: list[float] = []
        if clock.is_known(state):
            now = clock.reading(state)
            times = [now] if isinstance(dt, jax.core.Tracer) else [now, now + finite_float("dt", dt)]
        self._enforce(parameters, times)
        clock.warn_if_unresolved(state, dt)
        return _step(self.learned, self._guard, self.options, state, dt, row, key)

    def solve(
        self,
        state: StateT,
        times: ArrayLike | Sequence[Scalar],
        parameters: Parameters,
        *,
        key: Key | None = None,
        dt: float | None = None,
    ) -> StateT:
        """The states at all of `times` (increasing, the first not before `state.time`), with a leading time axis.

        Works inside `jit`, `grad` (with respect to parameters, samples and times) and `vmap`. Between saved times it
        takes equal substeps no longer than `dt`; without a `dt`, its own steps, which are equal in the clock of the
        population where it has one.

        Raises:
            ValueError: no key although epsilon > 0, times that are not increasing or lie before `state.time`, an
                unknown or a missing parameter, or a concrete parameter or time outside its range under "raise".
            TypeError: a key that is none.
        """
        self._require_key(key)
        largest_step = positive_float("dt", self.dt if dt is None else dt)
        row = row_of(parameters, self.parameters)
        saved = trajectory.require_times(state, times, largest_step)
        self._enforce(parameters, saved)
        options = self.options if dt is None else self._at_equal_steps(largest_step).options
        return trajectory.solve(self.learned, self._guard, options, state, saved, row, key, largest_step)

    def log_prob(
        self,
        state: State,
        parameters: Parameters,
        *,
        initial_log_prob: log_density.LogDensity | None = None,
        dt: float | None = None,
        key: Key | None = None,
        trace: log_density.Trace = "auto",
    ) -> Float[Array, " n"]:
        """Log of the population's density at the samples of `state`; see `surrogates.log_density.log_prob`."""
        return log_density.log_prob(
            self, state, parameters, initial_log_prob=initial_log_prob, dt=dt, key=key, trace=trace
        )

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one self-describing file (no pickle), aside first and then renamed; `hoam_plugin.load` reads it."""
        contents = contents_of(self.learned, self.trained, self.options, self._provenance, self._runs)
        return file_format.save(path, contents, overwrite=overwrite)

    def __abilities__(self) -> Abilities:
        """What `simulate` needs beyond the contract."""
        place = self.learned.in_place
        return Abilities(
            rates=self.rates,
            diagnostics=place.diagnostics,
            diagnostic_variables=place.diagnostic_variables,
            coordinates=place.coordinates,
            solve=self.solve,
            check_domain=self._check_domain,
            parameter_row=self._parameter_row,
            advance=self._advance,
            in_parts=InParts(self._parts, self._advance_in_parts),
            tables=self._tables,
            at_equal_steps=self._at_equal_steps,
            steps_between=None if self._is_equal_in_time else self._steps_between,
            state_from_samples=place.state_from_samples if place.whole is None else None,
        )

    def _check_domain(self, parameters: Mapping[str, np.ndarray], times: np.ndarray) -> None:
        """Apply the extrapolation policy to a whole table of parameters and times; `simulate` calls it first."""
        self._enforce(parameters, times)

    def _parameter_row(self, parameters: Parameters) -> ParameterRow:
        """The parameters of one run with all of their digits, which the methods above take as well."""
        return row_of(parameters, self.parameters)

    def _advance(self, state: StateT, dt: Scalar, n_steps: Array, parameters: Parameters, key: Key) -> StateT:
        """Some steps of mean size dt, a traceable number of them, as `simulate` takes them between two saved times."""
        row = row_of(parameters, self.parameters)
        return one_step.advanced(self.learned, self._guard, self.options, state, dt, n_steps, row, key)

    @property
    def _is_equal_in_time(self) -> bool:
        return self.learned.normalisation.clock is None or self.options.equal_in == "time"

    def _at_equal_steps(self, dt: float) -> Surrogate:
        """The same with steps that are equal in time, by default no longer than `dt`."""
        return dataclasses.replace(self, options=dataclasses.replace(self.options, dt=dt, equal_in="time"))

    def _steps_between(self, start: float, end: float) -> int:
        """How many default steps there are between two times."""
        norm = self.learned.normalisation
        first, last = norm.tau_on_host(np.asarray([start, end])).tolist()
        return tolerances.whole_steps(last - first, self.dt / norm.duration, 1.0) if end > start else 0

    def _parts(self, n_samples: int, n_workers: int) -> int:
        return threads.number_of_parts(self.learned, self.trained.policy, n_samples, n_workers)

    def _tables(self, n_samples: int) -> flow_tables.FlowTables | None:
        return flow_tables.flow_tables(self.learned, self.trained, self.options, n_samples)

    def _advance_in_parts(
        self,
        state: StateT,
        dt: Scalar,
        n_steps: int,
        parameters: Parameters,
        key: Key,
        pool: ThreadPoolExecutor,
        n_parts: int,
    ) -> StateT:
        """Some steps of `n_parts` parts of the samples on the threads of `pool`; not for compiled code."""
        row = row_of(parameters, self.parameters)
        if self.trained.policy == "raise":
            self._enforce(parameters, clock.reading(state))
        return threads.advance(self.learned, self.options, state, jnp.asarray(dt), n_steps, row, key, pool, n_parts)

    def _require_key(self, key: object) -> None:
        learned = self.learned
        if key is not None:
            random_key(key)
        elif learned.has_noise:
            what = "that of its stepper" if learned.known_noise else f"epsilon={learned.epsilon:g}"
            raise ValueError(f"key=None: this surrogate has noise ({what}) and needs a key, such as jax.random.key(0)")


# Compiled whole also where the caller does not compile: operation by operation, a step takes seconds the first time.


@jax.jit
def _velocity(
    learned: LearnedDynamics, x: Float[Array, "... D"], elapsed: Array, parameters: ParameterRow
) -> Float[Array, "... D"]:
    y = learned.normalisation.centred(x.astype(elapsed.dtype)).reshape(-1, x.shape[-1])
    return learned.field(elapsed, parameters, y.dtype)(y).reshape(x.shape).astype(x.dtype)


@jax.jit
def _rates(
    learned: LearnedDynamics, y: Float[Array, "n D"], elapsed: Array, parameters: ParameterRow
) -> Float[Array, "n D"]:
    return learned.field(elapsed, parameters, y.dtype)(y)


@jax.jit
def _step(
    learned: LearnedDynamics,
    trained: TrainedRange,
    options: Options,
    state: StateT,
    dt: Scalar,
    parameters: ParameterRow,
    key: Key | None,
) -> StateT:
    return one_step.guarded(learned, trained, options, state, dt, parameters, key)
