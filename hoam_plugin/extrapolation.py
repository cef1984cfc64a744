"""What a surrogate does outside the parameter and time range that it was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

Policy = Literal["raise", "warn", "ignore", "fallback"]

# Single-precision parameters and accumulated times may overshoot their range by round-off.
_TOLERANCE = 1e-5


def require_policy(policy: Any) -> None:
    """Raise ValueError for anything but a known policy."""
    if policy not in get_args(Policy):
        raise ValueError(f"on_extrapolation={policy!r} must be one of {', '.join(map(repr, get_args(Policy)))}")


def violation(
    parameters: Mapping[str, Any],
    times: Any,
    ranges: Mapping[str, tuple[float, float]],
    horizon: tuple[float, float],
) -> str | None:
    """One sentence that names the first concrete parameter or time outside its range, or None."""
    for name, (low, high) in ranges.items():
        if name not in parameters or isinstance(parameters[name], jax.core.Tracer):
            continue
        values = np.atleast_1d(np.asarray(parameters[name], np.float64))
        outside = values[~_inside(values, low, high)]
        if outside.size:
            return f"parameter {name}={outside[0]:g} is outside the trained range [{low:g}, {high:g}]"
    if not isinstance(times, jax.core.Tracer):
        values = np.atleast_1d(np.asarray(times, np.float64))
        outside = values[~_inside(values, *horizon)]
        if outside.size:
            return f"time {outside[0]:g} is outside the trained horizon [{horizon[0]:g}, {horizon[1]:g}]"
    return None


def enforce(policy: Policy, problem: str | None) -> None:
    """Raise or warn about a concrete violation, as the policy says."""
    if problem is None or policy in ("ignore", "fallback"):
        return
    if policy == "raise":
        raise ValueError(
            f"{problem}; train over a wider range, or set on_extrapolation to 'warn', 'ignore' or 'fallback'"
        )
    warnings.warn(problem, UserWarning, stacklevel=3)


def inside(
    parameters: Mapping[str, Any],
    times: tuple[Any, ...],
    ranges: Mapping[str, tuple[float, float]],
    horizon: tuple[float, float],
) -> Any:
    """Whether all parameters and times lie in their ranges, as a traceable boolean."""
    checks = [_inside(jnp.asarray(parameters[name]), low, high) for name, (low, high) in ranges.items()]
    checks += [_inside(jnp.asarray(time), *horizon) for time in times]
    return jnp.all(jnp.stack(checks))


def _inside(values: Any, low: float, high: float) -> Any:
    margin = _TOLERANCE * max(high - low, abs(high), abs(low), 1e-30)
    return (values >= low - margin) & (values <= high + margin)
