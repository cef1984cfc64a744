"""What a surrogate does outside the parameter and time range that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from hoam_plugin._internal import warned
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Scalar
from hoam_plugin.numerics import tolerances

ValuesT = TypeVar("ValuesT", jax.Array, np.ndarray)

Policy = Literal["raise", "warn", "ignore", "fallback"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


@pytree()
class TrainedRange:
    """The parameters and times that a surrogate was trained on, and what is done outside of them.

    Attributes:
        ranges: (name, lowest, highest) of each trained physics parameter.
        horizon: the trained time range, physical units.
        policy: "raise", "warn", "ignore" or "fallback" (to the replaced stepper) outside.
    """

    ranges: tuple[tuple[str, float, float], ...]
    horizon: tuple[float, float]
    policy: Policy = "raise"

    @property
    def by_name(self) -> dict[str, tuple[float, float]]:
        """The trained range of each physics parameter."""
        return {name: (low, high) for name, low, high in self.ranges}

    def violation(self, parameters: Mapping[str, ArrayLike], times: ArrayLike | Sequence[float]) -> str | None:
        """One sentence that names the first concrete parameter or time outside its range, or None."""
        for name, low, high in self.ranges:
            if name not in parameters or isinstance(parameters[name], jax.core.Tracer):
                continue
            values = np.atleast_1d(np.asarray(parameters[name], np.float64))
            outside = values[~_inside(values, low, high)]
            if outside.size:
                return f"parameter {name}={outside[0]:.9g} is outside the trained range [{low:.9g}, {high:.9g}]"
        if not isinstance(times, jax.core.Tracer):
            values = np.atleast_1d(np.asarray(times, np.float64))
            outside = values[~_inside(values, *self.horizon)]
            if outside.size:
                start, end = self.horizon
                return f"time {outside[0]:.9g} is outside the trained horizon [{start:.9g}, {end:.9g}]"
        return None

    def enforce(self, parameters: Mapping[str, ArrayLike], times: ArrayLike | Sequence[float]) -> None:
        """Raise or warn about concrete parameters and times outside, as the policy says.

        Raises:
            ValueError: one that is outside, under "raise".
        """
        react(self.policy, self.violation(parameters, times), stacklevel=4)

    def inside(self, parameters: Mapping[str, Scalar], *elapsed: Scalar) -> Bool[Array, ""]:
        """Whether all parameters and times lie in their ranges, as a traceable boolean.

        Args:
            parameters: of one run.
            elapsed: times since the start of the horizon.
        """
        checks = [_inside(jnp.asarray(parameters[name]), low, high) for name, low, high in self.ranges]
        start, end = self.horizon
        margin = tolerances.overshoot(start, end)
        checks += [(time >= -margin) & (time <= end - start + margin) for time in map(jnp.asarray, elapsed)]
        return jnp.all(jnp.stack(checks))

    def encloses(self, other: TrainedRange) -> bool:
        """Whether all ranges of another one, over parameters of the same order, lie within these."""
        ours, theirs = self.by_name.values(), other.by_name.values()
        spans = [*zip(ours, theirs, strict=True), (self.horizon, other.horizon)]
        return all(a[0] <= b[0] and b[1] <= a[1] for a, b in spans)

    def text(self) -> str:
        """The ranges in words."""
        ranges = [f"{name} in [{low:g}, {high:g}]" for name, low, high in self.ranges]
        return ", ".join([*ranges, f"times in [{self.horizon[0]:g}, {self.horizon[1]:g}]"])


def react(policy: Policy, problem: str | None, *, stacklevel: int = 3) -> None:
    """Raise or warn about what is outside of a range, as the policy says.

    Args:
        policy: see `TrainedRange`.
        problem: a sentence, or None.
        stacklevel: of the warning; 3 is the caller's caller.

    Raises:
        ValueError: there is a problem, under "raise".
    """
    if problem is None or policy in ("ignore", "fallback"):
        return
    if policy == "raise":
        raise ValueError(
            f"{problem}; train over a wider range, or set on_extrapolation to 'warn', 'ignore' or 'fallback'"
        )
    warned.warn(problem, stacklevel=stacklevel)


def _inside(values: ValuesT, low: float, high: float) -> ValuesT:
    # Single-precision parameters and accumulated times may overshoot their range by round-off.
    margin = tolerances.overshoot(low, high)
    return (values >= low - margin) & (values <= high + margin)
