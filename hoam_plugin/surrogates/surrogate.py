"""`Surrogate`: learned population dynamics as a Stepper that takes its simulator's place."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import finite_float, positive_float, random_key, suggestion
from hoam_plugin.dynamics import (
    Dynamics,
    Normalisation,
    Structure,
    centred,
    compute_dtype,
    remainders_for,
    with_centred,
)
from hoam_plugin.numerics import rollout
from hoam_plugin.potentials import Potential, VectorField, Weights, bound, embedding_of
from hoam_plugin.steppers import (
    ParameterRow,
    Parameters,
    Variable,
    as_jax,
    clock,
    default_float,
    replace_samples,
    require_representable,
    require_stepper,
    row_of,
    state_type,
)
from hoam_plugin.surrogates import description, kinetic, log_density, stepping, threads, trained_range
from hoam_plugin.surrogates.stepping import require_times


@dataclasses.dataclass(frozen=True, eq=False)
class Provenance:
    """Where a surrogate comes from. All are equal, so that surrogates that differ only in it share compiled code.

    Attributes:
        stepper_attribute: how to rebuild the replaced stepper, as in an ensemble's attributes, or "".
        configuration: how it was trained, as JSON.
        history: the training history over `iteration`, or None.
    """

    stepper_attribute: str = ""
    configuration: str = "{}"
    history: xr.Dataset | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Provenance)

    def __hash__(self) -> int:
        return 0


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["weights", "normalisation", "replaces"],
    meta_fields=[
        "potential",
        "variables",
        "shapes",
        "structure",
        "parameter_ranges",
        "epsilon",
        "known_noise",
        "known_drift",
        "dt",
        "on_extrapolation",
        "noise",
        "integrator",
        "provenance",
    ],
)
@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Surrogate:
    """A learned drift that moves samples so that the population follows the physics.

    dX = grad_x s(X, t, mu) dt + epsilon dW in normalised units (arXiv:2410.12000, equation 5), or, around known
    dynamics, dX = (b0 + u) dt + sigma dW where u drives some coordinates only; see `hoam_plugin.dynamics.structure`.
    Trained on marginals, it reproduces the time marginals and all averages over them, not the two-time statistics of
    single trajectories.

    Attributes:
        weights: of the potential.
        normalisation: of samples, time and parameters.
        replaces: the stepper whose place this one takes: its State type, `init` and `diagnostics`; or None.
        potential: the network.
        variables: the components of a sample.
        shapes: shape of each variable of one sample.
        structure: what is known and what is learned.
        parameter_ranges: (name, lowest, highest) of each trained physics parameter.
        epsilon: entropic noise in normalised units; 0 for none.
        known_noise: whether the replaced stepper's `noise` acts as well.
        known_drift: whether its `known_drift` of the driven variables does.
        dt: default (largest) time step, physical units.
        on_extrapolation: "raise", "warn", "ignore" or "fallback" (to the replaced stepper) outside the trained ranges.
            Traced values cannot raise: there "raise" gives NaN.
        noise: "stratified" (evenly spread over neighbours in phase space, so that averages stay quiet; see
            `hoam_plugin.numerics.rollout.stratified_normals`) or "independent" for all samples.
        integrator: None takes, for the structure "kinetic", a drift-kick-drift splitting (order 2, one evaluation, see
            `hoam_plugin.surrogates.kinetic`), else "rk4" without and "heun" with noise, see
            `benchmarks/results/rollout.md`. "heun" is the stochastic one (with noise: weak order 2, two evaluations per
            step), "rk4" has order 4 and four evaluations (without noise only), "euler" is Euler-Maruyama with one.
        provenance: the replaced stepper's description, the training configuration and history.
    """

    weights: Weights
    normalisation: Normalisation
    replaces: Any
    potential: Potential | VectorField
    variables: tuple[Variable, ...]
    shapes: tuple[tuple[int, ...], ...]
    structure: Structure
    parameter_ranges: tuple[tuple[str, float, float], ...]
    epsilon: float
    known_noise: bool
    known_drift: bool
    dt: float
    on_extrapolation: trained_range.Policy = "raise"
    noise: rollout.Noise = "stratified"
    integrator: rollout.Integrator | None = None
    provenance: Provenance = Provenance()

    def __repr__(self) -> str:
        """What it is, in ten lines; the weights are left out."""
        return description.of_surrogate(self)

    @property
    def history(self) -> xr.Dataset | None:
        """The training history over `iteration`: loss, quadratic part, seconds."""
        return self.provenance.history

    @property
    def configuration(self) -> str:
        """How it was trained, as JSON."""
        return self.provenance.configuration

    @property
    def has_noise(self) -> bool:
        """Whether a step draws random numbers."""
        return self.epsilon > 0 or self.known_noise

    @property
    def dynamics(self) -> Dynamics:
        """What is known of the dynamics."""
        return Dynamics(self.normalisation, self.replaces, self.structure, self.variables, self.shapes)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the physics parameters."""
        return self.normalisation.parameters

    @property
    def horizon(self) -> tuple[float, float]:
        """The trained time range, physical units."""
        return self.normalisation.horizon

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """The trained range of each physics parameter."""
        return {name: (low, high) for name, low, high in self.parameter_ranges}

    def with_options(
        self,
        *,
        on_extrapolation: trained_range.Policy | None = None,
        dt: float | None = None,
        noise: rollout.Noise | None = None,
        integrator: rollout.Integrator | None = None,
    ) -> Surrogate:
        """The same surrogate with another extrapolation policy, default step, kind of noise or integrator.

        Raises:
            ValueError: an unknown policy, kind of noise or integrator, "fallback" without a full stepper to fall back
                to, "rk4" with noise, or a dt that is not positive.
        """
        policy = self.on_extrapolation if on_extrapolation is None else on_extrapolation
        trained_range.require_policy(policy)
        if policy == "fallback" and not self._replaces_all:
            raise ValueError(
                "on_extrapolation='fallback' needs the simulator that this surrogate replaces, with the same "
                "variables; pass replaces= to fit or load"
            )
        noise = self.noise if noise is None else noise
        if noise not in rollout.NORMALS:
            raise ValueError(f"noise={noise!r} must be one of {', '.join(map(repr, rollout.NORMALS))}")
        integrator = self.integrator if integrator is None else integrator
        if integrator is not None and (
            integrator not in rollout.INTEGRATORS or (integrator == "rk4" and self.has_noise)
        ):
            allowed = [name for name in rollout.INTEGRATORS if name != "rk4" or not self.has_noise]
            noise_text = "the stepper's noise" if self.known_noise else f"epsilon={self.epsilon:g}"
            raise ValueError(
                f"integrator={integrator!r} must be one of {', '.join(map(repr, allowed))} for {noise_text}"
            )
        step = self.dt if dt is None else positive_float("dt", dt)
        return dataclasses.replace(self, on_extrapolation=policy, dt=step, noise=noise, integrator=integrator)

    # The replaced stepper's side.

    @property
    def _names(self) -> tuple[str, ...]:
        return tuple(v.name for v in self.variables)

    @property
    def _replaces_all(self) -> bool:
        """Whether this surrogate moves all variables of the stepper that it replaces (and so uses its State)."""
        return self.replaces is not None and {v.name for v in self.replaces.variables} == set(self._names)

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw the initial population of the replaced stepper.

        Raises:
            ValueError: no stepper is replaced.
        """
        if self.replaces is None:
            raise ValueError(
                "this surrogate was trained on an ensemble that names no known stepper, so it cannot draw samples; "
                "pass replaces= to fit or load, or initial= to simulate"
            )
        state = self.replaces.init(key, n_samples, self.for_stepper(self.replaces, parameters))
        if self._replaces_all:
            return state
        samples = {name: getattr(state, name) for name in self._names}
        return clock.with_time(
            self.state_from_samples(samples, state.time), state.time, clock.remainder_of(state, clock.TIME)
        )

    def state_from_samples(self, samples: dict[str, Any], time: Any) -> Any:
        """A plain State (empty aux) of given samples, where no stepper of the same variables is replaced."""
        for name in self._names:
            if name not in samples:
                raise ValueError(f"samples has {list(samples)!r} and lacks {name!r}; give {list(self._names)!r}")
            require_representable(f"variable {name!r} of samples", samples[name])
        fields = {name: as_jax(samples[name]) for name in self._names}
        dtype = time.dtype if isinstance(time, jax.Array) else default_float()
        now = {"time": time} if isinstance(time, jax.core.Tracer) else clock.at(float(time), dtype)
        kept = {**now.pop("remainder", {clock.TIME: jnp.zeros((), dtype)}), **remainders_for(fields, self.variables)}
        return state_type(self._names)(**now, **fields, remainder=kept)

    @property
    def has_own_state(self) -> bool:
        """Whether states are plain ones, made by `state_from_samples`."""
        return not self._replaces_all

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Rebuild what the replaced stepper keeps in `aux`, so that the state can go back to it."""
        return (
            self.replaces.refresh(state, self.for_stepper(self.replaces, parameters)) if self._replaces_all else state
        )

    @property
    def diagnostics(self) -> Callable[[Any, Parameters], dict[str, Any]]:
        """The replaced stepper's diagnostics of the learned population, if it has any."""
        if not (self._replaces_all and hasattr(self.replaces, "diagnostics")):
            raise AttributeError("the replaced stepper has no diagnostics")
        return lambda state, parameters: self.replaces.diagnostics(
            self.refresh(state, parameters), self.for_stepper(self.replaces, parameters)
        )

    @property
    def diagnostic_variables(self) -> tuple[Variable, ...]:
        """What `diagnostics` returns."""
        return getattr(self.replaces, "diagnostic_variables", ()) if self._replaces_all else ()

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Values along the extra dimensions of variables and diagnostics."""
        return getattr(self.replaces, "coordinates", {}) if self._replaces_all else {}

    def for_stepper(self, stepper: Any, parameters: Parameters) -> dict[str, Any]:
        """What another stepper takes of the parameters; a surrogate may have been trained over others as well.

        Raises:
            ValueError: a name that neither of them knows.
        """
        theirs = tuple(stepper.parameters)
        known = {*theirs, *self.parameters}
        unknown = [name for name in parameters if name not in known]
        if unknown:
            raise ValueError(f"parameters has the unknown name {unknown[0]!r}; {suggestion(unknown[0], known)}")
        return {name: parameters[name] for name in theirs if name in parameters}

    # The learned side.

    def parameter_row(self, parameters: Parameters) -> ParameterRow:
        """The parameters of one run with all of their digits, which the methods below take as well.

        Raises:
            ValueError: unknown or missing names, or a value that is no scalar.
        """
        return row_of(parameters, self.parameters)

    def in_range(self, parameters: Parameters, time: Any) -> Any:
        """Whether parameters and time (physical units) lie in the trained ranges; traceable."""
        elapsed = clock.since(time, self.horizon[0], default_float())
        return trained_range.inside(self.parameter_row(parameters), (elapsed,), self.ranges, self.horizon)

    def velocity(self, x: Float[Array, "... D"], time: Any, parameters: Parameters) -> Float[Array, "... D"]:
        """Learned drift dx/dt (without the noise) of samples x, the variables flattened in order; physical units.

        Raises:
            ValueError: an unknown or a missing parameter, or samples of another width.
        """
        x = jnp.asarray(x)
        if x.shape[-1:] != (len(self.normalisation.periods),):
            raise ValueError(
                f"x has the shape {x.shape}; it must be (..., {len(self.normalisation.periods)}), the variables "
                f"{list(self._names)!r} flattened in order"
            )
        elapsed = clock.since(time, self.horizon[0], compute_dtype(x.dtype))
        return _velocity(self, x, elapsed, self.parameter_row(parameters))

    def rates(self, state: Any, parameters: Parameters) -> dict[str, Array]:
        """Learned drift of every variable."""
        y = self.centred(state)
        drift = _rates(self, y, clock.elapsed(state, self.horizon[0]).astype(y.dtype), self.parameter_row(parameters))
        moved = replace_samples(state, self.variables, drift, state.time)
        return {name: getattr(moved, name) for name in self._names}

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Array | None = None) -> Any:
        """Advance by `dt`; returns the State type that it was given, with `aux` passed through.

        Raises:
            ValueError: no key although epsilon > 0, an unknown or a missing parameter, or a concrete parameter or time
                outside its range under "raise".
            TypeError: a key that is none.
        """
        self._require_key(key)
        row = self.parameter_row(parameters)
        times: Any = ()
        if clock.is_known(state):
            now = clock.reading(state)
            times = [now] if isinstance(dt, jax.core.Tracer) else [now, now + finite_float("dt", dt)]
        trained_range.enforce(self.on_extrapolation, self._violation(parameters, np.asarray(times)))
        clock.warn_if_unresolved(state, dt)
        return _step(self, state, dt, row, key)

    def advance(self, state: Any, dt: Any, n_steps: Any, parameters: Parameters, key: Array) -> Any:
        """Some equal steps, a traceable number of them, as `simulate` takes them between two saved times."""
        row = self.parameter_row(parameters)
        if self.on_extrapolation == "fallback":

            def guarded(i: Any, state: Any) -> Any:
                return self.guarded_step(state, dt, row, jax.random.fold_in(key, i))

            return jax.lax.fori_loop(0, n_steps, guarded, state)
        y = self.centred(state)
        start, size = clock.elapsed(state, self.horizon[0]).astype(y.dtype), jnp.asarray(dt, y.dtype)

        def step(i: Any, y: Any) -> Any:
            return self._moved_by_step(y, start + i.astype(y.dtype) * size, size, row, jax.random.fold_in(key, i))

        y = jax.lax.fori_loop(0, n_steps, step, y)
        duration = n_steps.astype(y.dtype) * size
        if self.on_extrapolation == "raise":
            # Traced values cannot raise.
            y = jnp.where(self._inside(row, start, start + duration), y, jnp.nan)
        return self.with_centred(clock.advanced(state, duration), y)

    def solve(
        self, state: Any, times: Any, parameters: Parameters, *, key: Array | None = None, dt: float | None = None
    ) -> Any:
        """The states at all of `times` (increasing, the first not before `state.time`), with a leading time axis.

        Works inside `jit`, `grad` (with respect to parameters, samples and times) and `vmap`. Between saved times it
        takes equal substeps no longer than `dt`.

        Raises:
            ValueError: no key although epsilon > 0, times that are not increasing or lie before `state.time`, an
                unknown or a missing parameter, or a concrete parameter or time outside its range under "raise".
            TypeError: a key that is none.
        """
        self._require_key(key)
        largest_step = positive_float("dt", self.dt if dt is None else dt)
        row = self.parameter_row(parameters)
        saved = require_times(state, times, largest_step)
        trained_range.enforce(self.on_extrapolation, self._violation(parameters, saved))
        return stepping.solve(self, state, saved, row, key, largest_step)

    def log_prob(
        self,
        state: Any,
        parameters: Parameters,
        *,
        initial_log_prob: Callable[[Any], Any] | None = None,
        dt: float | None = None,
        key: Array | None = None,
        trace: log_density.Trace = "auto",
    ) -> Float[Array, " n"]:
        """Log of the population's density at the samples of `state`; see `surrogates.log_density.log_prob`."""
        return log_density.log_prob(
            self, state, parameters, initial_log_prob=initial_log_prob, dt=dt, key=key, trace=trace
        )

    def parts(self, n_samples: int, n_workers: int) -> int:
        """Into how many parts `simulate` divides the samples of a step when `n_workers` cores are free."""
        return threads.number_of_parts(self, n_samples, n_workers)

    def advance_in_parts(
        self, state: Any, dt: Any, n_steps: int, parameters: Parameters, key: Array, pool: Any, n_parts: int
    ) -> Any:
        """Some steps of `n_parts` parts of the samples on the threads of `pool`; not for compiled code.

        Raises:
            ValueError: a parameter or the state's time outside its range under "raise".
        """
        row = self.parameter_row(parameters)
        if self.on_extrapolation == "raise":
            trained_range.enforce("raise", self._violation(parameters, clock.reading(state)))
        return threads.advance(self, state, dt, n_steps, row, key, pool, n_parts)

    def check_domain(self, parameters: dict[str, np.ndarray], times: np.ndarray) -> None:
        """Apply the extrapolation policy to a whole table of parameters and times; `simulate` calls it first."""
        trained_range.enforce(self.on_extrapolation, self._violation(parameters, times))

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Write one self-describing file (no pickle), aside first and then renamed; `hoam_plugin.load` reads it."""
        from hoam_plugin.surrogates.file_format import save

        return save(self, path, overwrite=overwrite)

    # What follows takes centred samples y (see `Normalisation.centred`) and the time since the start of the horizon.

    def centred(self, state: Any) -> Float[Array, "n D"]:
        """The samples of a state, centred."""
        return centred(state, self.variables, self.normalisation)

    def with_centred(self, state: Any, y: Float[Array, "n D"]) -> Any:
        """The state with other samples; periodic ones have to lie in their period."""
        return with_centred(state, self.variables, self.normalisation, y)

    def field(self, elapsed: Any, parameters: Parameters, dtype: Any) -> Callable[[Any], Any]:
        """The drift at one time as a function of (sample, D) arrays; everything but the samples is formed once."""
        learned = self.learned_drift(elapsed, parameters, dtype)
        if self.structure.kind == "gradient":
            return learned
        driven, dynamics = np.asarray(self.structure.driven), self.dynamics
        return lambda y: dynamics.drift(y, elapsed, parameters).at[:, driven].add(learned(y))

    def learned_drift(self, elapsed: Any, parameters: Parameters, dtype: Any) -> Callable[[Any], Any]:
        """The learned part at one time, of the driven columns, as a function of (sample, D) arrays; physical units."""
        norm = self.normalisation
        # float64 samples are moved in float64: the weights are widened, the samples never narrowed.
        weights = jax.tree.map(lambda w: w.astype(dtype), self.weights)
        embedding, network = self.network()
        condition = norm.condition(elapsed, parameters, dtype)
        modulation = network.modulations(weights, condition[None, :])[0]
        rate = self.driven_rate(dtype)
        return lambda y: rate * network.drift_at_one_time(weights, embedding, norm.of_centred(y), modulation)

    def learned_drift_at_times(
        self, y: Float[Array, "n D"], elapsed: Float[Array, " T"], parameters: Parameters
    ) -> Float[Array, "N Y"]:
        """The learned part of the drift of the same samples at several times, time after time; physical units."""
        norm, dtype = self.normalisation, y.dtype
        weights = jax.tree.map(lambda w: w.astype(dtype), self.weights)
        embedding, network = self.network()
        conditions = jax.vmap(lambda t: norm.condition(t, parameters, dtype))(elapsed)
        modulations = network.modulations(weights, conditions)
        return self.driven_rate(dtype) * network.drift(
            weights, embedding, jnp.tile(norm.of_centred(y), (len(elapsed), 1)), modulations
        )

    def network(self) -> tuple[Any, Any]:
        """How samples enter, and the potential or field in the form that the structure gives it."""
        embedding = embedding_of(self.potential, self.normalisation, self.structure)
        return embedding, bound(self.potential, self.structure, embedding)

    def driven_rate(self, dtype: Any) -> Float[Array, "1 Y"]:
        """From normalised to physical drifts of the driven columns."""
        driven = np.asarray(self.structure.driven)
        return (self.normalisation.scale.astype(dtype)[driven] / self.normalisation.duration)[None, :]

    def guarded_step(self, state: Any, dt: Any, parameters: ParameterRow, key: Array | None) -> Any:
        """A step for compiled code: outside the trained ranges NaN, or the replaced stepper's under "fallback"."""
        if self.on_extrapolation in ("ignore", "warn"):
            return self._learned_step(state, dt, parameters, key)
        start = clock.elapsed(state, self.horizon[0])
        inside = self._inside(parameters, start, start + jnp.asarray(dt, start.dtype))
        if self.on_extrapolation == "fallback":
            own = self.for_stepper(self.replaces, parameters)
            return jax.lax.cond(
                inside,
                lambda: self._learned_step(state, dt, parameters, key),
                lambda: self.replaces.step(self.replaces.refresh(state, own), dt, own, key=key),
            )
        moved = self._learned_step(state, dt, parameters, key)
        fields = {n: jnp.where(inside, getattr(moved, n), jnp.nan) for n in self._names}
        return dataclasses.replace(moved, **fields)

    def _learned_step(self, state: Any, dt: Any, parameters: ParameterRow, key: Array | None) -> Any:
        y = self.centred(state)
        start, size = clock.elapsed(state, self.horizon[0]).astype(y.dtype), jnp.asarray(dt, y.dtype)
        return self.with_centred(clock.advanced(state, dt), self._moved_by_step(y, start, size, parameters, key))

    def _moved_by_step(
        self, y: Float[Array, "n D"], elapsed: Any, dt: Any, parameters: Parameters, key: Array | None
    ) -> Float[Array, "n D"]:
        moved = self.moved(y, elapsed, dt, parameters, self.increment(y, elapsed, dt, parameters, key))
        return self.normalisation.wrapped(moved)

    # The parts of a step; `hoam_plugin.surrogates.threads` and `solving` put them together in other ways.

    def increment(
        self, y: Float[Array, "n D"], elapsed: Any, dt: Any, parameters: Parameters, key: Array | None
    ) -> Float[Array, "n D"]:
        """The noise of a step of all samples."""
        if not self.has_noise:
            return jnp.zeros_like(y)
        assert key is not None  # `_require_key` has seen to it
        normals = rollout.NORMALS[self.noise](key, self.normalisation.of_centred(y))
        return jnp.sqrt(dt) * self.noise_amplitude(y, elapsed, parameters) * normals

    def noise_amplitude(self, y: Float[Array, "n D"], elapsed: Any, parameters: Parameters) -> Float[Array, "_ D"]:
        """Sigma in dX = drift dt + sigma dW, physical units; one row where it is the same for all samples."""
        if self.known_noise:
            return self.dynamics.noise(y, elapsed, parameters)
        return (self.normalisation.scale.astype(y.dtype) * (self.epsilon / self.normalisation.duration**0.5))[None, :]

    def moved(
        self,
        y: Float[Array, "n D"],
        elapsed: Any,
        dt: Any,
        parameters: Parameters,
        increment: Float[Array, "n D"],
        table: Any = None,
    ) -> Float[Array, "n D"]:
        """Samples after a step with given noise; each moves by itself. `table`: see `kinetic.tables`."""
        if self.structure.kind == "kinetic" and self.integrator is None:
            return kinetic.drift_kick_drift(self, y, elapsed, dt, parameters, increment, table)

        def field_at(t: Any) -> Callable[[Any], Any]:
            return self.field(t, parameters, y.dtype)

        integrator = self.integrator or ("heun" if self.has_noise else "rk4")
        if integrator == "rk4":
            return rollout.runge_kutta_4(field_at, y, elapsed, dt)
        one_step = rollout.euler if integrator == "euler" else rollout.stochastic_heun
        return one_step(field_at, y, elapsed, dt, increment)

    def _inside(self, parameters: ParameterRow, *elapsed: Any) -> Any:
        return trained_range.inside(parameters, elapsed, self.ranges, self.horizon)

    def _violation(self, parameters: Any, times: Any) -> str | None:
        return trained_range.violation(parameters, times, self.ranges, self.horizon)

    def _require_key(self, key: Any) -> None:
        if key is not None:
            random_key(key)
        elif self.has_noise:
            what = "that of its stepper" if self.known_noise else f"epsilon={self.epsilon:g}"
            raise ValueError(f"key=None: this surrogate has noise ({what}) and needs a key, such as jax.random.key(0)")


