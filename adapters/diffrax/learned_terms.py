"""A surrogate as the terms of a diffrax problem. Imports diffrax, so it is itself imported when terms are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, NamedTuple, cast

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Key, PyTree, Scalar
from hoam_plugin.dynamics import compute_dtype
from hoam_plugin.steppers import ParameterRow, clock, default_float, row_of
from hoam_plugin.surrogates import LearnedDynamics, Surrogate, noise_amplitude

from ..packing import Packed, packed

# Subdivisions of a default step down to which the noise is resolved, for smaller and for adaptive steps.
_FINEST = 64


@pytree(data=("leaves",), eq=False)
class Drift(Packed):
    """A surrogate's drift as a vector field (t, y, args); its weights are leaves, as `BacksolveAdjoint` wants them.

    Attributes:
        centred: whether y is measured from the surrogate's origin and t from the start of its horizon.
    """

    centred: bool = False

    def __call__(self, t: Scalar, y: PyTree, args: PyTree) -> Float[Array, "... D"]:
        """The drift at samples y of shape (..., D), in their dtype."""
        surrogate = self.surrogate
        elapsed, row = condition(surrogate, t, y, args, self.centred)
        return _drift(surrogate.learned, samples(surrogate.learned, y, self.centred), elapsed, row).astype(y.dtype)


@pytree(data=("leaves",), eq=False)
class Diffusion(Packed):
    """The amplitude of a surrogate's noise, as a diagonal operator on arrays of the shape of y; see `Drift`."""

    centred: bool = False

    def __call__(self, t: Scalar, y: PyTree, args: PyTree) -> lineax.DiagonalLinearOperator:
        """The operator at samples y of shape (..., D)."""
        surrogate = self.surrogate
        elapsed, row = condition(surrogate, t, y, args, self.centred)
        flat = samples(surrogate.learned, y, self.centred).reshape(-1, y.shape[-1])
        amplitude = noise_amplitude(surrogate.learned, flat, elapsed, row)
        return lineax.DiagonalLinearOperator(jnp.broadcast_to(amplitude, flat.shape).reshape(y.shape).astype(y.dtype))


class Interval(NamedTuple):
    """The increment of a Brownian motion whose shape is not known yet.

    In a solve backwards in time, diffrax turns the sign of every leaf of an increment: that of `sign` tells.
    """

    start: PyTree
    end: PyTree
    sign: PyTree


class BrownianMotion(diffrax.AbstractBrownianPath):
    """A Brownian motion that takes its shape from the diffusion: an increment is drawn where it is multiplied with it.

    It is diffrax's `VirtualBrownianTree`, and so the same for all step sizes, and depends on the key alone.
    """

    key: PyTree
    t0: float = eqx.field(static=True)  # type: ignore[misc]
    t1: float = eqx.field(static=True)  # type: ignore[misc]
    tol: float = eqx.field(static=True)

    levy_area: ClassVar = diffrax.BrownianIncrement  # type: ignore[misc]

    def evaluate(self, t0: Scalar, t1: Scalar | None = None, left: bool = True, use_levy: bool = False) -> Interval:
        """The interval, to be drawn later."""
        if use_levy:
            raise ValueError(
                "key=...: this solver computes with the Levy area of the noise, for which the shape of y has to be "
                "known; pass path=diffrax.VirtualBrownianTree(t0, t1, tol, y0.shape, key, "
                "levy_area=diffrax.SpaceTimeTimeLevyArea) in its place"
            )
        start, end = (jnp.full_like(t0, self.t0), t0) if t1 is None else (t0, t1)
        return Interval(start, end, jnp.ones_like(end))

    def increment(self, interval: Interval, like: jax.Array) -> jax.Array:
        """The increment over an interval, of the shape and dtype of an array."""
        shape = jax.ShapeDtypeStruct(like.shape, like.dtype)
        tree = diffrax.VirtualBrownianTree(self.t0, self.t1, self.tol, shape, self.key)
        sign = interval.sign
        return sign.astype(like.dtype) * tree.evaluate(sign * interval.start, sign * interval.end)


