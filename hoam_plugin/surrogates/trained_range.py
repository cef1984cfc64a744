"""What a surrogate does outside the parameter and time range that it was trained on."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin.numerics import tolerances

Policy = Literal["raise", "warn", "ignore", "fallback"]


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
            return f"parameter {name}={outside[0]:.9g} is outside the trained range [{low:.9g}, {high:.9g}]"
    if not isinstance(times, jax.core.Tracer):
        values = np.atleast_1d(np.asarray(times, np.float64))
        outside = values[~_inside(values, *horizon)]
        if outside.size:
            return f"time {outside[0]:.9g} is outside the trained horizon [{horizon[0]:.9g}, {horizon[1]:.9g}]"
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
    elapsed: tuple[Any, ...],
    ranges: Mapping[str, tuple[float, float]],
    horizon: tuple[float, float],
) -> Any:
    """Whether all parameters and times lie in their ranges, as a traceable boolean.

    Args:
        parameters: of one run.
        elapsed: times since the start of the horizon.
        ranges: lowest and highest value of each parameter.
        horizon: range of times.
    """
    checks = [_inside(jnp.asarray(parameters[name]), low, high) for name, (low, high) in ranges.items()]
    margin = tolerances.overshoot(*horizon)
    checks += [(time >= -margin) & (time <= horizon[1] - horizon[0] + margin) for time in map(jnp.asarray, elapsed)]
    return jnp.all(jnp.stack(checks))


def _inside(values: Any, low: float, high: float) -> Any:
    # Single-precision parameters and accumulated times may overshoot their range by round-off.
    margin = tolerances.overshoot(low, high)
    return (values >= low - margin) & (values <= high + margin)
