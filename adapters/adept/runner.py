"""The fake solver of adept-style codes. Imports diffrax, so it is itself imported when `adept.Stepper` is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp

from hoam_plugin.dynamics import wrapped

from .advance import Advance


class PeriodicInterpolation(diffrax.AbstractLocalInterpolation):
    """Linear between two steps, across the boundary of a torus where that is the shorter way.

    Attributes:
        t0: start of the step.
        t1: its end.
        y0: entries at the start.
        change: their changes, the short way round.
        periods: of the entries that have one.
    """

    t0: Any  # type: ignore[misc]
    t1: Any  # type: ignore[misc]
    y0: Any
    change: Any
    periods: dict[str, Any]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True) -> Any:
        """The entries at a time, or their difference between two."""
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        length = self.t1 - self.t0
        fraction = (t0 - self.t0) / jnp.where(length == 0, 1, length)
        between = jax.tree.map(lambda y, change: y + fraction.astype(y.dtype) * change, self.y0, self.change)
        return _mapped(between, self.periods, wrapped)


class Stepper(diffrax.Euler):
    """A diffrax solver for `ODETerm(callable(t, y, args) -> y_next)`: a step is one call.

    A last step that `diffeqsolve` shortens is shortened for an `Advance` as well; any other callable knows no length
    but its own, so that `dt0` has to divide the interval. Between steps `SaveAt(ts=...)` interpolates linearly.
    """

    interpolation_cls: ClassVar[Callable[..., Any]] = PeriodicInterpolation

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple[Any, None, dict[str, Any], None, Any]:
        """One call."""
        field = getattr(getattr(terms, "term", terms), "vector_field", None)
        periods: dict[str, Any] = {}
        if isinstance(field, Advance):
            y1 = field.advanced(t0, y0, args, t1 - t0)
            periods = {name: jnp.asarray(period, y0[name].dtype) for name, period in field.periods.items()}
        else:
            y1 = terms.vf(t0, y0, args)
        change = _mapped(
            jax.tree.map(jnp.subtract, y1, y0), periods, lambda d, length: d - length * jnp.round(d / length)
        )
        return y1, None, {"y0": y0, "change": change, "periods": periods}, None, diffrax.RESULTS.successful


def _mapped(entries: Any, periods: dict[str, Any], function: Callable[[Any, Any], Any]) -> Any:
    """The entries, those with a period put through a function of them and the period."""
    if not periods:
        return entries
    return {**entries, **{name: function(entries[name], period) for name, period in periods.items()}}
