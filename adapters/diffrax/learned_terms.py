"""A surrogate as the terms of a diffrax problem. Imports diffrax, so it is itself imported when terms are made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, cast

import diffrax
import jax
import jax.numpy as jnp
import lineax
import numpy as np

from hoam_plugin.dynamics import compute_dtype
from hoam_plugin.steppers import ParameterRow, clock, default_float
from hoam_plugin.surrogates import Surrogate, trained_range

from ..packing import Packed, packed

_STATIC = {"static": True}
# Subdivisions of a default step down to which the noise is resolved, for smaller and for adaptive steps.
_FINEST = 64


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Drift(Packed):
    """A surrogate's drift as a vector field (t, y, args); its weights are leaves, as `BacksolveAdjoint` wants them.

    Attributes:
        centred: whether y is measured from the surrogate's origin and t from the start of its horizon.
    """

    centred: bool = dataclasses.field(default=False, metadata=_STATIC)

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        """The drift at samples y of shape (..., D), in their dtype."""
        elapsed, row = condition(self.surrogate, t, y, args, self.centred)
        return _drift(self.surrogate, samples(self.surrogate, y, self.centred), elapsed, row).astype(y.dtype)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Diffusion(Packed):
    """The amplitude of a surrogate's noise, as a diagonal operator on arrays of the shape of y; see `Drift`."""

    centred: bool = dataclasses.field(default=False, metadata=_STATIC)

    def __call__(self, t: Any, y: Any, args: Any) -> lineax.DiagonalLinearOperator:
        """The operator at samples y of shape (..., D)."""
        surrogate = self.surrogate
        elapsed, row = condition(surrogate, t, y, args, self.centred)
        flat = samples(surrogate, y, self.centred).reshape(-1, y.shape[-1])
        amplitude = surrogate.noise_amplitude(flat, elapsed, row)
        return lineax.DiagonalLinearOperator(jnp.broadcast_to(amplitude, flat.shape).reshape(y.shape).astype(y.dtype))


class Interval(NamedTuple):
    """The increment of a Brownian motion whose shape is not known yet.

    In a solve backwards in time, diffrax turns the sign of every leaf of an increment: that of `sign` tells.
    """

    start: Any
    end: Any
    sign: Any


class BrownianMotion(diffrax.AbstractBrownianPath):
    """A Brownian motion that takes its shape from the diffusion: an increment is drawn where it is multiplied with it.

    It is diffrax's `VirtualBrownianTree`, and so the same for all step sizes, and depends on the key alone.
    """

    key: Any
    t0: float = dataclasses.field(metadata=_STATIC)  # type: ignore[misc]
    t1: float = dataclasses.field(metadata=_STATIC)  # type: ignore[misc]
    tol: float = dataclasses.field(metadata=_STATIC)

    levy_area: ClassVar = diffrax.BrownianIncrement  # type: ignore[misc]

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        """The interval, to be drawn later."""
        if use_levy:
            raise ValueError(
                "key=...: this solver computes with the Levy area of the noise, for which the shape of y has to be "
                "known; pass path=diffrax.VirtualBrownianTree(t0, t1, tol, y0.shape, key, "
                "levy_area=diffrax.SpaceTimeTimeLevyArea) in its place"
            )
        start, end = (jnp.full_like(t0, self.t0), t0) if t1 is None else (t0, t1)
        return Interval(start, end, jnp.ones_like(end))

    def increment(self, interval: Interval, like: Any) -> Any:
        """The increment over an interval, of the shape and dtype of an array."""
        shape = jax.ShapeDtypeStruct(like.shape, like.dtype)
        tree = diffrax.VirtualBrownianTree(self.t0, self.t1, self.tol, shape, self.key)
        sign = interval.sign
        return sign.astype(like.dtype) * tree.evaluate(sign * interval.start, sign * interval.end)


class NoiseTerm(diffrax.ControlTerm):
    """A diffusion times a Brownian motion that may have to be drawn yet."""

    def prod(self, vf: Any, control: Any) -> Any:
        """The product."""
        if isinstance(control, Interval):
            control = cast(BrownianMotion, self.control).increment(control, vf.diagonal)
        return super().prod(vf, control)


def terms(surrogate: Surrogate, key: Any, path: Any, centred: bool) -> Any:
    """See `hoam_plugin.adapters.diffrax.terms`."""
    drift = diffrax.ODETerm(Drift(*packed(surrogate), centred))
    if key is None and path is None:
        return drift
    if path is None:
        start, end = (0.0, surrogate.normalisation.duration) if centred else surrogate.horizon
        path = BrownianMotion(key=key, t0=start, t1=end, tol=surrogate.dt / _FINEST)  # type: ignore[call-arg]
    return diffrax.MultiTerm(drift, NoiseTerm(Diffusion(*packed(surrogate), centred), path))


@jax.jit
def _drift(surrogate: Surrogate, y: Any, elapsed: Any, row: ParameterRow) -> Any:
    return surrogate.field(elapsed, row, y.dtype)(y.reshape(-1, y.shape[-1])).reshape(y.shape)


def samples(surrogate: Surrogate, y: Any, centred: bool) -> Any:
    """Centred samples in the dtype of the arithmetic."""
    y = y.astype(compute_dtype(y.dtype))
    return y if centred else surrogate.normalisation.centred(y)


def condition(surrogate: Surrogate, t: Any, y: Any, args: Any, centred: bool) -> tuple[Any, ParameterRow]:
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
    width = len(surrogate.normalisation.periods)
    if not hasattr(y, "shape") or jnp.shape(y)[-1:] != (width,):
        names = [v.name for v in surrogate.variables]
        raise ValueError(
            f"y has the shape {np.shape(y) if hasattr(y, 'shape') else type(y).__name__}; it must be (..., {width}), "
            f"the variables {names!r} flattened in order"
        )
    if not jnp.issubdtype(y.dtype, jnp.floating):
        raise TypeError(f"y has dtype {y.dtype}; samples must be floating-point numbers")
    row = surrogate.parameter_row({name: given[name] for name in surrogate.parameters})
    start, policy = surrogate.horizon[0], surrogate.on_extrapolation
    whole = isinstance(t, jax.Array) and not jnp.issubdtype(t.dtype, jnp.floating)
    elapsed = clock.since(t.astype(default_float()) if whole else t, 0.0 if centred else start, compute_dtype(y.dtype))
    if not isinstance(t, jax.core.Tracer):
        now = np.asarray(t, np.float64) + (start if centred else 0.0)
        trained_range.enforce(policy, trained_range.violation(row, now, surrogate.ranges, surrogate.horizon))
    if policy == "raise":
        inside = trained_range.inside(row, (elapsed,), surrogate.ranges, surrogate.horizon)
        elapsed = jnp.where(inside, elapsed, jnp.nan)
    return elapsed, row
