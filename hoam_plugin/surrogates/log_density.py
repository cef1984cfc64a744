"""Log densities by the instantaneous change of variables: d log p / dt = -div u along a trajectory of dX = u dt.

Chen, Rubanova, Bettencourt and Duvenaud 2018 (arXiv:1806.07366, theorem 1). The divergence of a gradient field is the
Laplacian of its potential, which comes out of the same pass through the network as the gradient; of other fields it is
the sum of forward derivatives, or Hutchinson's unbiased estimate from random directions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import positive_float
from hoam_plugin.numerics import tolerances
from hoam_plugin.potentials import ScalarPotential
from hoam_plugin.steppers import Parameters, clock
from hoam_plugin.surrogates import trained_range

if TYPE_CHECKING:
    from hoam_plugin.surrogates.surrogate import Surrogate

Trace = Literal["auto", "exact", "hutchinson"]
LogDensity = Callable[[Any], Any]

# As for the Laplacian of the loss: see `benchmarks/results/laplacian.md`.
_MOST_EXACT_DIMS = 16


def log_prob(
    surrogate: Surrogate,
    state: Any,
    parameters: Parameters,
    *,
    initial_log_prob: LogDensity | None = None,
    dt: float | None = None,
    key: Array | None = None,
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
    """
    initial = _initial_log_prob(surrogate, initial_log_prob, parameters)
    start, change = _transported(surrogate, state, surrogate.horizon[0], parameters, dt, key, trace)
    norm = surrogate.normalisation
    return _checked(initial(norm.physical(norm.wrapped(start))), len(start), "initial_log_prob") + change


