"""The fake solver of adept-style codes, whose step is one call of the vector field."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, TypeAlias

import diffrax
import jax
import jax.numpy as jnp

from hoam_plugin._types import PyTree, Scalar
from hoam_plugin.numerics.periodic import nearest_image, wrapped

from .advance import Advance

Periods: TypeAlias = dict[str, jax.Array]


class PeriodicInterpolation(diffrax.AbstractLocalInterpolation):
    """Linear between two steps, across the boundary of a torus where that is the shorter way.

    Attributes:
        t0: start of the step.
        t1: its end.
        y0: entries at the start.
        change: their changes, the short way round.
        periods: of the entries that have one.

    Example:
        >>> from hoam_plugin.adapters import adept
        >>> y0, change = {"x": jnp.asarray([49.0])}, {"x": jnp.asarray([2.0])}
        >>> between = adept.PeriodicInterpolation(0.0, 1.0, y0, change, {"x": jnp.asarray(50.0)})
        >>> between.evaluate(jnp.asarray(0.75))["x"].tolist()
        [0.5]
    """

    t0: PyTree  # type: ignore[misc]
    t1: PyTree  # type: ignore[misc]
    y0: PyTree
    change: PyTree
    periods: dict[str, PyTree]

    def evaluate(self, t0: Scalar, t1: Scalar | None = None, left: bool = True) -> PyTree:
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

    Example:
        >>> import diffrax
        >>> from hoam_plugin.adapters import adept
        >>> field = adept.vector_field(model, 0.25)
        >>> y0 = field.initial(key, 64, {"mu": 1.4})
        >>> terms, solver = diffrax.ODETerm(field), adept.Stepper()
        >>> solution = diffrax.diffeqsolve(terms, solver, 0.0, 1.0, 0.25, y0, args={"mu": 1.4})
        >>> solution.ys["x"].shape
        (1, 64)
    """

    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = PeriodicInterpolation  # type: ignore[assignment]

    def step(
        self,
        terms: diffrax.AbstractTerm,
        t0: Scalar,
        t1: Scalar,
        y0: PyTree,
        args: PyTree,
        solver_state: PyTree,
        made_jump: PyTree,
    ) -> tuple[PyTree, None, dict[str, PyTree], None, PyTree]:
        """One call."""
        field = getattr(getattr(terms, "term", terms), "vector_field", None)
        periods: Periods = {}
        if isinstance(field, Advance):
            y1 = field.advanced(t0, y0, args, t1 - t0)
            periods = {name: jnp.asarray(period, y0[name].dtype) for name, period in field.periods.items()}
        else:
            y1 = terms.vf(t0, y0, args)  # type: ignore[arg-type]
        change = _mapped(jax.tree.map(jnp.subtract, y1, y0), periods, nearest_image)
        return y1, None, {"y0": y0, "change": change, "periods": periods}, None, diffrax.RESULTS.successful


def _mapped(entries: PyTree, periods: Periods, function: Callable[[jax.Array, jax.Array], jax.Array]) -> PyTree:
    """The entries, those with a period put through a function of them and the period."""
    if not periods:
        return entries
    return {**entries, **{name: function(entries[name], period) for name, period in periods.items()}}
