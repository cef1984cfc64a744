"""Log densities by the instantaneous change of variables: d log p / dt = -div u along a trajectory of dX = u dt.

Chen, Rubanova, Bettencourt and Duvenaud 2018 (arXiv:1806.07366, theorem 1). The divergence of a gradient field is the
Laplacian of its potential, which comes out of the same pass through the network as the gradient; of other fields it is
the sum of forward derivatives, or Hutchinson's unbiased estimate from random directions.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal, Protocol, TypeAlias, cast, get_args, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import one_of, positive_float
from hoam_plugin._types import Key, Parameters, Scalar, State, StateT
from hoam_plugin.numerics import tolerances
from hoam_plugin.numerics.integrators import Velocity, runge_kutta_4
from hoam_plugin.potentials import Potential, ScalarPotential
from hoam_plugin.steppers import ParameterRow, abilities_of, clock, row_of
from hoam_plugin.surrogates.learned import LearnedDynamics, driven_rate
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.schedule import substep
from hoam_plugin.surrogates.trained_range import Policy, TrainedRange

Trace = Literal["auto", "exact", "hutchinson"]
Samples: TypeAlias = Float[Array, "n D"]
# Samples, and the integral of the divergence along the way of each.
Moved: TypeAlias = tuple[Samples, Float[Array, " n"]]
# Samples -> the log density at each of them.
LogDensity: TypeAlias = Callable[[Samples], Float[Array, " n"]]


@runtime_checkable
class Trained(Protocol):
    """What a log density needs of a surrogate."""

    @property
    def learned(self) -> LearnedDynamics:
        """What moves samples."""
        ...

    @property
    def trained(self) -> TrainedRange:
        """Where it was learned."""
        ...

    @property
    def options(self) -> Options:
        """Of which the step counts."""
        ...


# As for the Laplacian of the loss: see `benchmarks/results/laplacian.md`.
_MOST_EXACT_DIMS = 16


def log_prob(
    surrogate: Trained,
    state: State,
    parameters: Parameters,
    *,
    initial_log_prob: LogDensity | None = None,
    dt: float | None = None,
    key: Key | None = None,
    trace: Trace = "auto",
) -> Float[Array, " n"]:
    """Log of the population's density at the samples of `state`, at its time, in physical units.

    The samples are taken back to the start of the trained horizon, where the density is known. Differentiable with
    respect to samples, time and parameters. On a torus the density is that of the position wrapped into its period.

    Args:
        surrogate: without noise.
        state: where and when the density is wanted.
        parameters: physics parameters.
        initial_log_prob: the log density at the start of the horizon: (n, D) samples, their variables flattened in
            order, to (n,); by default `log_density(x, parameters)` of the replaced stepper, if it has one.
        dt: largest step of the fourth-order Runge-Kutta scheme; the surrogate's own by default.
        key: for the random directions of "hutchinson".
        trace: "exact", "hutchinson" (one random direction per sample and step: unbiased), or "auto": exact up to 16
            coordinates that are driven.

    Raises:
        ValueError: a surrogate with noise, no initial density, one of the wrong shape, no key for random directions,
            or a concrete parameter or time outside its range under "raise" or "fallback".

    Example:
        >>> from hoam_plugin.log_density import log_prob
        >>> log_prob(model, state, {"mu": 1.4}, initial_log_prob=lambda x: -x[:, 1] ** 2).shape
        (64,)
    """
    initial = _initial_log_prob(surrogate.learned, initial_log_prob, parameters)
    start, change = _transported(surrogate, state, surrogate.trained.horizon[0], parameters, dt, key, trace)
    norm = surrogate.learned.normalisation
    return _checked(initial(norm.physical(norm.wrapped(start))), len(start), "initial_log_prob") + change


def push_forward(
    surrogate: Trained,
    state: StateT,
    time: Scalar,
    parameters: Parameters,
    log_prob: Float[Array, " n"],
    *,
    dt: float | None = None,
    key: Key | None = None,
    trace: Trace = "auto",
) -> tuple[StateT, Float[Array, " n"]]:
    """The samples of `state` moved to another time, and their log density there, given the one that they have now.

    Args:
        surrogate: without noise.
        state: samples and their time.
        time: wanted, later or earlier.
        parameters: physics parameters.
        log_prob: log density at the samples of `state`.
        dt: as in `log_prob`.
        key: as in `log_prob`.
        trace: as in `log_prob`.

    Raises:
        ValueError: as `log_prob`.

    Example:
        >>> from hoam_plugin.log_density import push_forward
        >>> later, log_p = push_forward(model, state, 1.0, {"mu": 1.4}, -(state.v**2))
        >>> float(later.time), log_p.shape
        (1.0, (64,))
    """
    moved, change = _transported(surrogate, state, time, parameters, dt, key, trace)
    learned = surrogate.learned
    there = learned.with_centred(clock.with_time(state, time), learned.normalisation.wrapped(moved))
    return there, _checked(log_prob, len(moved), "log_prob") - change


def _transported(
    surrogate: Trained,
    state: State,
    end: Scalar,
    parameters: Parameters,
    dt: float | None,
    key: Key | None,
    trace: Trace,
) -> tuple[Samples, Float[Array, " n"]]:
    """Centred samples at another time, not wrapped, and the integral of the divergence along their way."""
    learned, trained = surrogate.learned, surrogate.trained
    if learned.has_noise:
        what = "the noise of its stepper" if learned.known_noise else f"epsilon={learned.epsilon:g}"
        raise ValueError(
            f"a log density needs a surrogate without noise, and this one has {what}; train with "
            "loss=ActionMatching(epsilon=0)"
        )
    exact = _is_exact(trace, len(learned.structure.driven), key)
    largest_step = positive_float("dt", surrogate.options.dt if dt is None else dt)
    equal_in = surrogate.options.equal_in if dt is None else "time"
    # There is no simulator whose density could be fallen back to.
    policy: Policy = "raise" if trained.policy == "fallback" else trained.policy
    guard = dataclasses.replace(trained, policy=policy)
    for time in (clock.reading(state) if clock.is_known(state) else state.time, end):
        guard.enforce(parameters, time)
    y, origin = learned.centred(state), trained.horizon[0]
    begin = clock.elapsed(state, origin).astype(y.dtype)
    norm, finish = learned.normalisation, clock.since(end, origin, y.dtype)
    length = norm.duration
    if not isinstance(begin, jax.core.Tracer) and not isinstance(finish, jax.core.Tracer):
        length = abs(float(finish) - float(begin))
        if norm.clock is not None and equal_in == "clock":
            length = norm.duration * abs(float(norm.tau(finish)) - float(norm.tau(begin)))
    n_steps = max(1, tolerances.whole_steps(length, largest_step))
    row = row_of(parameters, norm.parameters)
    return _integrated(learned, guard, y, begin, finish, row, key, n_steps, exact, equal_in)


def _is_exact(trace: Trace, n_driven: int, key: Key | None) -> bool:
    """Whether the divergence is taken exactly.

    Raises:
        ValueError: an unknown kind, or no key for random directions.
    """
    one_of("trace", trace, get_args(Trace))
    exact = trace == "exact" or (trace == "auto" and n_driven <= _MOST_EXACT_DIMS)
    if not exact and key is None:
        raise ValueError(
            f"key=None: trace={trace!r} takes random directions for {n_driven} coordinates and "
            "needs a key, such as jax.random.key(0)"
        )
    return exact


@functools.partial(jax.jit, static_argnames=("n_steps", "exact", "equal_in"))
def _integrated(
    learned: LearnedDynamics,
    trained: TrainedRange,
    y: Samples,
    start: Array,
    end: Array,
    parameters: ParameterRow,
    key: Key | None,
    n_steps: int,
    exact: bool,
    equal_in: Literal["clock", "time"],
) -> Moved:
    """Fourth-order Runge-Kutta steps of the samples and of the integral of the divergence."""
    dt, norm = (end - start) / n_steps, learned.normalisation

    @jax.checkpoint
    def advance(carry: Moved, index: Array) -> tuple[Moved, None]:
        time, size = substep(norm, equal_in, start, dt, n_steps, index)
        directions = None
        if not exact:
            assert key is not None  # `_is_exact` has seen to it
            directions = _directions(learned, jax.random.fold_in(key, index), carry[0])

        def rates_at(t: Scalar) -> Callable[[Moved], Moved]:
            return lambda moved: field_and_divergence(learned, t, parameters, moved[0], directions)

        def rates_at_tau(tau: Scalar) -> Callable[[Moved], Moved]:
            elapsed = norm.elapsed(jnp.asarray(tau, size.dtype))
            return lambda moved: jax.tree.map(norm.time_unit(elapsed).__mul__, rates_at(elapsed)(moved))

        if norm.clock is None:
            return runge_kutta_4(rates_at, carry, time, size), None
        return runge_kutta_4(rates_at_tau, carry, norm.tau(time), size / norm.time_unit(time, size)), None

    (y, total), _ = jax.lax.scan(advance, (y, jnp.zeros_like(y[:, 0])), jnp.arange(n_steps, dtype=jnp.int32))
    if trained.policy == "raise":
        # Traced values cannot raise.
        total = jnp.where(trained.inside(parameters, start, end), total, jnp.nan)
    return y, total


def field_and_divergence(
    learned: LearnedDynamics,
    elapsed: Scalar,
    parameters: Parameters,
    y: Samples,
    directions: Samples | None = None,
) -> Moved:
    """The drift at samples and its divergence, physical units.

    Args:
        learned: whose drift.
        elapsed: time since the start of the horizon.
        parameters: physics parameters.
        y: centred samples.
        directions: random directions with mean 0 and variance 1 in the driven coordinates and 0 in the others, for
            Hutchinson's estimate; None for the exact divergence.
    """
    field = learned.field(elapsed, parameters, y.dtype)

    if directions is not None:
        drift, along = jax.jvp(field, (y,), (directions,))
        return drift, jnp.sum(directions * along, axis=1)
    driven = np.asarray(learned.structure.driven)
    embedding, network = learned.network()
    if not isinstance(network, ScalarPotential):
        return _by_columns(field, y, driven)
    potential = cast(Potential, network)
    weights = jax.tree.map(lambda w: w.astype(y.dtype), learned.weights)
    norm = learned.normalisation
    modulation = potential.modulations(weights, norm.condition(elapsed, parameters, y.dtype)[None, :])
    streams = potential.propagate(
        weights, embedding.streams(norm.of_centred(y), laplacian=True), modulation, jnp.zeros_like(modulation)
    )
    unit = norm.time_unit(jnp.asarray(elapsed, y.dtype))
    drift = driven_rate(learned, y.dtype, unit) * streams.gradient.T
    assert streams.laplacian is not None  # it was asked for
    divergence = streams.laplacian / unit
    if not learned.dynamics.has_drift:
        return drift, divergence
    # Kinematics keep volumes.
    spreads = learned.known_drift or learned.base is not None
    known, known_divergence = _by_columns(
        lambda y: learned.dynamics.drift(y, elapsed, parameters), y, driven if spreads else driven[:0]
    )
    return known.at[:, driven].add(drift), divergence + known_divergence


def _by_columns(field: Velocity, x: Samples, columns: np.ndarray) -> Moved:
    """A field and the sum of the derivatives of the given components in their own coordinates."""
    drift, push = jax.linearize(field, x)
    total = jnp.zeros_like(x[:, 0])
    for d in columns.tolist():
        total = total + push(jnp.zeros_like(x).at[:, d].set(1))[:, d]
    return drift, total


def _directions(learned: LearnedDynamics, key: Key, x: Samples) -> Samples:
    """Random signs in the driven coordinates. Known kinematics do not change volumes."""
    driven = np.asarray(learned.structure.driven)
    signs = jax.random.rademacher(key, (len(x), len(driven)), x.dtype)
    return jnp.zeros_like(x).at[:, driven].set(signs)


def _initial_log_prob(learned: LearnedDynamics, given: LogDensity | None, parameters: Parameters) -> LogDensity:
    if given is not None:
        return given
    density = abilities_of(learned.replaces).log_density
    if density is None:
        raise ValueError(
            "initial_log_prob=None: the replaced stepper declares no `log_density`, so give the log density at the "
            "start of the horizon as a function of (n, D) samples"
        )
    return lambda x: density(x, parameters)


def _checked(values: Array, n_samples: int, name: str) -> Array:
    if jnp.shape(values) != (n_samples,):
        raise ValueError(f"{name} gave the shape {jnp.shape(values)}; it must be one number per sample, ({n_samples},)")
    return values
