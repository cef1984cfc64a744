"""Surrogates in `diffrax.diffeqsolve`: as its terms, and their own step as its solver.

    sol = diffrax.diffeqsolve(terms(model), diffrax.Tsit5(), t0, t1, dt0, y0, args={"mu": 1.4})

y holds samples with their variables flattened in order, shape (..., D); args are the physics parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hoam_plugin._internal import warned
from hoam_plugin._internal.checks import random_key, with_details
from hoam_plugin._types import Key
from hoam_plugin.steppers import default_float
from hoam_plugin.surrogates import Surrogate

if TYPE_CHECKING:
    import diffrax


def terms(
    surrogate: Surrogate,
    *,
    key: Key | None = None,
    path: diffrax.AbstractPath | None = None,
    centred: bool = False,
) -> diffrax.AbstractTerm:
    """A surrogate as `terms` of `diffrax.diffeqsolve`, with y of shape (..., D) and args the dict of parameters.

    Without noise, an `ODETerm`; with noise, a `MultiTerm` of an `ODETerm` and a `ControlTerm` whose diffusion returns a
    `lineax.DiagonalLinearOperator`. The surrogate is part of the terms' pytree, so gradients with respect to args, y0
    and the surrogate's weights work under all of diffrax's adjoints. Periodic positions are not wrapped.

    `key` gives a Brownian motion that is the same for all step sizes (diffrax's `VirtualBrownianTree` over the trained
    horizon, down to a 64th of the surrogate's `dt`) and takes its shape from y; adaptive solvers may use it. It costs
    several times what the steps do: for fixed steps, `solver(surrogate)` draws one variate per step, and so does
    `path=diffrax.UnsafeBrownianPath(y0.shape, key)`. Solvers that compute with the noise before they multiply it with
    the diffusion, such as `ShARK` and `SRA1`, need a `path` of a known shape.

    Python numbers as times are float64 under x64, to which diffrax then widens a float32 y0; give times as float32
    arrays to keep it. Solvers without `dt0` look ahead to choose the first step; give `dt0` where the solve starts
    close to the end of the horizon.

    diffrax adds steps to times and samples in their own precision. Single precision loses them late, or far from 0,
    which is said when terms are made; with `centred=True` nothing is lost.

    Args:
        surrogate: a trained surrogate.
        key: JAX random key of the noise.
        path: in the place of `key`: a diffrax path (Brownian motion or any other control) of the shape of y.
        centred: measure t from the start of the trained horizon, and y from `surrogate.learned.normalisation.origin`,
            as `surrogate.learned.centred(state)` gives it; `surrogate.learned.with_centred(state, y)` goes back to
            physical units.

    Raises:
        TypeError: no surrogate, or a key that is no JAX random key.
        ValueError: noise and neither key nor path, or the other way round; both of them; or the policy "fallback",
            since there is no state that could go back to a simulator. In a solve: a parameter missing from args, or y
            of another width. Times and parameters outside the trained ranges are traced in a solve, so that "raise"
            gives NaN there.

    Example:
        >>> import diffrax
        >>> from hoam_plugin.adapters.diffrax import terms
        >>> y0 = jnp.stack([state.x, state.v], axis=-1)
        >>> solution = diffrax.diffeqsolve(terms(model), diffrax.Heun(), 0.0, 1.0, 0.25, y0, args={"mu": 1.4})
        >>> solution.ys.shape
        (1, 64, 2)
    """
    _require_policy(surrogate)
    if key is not None:
        random_key(key)
    if key is not None and path is not None:
        raise ValueError(
            "key and path are both given; path= is a Brownian motion in the place of the one that key= makes"
        )
    learned = surrogate.learned
    if learned.has_noise and key is None and path is None:
        what = "that of its stepper" if learned.known_noise else f"epsilon={learned.epsilon:g}"
        raise ValueError(
            f"key=None: this surrogate has noise ({what}) and needs key=, such as jax.random.key(0), or path=; for the "
            "drift alone, make a diffrax.ODETerm of its `velocity`"
        )
    if not learned.has_noise and not (key is None and path is None):
        raise ValueError(
            f"{'path' if key is None else 'key'}=...: this surrogate has no noise (epsilon=0); leave it out"
        )
    from . import learned_terms

    if not centred:
        _warn_if_unresolved(surrogate)
    return learned_terms.terms(surrogate, key, path, centred)


def solver(surrogate: Surrogate, *, centred: bool = False) -> diffrax.AbstractSolver:
    """The surrogate's own step as a diffrax solver for `terms(surrogate)` or `terms(surrogate, key=key)`.

    The same integrator as in `Surrogate.solve`, and the same noise from the same key: with the same constant steps, the
    samples are those of `solve`, up to the wrapping of periodic positions, which are left unwrapped so that they can be
    interpolated. There is no error estimate. Between steps, `SaveAt(ts=...)` interpolates linearly.

    Args:
        surrogate: the one that the terms were made of.
        centred: as in `terms`.

    Raises:
        TypeError: no surrogate.
        ValueError: the policy "fallback". In a solve: terms of anything else or with another `centred`, or noise given
            as a path.

    Example:
        >>> import diffrax
        >>> from hoam_plugin.adapters.diffrax import solver, terms
        >>> y0 = jnp.stack([state.x, state.v], axis=-1)
        >>> solution = diffrax.diffeqsolve(terms(model), solver(model), 0.0, 1.0, 0.25, y0, args={"mu": 1.4})
        >>> solution.ys.shape
        (1, 64, 2)
    """
    _require_policy(surrogate)
    from ..packing import Packed, packed
    from .own_step import OwnStep

    if not centred:
        _warn_if_unresolved(surrogate)
    return OwnStep(Packed(*packed(surrogate)), centred)


# The share of a step that rounding times or samples may cost.
_UNRESOLVED = 1e-2


def _warn_if_unresolved(surrogate: Surrogate) -> None:
    """Warn where single precision loses steps at the trained times or samples."""
    if default_float() == np.float64:
        return
    advice = (
        "; pass centred=True, which measures both from the training data, or call jax.config.update("
        "'jax_enable_x64', True) at start-up"
    )
    latest = float(np.abs(surrogate.horizon).max())
    tick = float(np.spacing(np.float32(latest)))
    if tick > _UNRESOLVED * surrogate.dt:
        _warn(
            f"float32 resolves {tick:.2g} at the trained time {latest:g}, too little for steps of "
            f"dt={surrogate.dt:.3g}{advice}"
        )
    norm = surrogate.learned.normalisation
    shift, scale = np.abs(np.asarray(norm.shift, np.float64)), np.asarray(norm.scale, np.float64)
    ulp = np.spacing(shift.astype(np.float32)).astype(np.float64)
    step = scale * min(surrogate.dt / norm.duration, 1.0)
    worst = int(np.argmax(ulp / step))
    if ulp[worst] > _UNRESOLVED * step[worst]:
        _warn(
            f"float32 resolves {ulp[worst]:.2g} at the mean {shift[worst]:g} of y[..., {worst}], too little for steps "
            f"of about {step[worst]:.2g} (the spread {scale[worst]:.3g} times dt over the horizon){advice}"
        )


def _warn(problem: str) -> None:
    warning = with_details(UserWarning(problem), environment={"JAX_ENABLE_X64": "1"})
    warned.warn(warning, stacklevel=4)


def _require_policy(value: object) -> None:
    if not isinstance(value, Surrogate):
        what = getattr(value, "__name__", repr(value))
        raise TypeError(f"surrogate={what} must be a Surrogate, such as hoam.load(path) returns")
    if value.trained.policy == "fallback":
        raise ValueError(
            "on_extrapolation='fallback' needs a simulator's state, which samples in a diffrax solve do not have; use "
            "surrogate.with_options(on_extrapolation='raise')"
        )
