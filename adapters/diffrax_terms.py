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

from hoam_plugin import extrapolation
from hoam_plugin.adapters.packing import Packed, packed
from hoam_plugin.surrogate import Surrogate

_STATIC = {"static": True}
# Subdivisions of a default step down to which the noise is resolved, for smaller and for adaptive steps.
_FINEST = 64


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Drift(Packed):
    """A surrogate's drift as a vector field (t, y, args); its weights are leaves, as `BacksolveAdjoint` wants them."""

    def __call__(self, t: Any, y: Any, args: Any) -> Any:
        """The drift at samples y of shape (..., D), in their dtype."""
        surrogate = self.surrogate
        return surrogate.velocity(y, *condition(surrogate, t, y, args))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Diffusion(Packed):
    """The amplitude of a surrogate's noise, as a diagonal operator on arrays of the shape of y."""

    def __call__(self, t: Any, y: Any, args: Any) -> lineax.DiagonalLinearOperator:
        """The operator at samples y of shape (..., D)."""
        surrogate = self.surrogate
        time, parameters = condition(surrogate, t, y, args)
        flat = y.reshape(-1, y.shape[-1])
        amplitude = surrogate.noise_amplitude(flat, time, parameters)
        return lineax.DiagonalLinearOperator(jnp.broadcast_to(amplitude, flat.shape).reshape(y.shape))


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


def terms(surrogate: Surrogate, key: Any, path: Any) -> Any:
    """See `hoam_plugin.adapters.diffrax.terms`."""
    drift = diffrax.ODETerm(Drift(*packed(surrogate)))
    if key is None and path is None:
        return drift
    if path is None:
        path = BrownianMotion(key=key, t0=surrogate.horizon[0], t1=surrogate.horizon[1], tol=surrogate.dt / _FINEST)  # type: ignore[call-arg]
    return diffrax.MultiTerm(drift, NoiseTerm(Diffusion(*packed(surrogate)), path))


def condition(surrogate: Surrogate, t: Any, y: Any, args: Any) -> tuple[Any, dict[str, Any]]:
    """Time and parameters in the dtype of the samples, NaN where the surrogate does not extrapolate.

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
    parameters = {name: jnp.asarray(given[name]).astype(y.dtype) for name in surrogate.parameters}
    time, policy = jnp.asarray(t).astype(y.dtype), surrogate.on_extrapolation
    problem = extrapolation.violation(given, t, surrogate.ranges, surrogate.horizon)
    extrapolation.enforce(policy, problem)
    if policy == "raise":
        inside = extrapolation.inside(parameters, (time,), surrogate.ranges, surrogate.horizon)
        time = jnp.where(inside, time, jnp.nan)
    return time, parameters
