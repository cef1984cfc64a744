"""One step of learned dynamics, in parts that rollouts put together in their own ways."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import Key, Parameters, Scalar, StateT
from hoam_plugin.numerics import integrators
from hoam_plugin.numerics.integrators import Integrator, Velocity
from hoam_plugin.numerics.normals import NORMALS, Noise
from hoam_plugin.steppers import ParameterRow, clock
from hoam_plugin.surrogates import kinetic
from hoam_plugin.surrogates.learned import LearnedDynamics, field_of_tau, noise_amplitude
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.schedule import substep
from hoam_plugin.surrogates.trained_range import TrainedRange


def increment(
    learned: LearnedDynamics,
    noise: Noise,
    y: Float[Array, "n D"],
    elapsed: Scalar,
    dt: Scalar,
    parameters: Parameters,
    key: Key | None,
) -> Float[Array, "n D"]:
    """The noise of a step of all samples.

    Args:
        learned: whose noise.
        noise: its kind.
        y: centred samples at the start.
        elapsed: time since the start of the horizon.
        dt: length of the step.
        parameters: of one run.
        key: random key; may be None only where there is no noise.
    """
    if not learned.has_noise:
        return jnp.zeros_like(y)
    assert key is not None  # callers have seen to it
    normals = NORMALS[noise](key, learned.normalisation.of_centred(y))
    return jnp.sqrt(dt) * noise_amplitude(learned, y, elapsed, parameters, dt) * normals


def moved(
    learned: LearnedDynamics,
    integrator: Integrator | None,
    y: Float[Array, "n D"],
    elapsed: Scalar,
    dt: Scalar,
    parameters: Parameters,
    increment: Float[Array, "n D"],
    table: Float[Array, "F Y"] | None = None,
) -> Float[Array, "n D"]:
    """Samples after a step with given noise, not wrapped; each moves by itself.

    Args:
        learned: what moves them.
        integrator: see `Options`.
        y: centred samples at the start.
        elapsed: time since the start of the horizon.
        dt: length of the step.
        parameters: of one run.
        increment: the noise of the step.
        table: one of `kinetic.tables`, or None.
    """
    if learned.structure.kind == "kinetic" and integrator is None:
        return kinetic.drift_kick_drift(learned, y, elapsed, dt, parameters, increment, table)

    norm = learned.normalisation
    if norm.clock is None:

        def field_at(t: Scalar) -> Velocity:
            return learned.field(t, parameters, y.dtype)

    else:
        # A step in the population's clock, in which the learned drift is smooth.
        begin, length = jnp.asarray(elapsed, y.dtype), jnp.asarray(dt, y.dtype)
        elapsed, dt = norm.tau(begin), length / norm.time_unit(begin, length)

        def field_at(t: Scalar) -> Velocity:
            return field_of_tau(learned, t, parameters, y.dtype)

    chosen = integrator or ("heun" if learned.has_noise else "rk4")
    if chosen == "rk4":
        return integrators.runge_kutta_4(field_at, y, elapsed, dt)
    one_step = integrators.euler if chosen == "euler" else integrators.stochastic_heun
    return one_step(field_at, y, elapsed, dt, increment)


def stepped(
    learned: LearnedDynamics,
    options: Options,
    y: Float[Array, "n D"],
    elapsed: Scalar,
    dt: Scalar,
    parameters: Parameters,
    key: Key | None,
) -> Float[Array, "n D"]:
    """Samples after a step with noise of its own, wrapped; arguments as those of `increment`."""
    noise = increment(learned, options.noise, y, elapsed, dt, parameters, key)
    return learned.normalisation.wrapped(moved(learned, options.integrator, y, elapsed, dt, parameters, noise))


def guarded(
    learned: LearnedDynamics,
    trained: TrainedRange,
    options: Options,
    state: StateT,
    dt: Scalar,
    parameters: ParameterRow,
    key: Key | None,
) -> StateT:
    """A step for compiled code: outside the trained ranges NaN, or the replaced stepper's under "fallback"."""

    def own() -> StateT:
        y = learned.centred(state)
        start = clock.elapsed(state, learned.normalisation.horizon[0]).astype(y.dtype)
        size = jnp.asarray(dt, y.dtype)
        after = stepped(learned, options, y, start, size, parameters, key)
        return learned.with_centred(clock.advanced(state, dt), after)

    if trained.policy in ("ignore", "warn"):
        return own()
    start = clock.elapsed(state, trained.horizon[0])
    inside = trained.inside(parameters, start, start + jnp.asarray(dt, start.dtype))
    replaced = learned.replaces
    if trained.policy == "fallback" and replaced is not None:
        theirs = learned.in_place.for_stepper(replaced, parameters)
        return jax.lax.cond(inside, own, lambda: replaced.step(replaced.refresh(state, theirs), dt, theirs, key=key))
    after = own()
    return dataclasses.replace(
        after, **{name: jnp.where(inside, getattr(after, name), jnp.nan) for name in learned.layout.names}
    )


def advanced(
    learned: LearnedDynamics,
    trained: TrainedRange,
    options: Options,
    state: StateT,
    dt: Scalar,
    n_steps: Array,
    parameters: ParameterRow,
    key: Key,
) -> StateT:
    """Some steps of mean size dt, a traceable number of them, as `simulate` takes them between two saved times."""
    norm, evenly = learned.normalisation, options.equal_in
    if trained.policy == "fallback":
        begin = clock.elapsed(state, trained.horizon[0])

        def guarded_step(i: Array, state: StateT) -> StateT:
            _, own = substep(norm, evenly, begin, jnp.asarray(dt, begin.dtype), n_steps, i)
            return guarded(learned, trained, options, state, own, parameters, jax.random.fold_in(key, i))

        return jax.lax.fori_loop(0, n_steps, guarded_step, state)
    y = learned.centred(state)
    start, size = clock.elapsed(state, trained.horizon[0]).astype(y.dtype), jnp.asarray(dt, y.dtype)
    y = advanced_samples(learned, options, y, start, size, n_steps, parameters, key)
    duration = n_steps.astype(y.dtype) * size
    if trained.policy == "raise":
        # Traced values cannot raise.
        y = jnp.where(trained.inside(parameters, start, start + duration), y, jnp.nan)
    return learned.with_centred(clock.advanced(state, duration), y)


def advanced_samples(
    learned: LearnedDynamics,
    options: Options,
    y: Float[Array, "n D"],
    start: Array,
    size: Array,
    n_steps: Array,
    parameters: Parameters,
    key: Key,
) -> Float[Array, "n D"]:
    """Centred samples after some steps of mean size `size`, from the time `start` since the start of the horizon."""
    norm = learned.normalisation

    def step(i: Array, y: Float[Array, "n D"]) -> Float[Array, "n D"]:
        now, own = substep(norm, options.equal_in, start, size, n_steps, i)
        return stepped(learned, options, y, now, own, parameters, jax.random.fold_in(key, i))

    return jax.lax.fori_loop(0, n_steps, step, y)