class NoiseTerm(diffrax.ControlTerm):
    """A diffusion times a Brownian motion that may have to be drawn yet."""

    def prod(self, vf: PyTree, control: PyTree) -> PyTree:
        """The product."""
        if isinstance(control, Interval):
            control = cast(BrownianMotion, self.control).increment(control, vf.diagonal)
        return super().prod(vf, control)


def terms(
    surrogate: Surrogate, key: Key | None, path: diffrax.AbstractPath | None, centred: bool
) -> diffrax.AbstractTerm:
    """See `hoam_plugin.adapters.diffrax.terms`."""
    drift = diffrax.ODETerm(Drift(*packed(surrogate), centred))
    if key is None and path is None:
        return drift
    if path is None:
        start, end = (0.0, surrogate.learned.normalisation.duration) if centred else surrogate.horizon
        path = BrownianMotion(key=key, t0=start, t1=end, tol=surrogate.dt / _FINEST)  # type: ignore[call-arg]
    return diffrax.MultiTerm(drift, NoiseTerm(Diffusion(*packed(surrogate), centred), path))


@jax.jit
def _drift(
    learned: LearnedDynamics, y: Float[Array, "... D"], elapsed: jax.Array, row: ParameterRow
) -> Float[Array, "... D"]:
    return learned.field(elapsed, row, y.dtype)(y.reshape(-1, y.shape[-1])).reshape(y.shape)


def samples(learned: LearnedDynamics, y: Float[Array, "... D"], centred: bool) -> Float[Array, "... D"]:
    """Centred samples in the dtype of the arithmetic."""
    y = y.astype(compute_dtype(y.dtype))
    return y if centred else learned.normalisation.centred(y)


def condition(
    surrogate: Surrogate, t: Scalar, y: PyTree, args: PyTree, centred: bool
) -> tuple[jax.Array, ParameterRow]:
    """Time since the start of the horizon, NaN where the surrogate does not extrapolate, and the parameters.

    Args:
        surrogate: of which they are.
        t: time, physical units; if `centred` since the start of the horizon.
        y: samples, for their shape and dtype.
        args: the parameters, and whatever other terms want.
        centred: see `Drift`.

    Raises:
        ValueError: a missing parameter, samples of another width, or a concrete time or parameter outside its range.
        TypeError: args that are no dict.
    """
    if not isinstance(args, Mapping) and (surrogate.parameters or args is not None):
        raise TypeError(f"args={args!r} must be the dict of the parameters {list(surrogate.parameters)!r}")
    given = args or {}
    missing = [name for name in surrogate.parameters if name not in given]
    if missing:
        raise ValueError(f"args={dict(given)!r} lacks {missing!r}; give {list(surrogate.parameters)!r}")
    width = surrogate.learned.layout.n_columns
    if not hasattr(y, "shape") or jnp.shape(y)[-1:] != (width,):
        names = [v.name for v in surrogate.variables]
        raise ValueError(
            f"y has the shape {np.shape(y) if hasattr(y, 'shape') else type(y).__name__}; it must be (..., {width}), "
            f"the variables {names!r} flattened in order"
        )
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise TypeError(f"y has dtype {y.dtype}; samples must be floating-point numbers")
    own = {name: given[name] for name in surrogate.parameters}
    numbers = {name: v if isinstance(v, jax.Array) else np.asarray(v) for name, v in own.items()}
    row = row_of(numbers, surrogate.parameters)
    start, trained = surrogate.horizon[0], surrogate.trained
    if isinstance(t, jax.Array) and not jnp.issubdtype(t.dtype, jnp.floating):
        t = t.astype(default_float())
    elapsed = clock.since(t, 0.0 if centred else start, compute_dtype(y.dtype))
    if not isinstance(t, jax.core.Tracer):
        now = np.asarray(t, np.float64) + (start if centred else 0.0)
        trained.enforce(row, now)
    if trained.policy == "raise":
        elapsed = jnp.where(trained.inside(row, elapsed), elapsed, jnp.nan)
    return elapsed, row