# Compiled whole also where the caller does not compile: operation by operation, a step takes seconds the first time.


@jax.jit
def _velocity(surrogate: Surrogate, x: Any, elapsed: Any, parameters: Any) -> Any:
    y = surrogate.normalisation.centred(x.astype(elapsed.dtype)).reshape(-1, x.shape[-1])
    return surrogate.field(elapsed, parameters, y.dtype)(y).reshape(x.shape).astype(x.dtype)


@jax.jit
def _rates(surrogate: Surrogate, y: Any, elapsed: Any, parameters: Any) -> Any:
    return surrogate.field(elapsed, parameters, y.dtype)(y)


@jax.jit
def _step(surrogate: Surrogate, state: Any, dt: Any, parameters: Any, key: Any) -> Any:
    return surrogate.guarded_step(state, dt, parameters, key)


def require_known_physics(surrogate: Surrogate) -> Surrogate:
    """The surrogate, after checking that its stepper declares the drift and the noise that it was trained around.

    Raises:
        ValueError: it declares others.
    """
    dynamics = surrogate.dynamics
    wrong = "noise" if surrogate.known_noise and not dynamics.has_noise else ""
    if surrogate.known_drift != dynamics.has_driven_drift:
        wrong = "known_drift"
    if wrong:
        have = f"{type(surrogate.replaces).__name__} {'has' if hasattr(surrogate.replaces, wrong) else 'lacks'}"
        raise ValueError(
            f"replaces: the `{wrong}` of the stepper is part of what was learned around, and {have} it; pass the "
            "stepper of the training"
        )
    return surrogate


def required_stepper(replaces: Any, variables: tuple[Variable, ...]) -> Any:
    """`replaces`, after checking that it has the variables of the surrogate.

    Raises:
        ValueError: it lacks one.
    """
    if replaces is not None:
        require_stepper("replaces", replaces)
        have = [v.name for v in replaces.variables]
        missing = [v.name for v in variables if v.name not in have]
        if missing:
            raise ValueError(
                f"replaces={type(replaces).__name__} has the variables {have!r} and lacks {missing!r}, which the "
                "surrogate moves"
            )
    return replaces
