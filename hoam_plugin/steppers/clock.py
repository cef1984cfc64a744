"""The time of a state, to twice the digits of its dtype: what rounding cuts off `time` is kept in `remainder`.

In single precision a clock at 1e6 ticks in units of 0.06, and a step of 0.01 would leave it where it is. A state whose
`remainder` has an entry "time" holds time + remainder["time"] (Dekker 1971, doi:10.1007/BF01397083). Whatever is larger
than rounding can leave is no remainder of this time: somebody has set the time since, and it counts for nothing.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from hoam_plugin._internal import warned
from hoam_plugin._internal.checks import with_details
from hoam_plugin._types import ArrayLike, DTypeLike, Scalar, Timed, TimedT

TIME = "time"


def split(value: ArrayLike, dtype: DTypeLike) -> tuple[np.ndarray, np.ndarray]:
    """Double-precision numbers as two of another dtype that add up to them: the rounded ones and the rest."""
    wide = np.asarray(value, np.float64)
    high = np.asarray(wide.astype(dtype))
    return high, np.asarray((wide - high).astype(dtype))


def two_sum(a: Float[Array, "..."], b: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The rounded sum of two floats and what rounding has cut off (Knuth 1969, section 4.2.2, theorem B)."""
    total = rounded(a + b)
    part = rounded(total - a)
    return total, rounded(a - rounded(total - part)) + rounded(b - part)


def rounded(value: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """The value as it is rounded here: XLA would add up the constants of a chain of sums and differences first."""
    return jax.lax.optimization_barrier(value)


def at(time: float, dtype: DTypeLike) -> dict[str, Array | dict[str, Array]]:
    """The fields `time` and `remainder` of a new state, for a time that is known exactly."""
    high, low = split(time, dtype)
    return {"time": jnp.asarray(high), "remainder": {TIME: jnp.asarray(low)}}


def with_time(state: TimedT, time: Scalar, remainder: Scalar | None = None) -> TimedT:
    """The state at another time.

    Args:
        state: any state.
        time: a Python or NumPy number, of which nothing is lost if the state keeps remainders; or an array of JAX.
        remainder: what rounding has cut off `time`, if that is an array of JAX.
    """
    dtype = _dtype(state)
    if not isinstance(time, jax.Array):
        time, remainder = (jnp.asarray(part) for part in split(time, dtype))
    kept = kept_remainders(state)
    if TIME not in kept:
        return dataclasses.replace(state, time=jnp.asarray(time, dtype))
    low = jnp.zeros_like(kept[TIME]) if remainder is None else jnp.asarray(remainder, kept[TIME].dtype)
    return dataclasses.replace(state, time=jnp.asarray(time, dtype), remainder={**kept, TIME: low})


def advanced(state: TimedT, dt: Scalar) -> TimedT:
    """The state with its time moved on by `dt`; nothing is lost if the state keeps remainders.

    Warns where it does not and, as far as is known while tracing, its time cannot resolve `dt`.

    Args:
        state: any state with a `time`.
        dt: physical time.

    Example:
        >>> from hoam_plugin.steppers import clock
        >>> float(clock.advanced(state, 0.5).time)
        0.5
    """
    dtype = _dtype(state)
    time, step = jnp.asarray(state.time, dtype), jnp.asarray(dt, dtype)
    if TIME not in kept_remainders(state):
        warn_if_unresolved(state, dt)
        return dataclasses.replace(state, time=time + step)
    high, low = two_sum(time, step)
    low = low + remainder_of(state, TIME)
    high, low = two_sum(high, low)
    return with_time(state, high, low)


def with_elapsed(state: TimedT, origin: float, elapsed: Scalar) -> TimedT:
    """The state at a time that is given as the one since `origin`, a double-precision number; see `elapsed`."""
    dtype = _dtype(state)
    high, low = (jnp.asarray(part) for part in split(origin, dtype))
    high, rest = two_sum(high, jnp.asarray(elapsed, dtype))
    return with_time(state, *two_sum(high, rest + low))


def elapsed(state: Timed, origin: float) -> Float[Array, ""]:
    """The time since `origin`, a double-precision number."""
    return since(state.time, origin, _dtype(state), remainder_of(state, TIME))


def since(
    time: ArrayLike, origin: float, dtype: DTypeLike, remainder: Float[Array, "..."] | None = None
) -> Float[Array, "..."]:
    """Times since `origin` in a dtype; the difference is taken in double precision where the times are known."""
    if not isinstance(time, jax.Array):
        return jnp.asarray((np.asarray(time, np.float64) - origin).astype(dtype))
    high, low = split(origin, time.dtype)
    rest = -jnp.asarray(low) if remainder is None else remainder.astype(time.dtype) - low
    return (rounded(time - high) + rest).astype(dtype)


def reading(state: Timed) -> float:
    """The concrete time of a state in double precision; also where other values are traced."""
    time, kept = np.asarray(state.time), kept_remainders(state)
    rest = kept.get(TIME)
    if rest is None or isinstance(rest, jax.core.Tracer) or time.dtype.kind != "f":
        return float(time)
    valid = abs(float(rest)) <= float(np.finfo(time.dtype).eps) * abs(float(time))
    return float(time) + (float(rest) if valid else 0.0)


def is_known(state: Timed) -> bool:
    """Whether the time of a state is concrete."""
    return not isinstance(state.time, jax.core.Tracer)


def remainder_of(state: Timed, name: str) -> Shaped[Array, "..."]:
    """What rounding has cut off one field of a state; zeros where that is not kept, or is not of this value."""
    value, kept = getattr(state, name), kept_remainders(state)
    if name not in kept:
        return jnp.zeros_like(value)
    return valid_remainder(jnp.asarray(value), jnp.asarray(kept[name]))


def valid_remainder(value: Shaped[Array, "..."], remainder: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """The remainder where it can have been cut off this value by rounding, else 0."""
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return jnp.zeros_like(remainder)
    largest = float(jnp.finfo(value.dtype).eps) * jnp.abs(value).astype(remainder.dtype)
    return jnp.where(jnp.abs(remainder) <= largest, remainder, 0)


def warn_if_unresolved(state: Timed, dt: Scalar) -> None:
    """Warn, as far as is known while tracing, where the time of a state without remainders cannot resolve `dt`."""
    if TIME in kept_remainders(state) or isinstance(state.time, jax.core.Tracer) or isinstance(dt, jax.core.Tracer):
        return
    time = np.asarray(state.time)
    if time.dtype.kind != "f" or float(np.spacing(np.abs(time))) <= _UNRESOLVED * abs(float(dt)):
        return
    unresolved = UserWarning(
        f"the state's time {float(time):g} is {time.dtype} and resolves {float(np.spacing(np.abs(time))):.2g}, too "
        f"little for dt={float(dt):g}; count time from the start of the run, or call "
        "jax.config.update('jax_enable_x64', True) at start-up"
    )
    warned.warn(with_details(unresolved, environment={"JAX_ENABLE_X64": "1"}), stacklevel=4)


# The share of a step that rounding the time may cost.
_UNRESOLVED = 1e-2


def _dtype(state: Timed) -> np.dtype:
    dtype = getattr(state.time, "dtype", None)
    if dtype is None or np.dtype(dtype).kind != "f":
        return jax.dtypes.canonicalize_dtype(np.float64)
    return jax.dtypes.canonicalize_dtype(dtype)


def kept_remainders(state: Timed) -> dict[str, Array | np.ndarray]:
    """What rounding has cut off the fields of a state, by name; nothing where the state keeps no remainders."""
    kept = getattr(state, "remainder", None)
    return kept if isinstance(kept, dict) else {}