def push_forward(
    surrogate: Surrogate,
    state: Any,
    time: Any,
    parameters: Parameters,
    log_prob: Float[Array, " n"],
    *,
    dt: float | None = None,
    key: Array | None = None,
    trace: Trace = "auto",
) -> tuple[Any, Float[Array, " n"]]:
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
    """
    moved, change = _transported(surrogate, state, time, parameters, dt, key, trace)
    there = surrogate.with_centred(clock.with_time(state, time), surrogate.normalisation.wrapped(moved))
    return there, _checked(log_prob, len(moved), "log_prob") - change


def _transported(
    surrogate: Surrogate, state: Any, end: Any, parameters: Parameters, dt: float | None, key: Any, trace: Trace
) -> tuple[Float[Array, "n D"], Float[Array, " n"]]:
    """Centred samples at another time, not wrapped, and the integral of the divergence along their way."""
    if surrogate.has_noise:
        what = "the noise of its stepper" if surrogate.known_noise else f"epsilon={surrogate.epsilon:g}"
        raise ValueError(
            f"a log density needs a surrogate without noise, and this one has {what}; train with "
            "loss=ActionMatching(epsilon=0)"
        )
    if trace not in get_args(Trace):
        raise ValueError(f"trace={trace!r} must be one of {', '.join(map(repr, get_args(Trace)))}")
    exact = trace == "exact" or (trace == "auto" and len(surrogate.structure.driven) <= _MOST_EXACT_DIMS)
    if not exact and key is None:
        raise ValueError(
            f"key=None: trace={trace!r} takes random directions for {len(surrogate.structure.driven)} coordinates and "
            "needs a key, such as jax.random.key(0)"
        )
    largest_step = positive_float("dt", surrogate.dt if dt is None else dt)
    known = clock.is_known(state)
    # There is no simulator whose density could be fallen back to.
    policy = "raise" if surrogate.on_extrapolation == "fallback" else surrogate.on_extrapolation
    for time in (clock.reading(state) if known else state.time, end):
        trained_range.enforce(policy, trained_range.violation(parameters, time, surrogate.ranges, surrogate.horizon))
    y, origin = surrogate.centred(state), surrogate.horizon[0]
    begin = clock.elapsed(state, origin).astype(y.dtype)
    length, finish = surrogate.normalisation.duration, clock.since(end, origin, y.dtype)
    if not isinstance(begin, jax.core.Tracer) and not isinstance(finish, jax.core.Tracer):
        length = abs(float(finish) - float(begin))
    n_steps = max(1, tolerances.whole_steps(length, largest_step))
    row = surrogate.parameter_row(parameters)
    return _integrated(surrogate, y, begin, finish, row, key, n_steps, exact)


@functools.partial(jax.jit, static_argnames=("n_steps", "exact"))
def _integrated(
    surrogate: Surrogate, y: Any, start: Any, end: Any, parameters: Any, key: Any, n_steps: int, exact: bool
) -> Any:
    """Fourth-order Runge-Kutta steps of the samples and of the integral of the divergence."""
    dt = (end - start) / n_steps

    @jax.checkpoint
    def advance(carry: Any, index: Any) -> Any:
        y, total = carry
        time = start + dt * index.astype(dt.dtype)
        directions = None if exact else _directions(surrogate, jax.random.fold_in(key, index), y)

        def rates(t: Any, y: Any) -> Any:
            return field_and_divergence(surrogate, t, parameters, y, directions)

        k1, d1 = rates(time, y)
        k2, d2 = rates(time + dt / 2, y + dt / 2 * k1)
        k3, d3 = rates(time + dt / 2, y + dt / 2 * k2)
        k4, d4 = rates(time + dt, y + dt * k3)
        y = y + dt / 6 * (k1 + 2 * (k2 + k3) + k4)
        return (y, total + dt / 6 * (d1 + 2 * (d2 + d3) + d4)), None

    (y, total), _ = jax.lax.scan(advance, (y, jnp.zeros_like(y[:, 0])), jnp.arange(n_steps, dtype=jnp.int32))
    if surrogate.on_extrapolation in ("raise", "fallback"):
        # Traced values cannot raise.
        inside = trained_range.inside(parameters, (start, end), surrogate.ranges, surrogate.horizon)
        total = jnp.where(inside, total, jnp.nan)
    return y, total


def field_and_divergence(
    surrogate: Surrogate,
    elapsed: Any,
    parameters: Parameters,
    y: Float[Array, "n D"],
    directions: Float[Array, "n D"] | None = None,
) -> tuple[Float[Array, "n D"], Float[Array, " n"]]:
    """The drift at samples and its divergence, physical units.

    Args:
        surrogate: whose drift.
        elapsed: time since the start of the horizon.
        parameters: physics parameters.
        y: centred samples.
        directions: random directions with mean 0 and variance 1 in the driven coordinates and 0 in the others, for
            Hutchinson's estimate; None for the exact divergence.
    """
    field = surrogate.field(elapsed, parameters, y.dtype)

    if directions is not None:
        drift, along = jax.jvp(field, (y,), (directions,))
        return drift, jnp.sum(directions * along, axis=1)
    driven = np.asarray(surrogate.structure.driven)
    embedding, network = surrogate.network()
    if not isinstance(network, ScalarPotential):
        return _by_columns(field, y, driven)
    potential: Any = network
    weights = jax.tree.map(lambda w: w.astype(y.dtype), surrogate.weights)
    norm = surrogate.normalisation
    modulation = potential.modulations(weights, norm.condition(elapsed, parameters, y.dtype)[None, :])
    streams = potential.propagate(
        weights, embedding.streams(norm.of_centred(y), laplacian=True), modulation, jnp.zeros_like(modulation)
    )
    learned = surrogate.driven_rate(y.dtype) * streams.gradient.T
    divergence = streams.laplacian / norm.duration
    if not surrogate.structure.knows_dynamics:
        return learned, divergence
    known, known_divergence = _by_columns(
        lambda y: surrogate.dynamics.drift(y, elapsed, parameters), y, driven if surrogate.known_drift else driven[:0]
    )
    return known.at[:, driven].add(learned), divergence + known_divergence


def _by_columns(
    field: Callable[[Any], Any], x: Float[Array, "n D"], columns: np.ndarray
) -> tuple[Float[Array, "n D"], Float[Array, " n"]]:
    """A field and the sum of the derivatives of the given components in their own coordinates."""
    drift, push = jax.linearize(field, x)
    total = jnp.zeros_like(x[:, 0])
    for d in columns.tolist():
        total = total + push(jnp.zeros_like(x).at[:, d].set(1))[:, d]
    return drift, total


def _directions(surrogate: Surrogate, key: Array, x: Float[Array, "n D"]) -> Float[Array, "n D"]:
    """Random signs in the driven coordinates. Known kinematics do not change volumes."""
    driven = np.asarray(surrogate.structure.driven)
    signs = jax.random.rademacher(key, (len(x), len(driven)), x.dtype)
    return jnp.zeros_like(x).at[:, driven].set(signs)


def _initial_log_prob(surrogate: Surrogate, given: LogDensity | None, parameters: Parameters) -> LogDensity:
    if given is not None:
        return given
    density = getattr(surrogate.replaces, "log_density", None)
    if density is None:
        raise ValueError(
            "initial_log_prob=None: the replaced stepper declares no `log_density`, so give the log density at the "
            "start of the horizon as a function of (n, D) samples"
        )
    return lambda x: density(x, parameters)


def _checked(values: Any, n_samples: int, name: str) -> Any:
    if jnp.shape(values) != (n_samples,):
        raise ValueError(f"{name} gave the shape {jnp.shape(values)}; it must be one number per sample, ({n_samples},)")
    return values
