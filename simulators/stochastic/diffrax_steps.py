"""Steps of diffrax solvers for a whole population. Imports diffrax, so it is itself imported when a stepper steps."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any, ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.steppers import Parameters

from .diffrax_solvers import FINEST, controller_object, solver_object


class DrawnIncrement(diffrax.AbstractPath):
    """A Brownian motion that is known by its increment over one whole step alone, drawn beforehand.

    diffrax's `UnsafeBrownianPath` draws for itself: sample by sample under `vmap`, and not differentiable in time.
    """

    t0: ClassVar[float] = 0.0
    t1: ClassVar[float] = 1.0
    increment: Any

    def evaluate(self, t0: Any, t1: Any = None, left: bool = True, use_levy: bool = False) -> Any:
        """The increment, with its Levy areas where they are asked for."""
        return self.increment if use_levy else self.increment.W


class NoiseTerm(diffrax.ControlTerm):
    """A diffusion times a Brownian motion, diagonal or full, for one sample or for all in columns."""

    def prod(self, vf: Any, control: Any) -> Any:
        """The product; a full diffusion has one axis more than the Brownian motion."""
        return vf * control if vf.ndim == control.ndim else jnp.sum(vf * control[None], axis=1)


class FromSamples(diffrax.AbstractAdaptiveStepSizeController):
    """A controller whose relative tolerance is that of the samples, where y is the way from them; args are their start.

    Attributes:
        rtol: relative tolerance.
        atol: absolute tolerance.
        norm: of an error.
        controller: the one that decides, of these tolerances.
    """

    rtol: Any
    atol: Any
    norm: Any
    controller: Any

    def wrap(self, direction: Any) -> FromSamples:
        """The controller for one direction of time."""
        return dataclasses.replace(self, controller=self.controller.wrap(direction))

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, dt0: Any, args: Any, func: Any, error_order: Any) -> Any:
        """The end of the first step, which is given, and the controller's state."""
        return self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)

    def adapt_step_size(
        self, t0: Any, t1: Any, y0: Any, y1_candidate: Any, args: Any, y_error: Any, error_order: Any, state: Any
    ) -> Any:
        """Whether to keep a step, and the next one."""
        return self.controller.adapt_step_size(
            t0, t1, args + y0, args + y1_candidate, args, y_error, error_order, state
        )


def draw(key: Any, problem: Any, x: Float[Array, "D n"], time: Any, parameters: Parameters) -> Float[Array, "k M n"]:
    """Standard normal variates for a step of all samples: of the increments, and of the Levy areas a solver needs."""
    n_kinds = _brownian_kinds(solver_object(problem.solver))[0]
    moved = _moved_by_noise(problem)
    n_sources = _n_sources(problem, x, time, parameters) if moved is None else sum(moved)
    normals = jax.random.normal(key, (n_kinds, n_sources, x.shape[1]), x.dtype)
    if moved is None or all(moved):
        return normals
    # Coordinates without noise need no random numbers.
    drawn, none = iter(range(n_sources)), jnp.zeros_like(normals[:, 0])
    return jnp.stack([normals[:, next(drawn)] if noisy else none for noisy in moved], axis=1)


def fixed_step(
    problem: Any,
    x: Float[Array, "D n"],
    time: Any,
    dt: Float[Array, ""],
    parameters: Parameters,
    normals: Float[Array, "k M n"] | None,
) -> Float[Array, "D n"]:
    """What one step of the problem's solver adds to all samples.

    It solves for the way from the samples, y = x(t) - x(0), which keeps its digits however far from 0 the samples are.

    Args:
        problem: an `ItoStepper`.
        x: samples in columns, so that arithmetic on their components runs over contiguous memory.
        time: physical time at the start of the step.
        dt: its length.
        parameters: physics parameters, in the samples' dtype.
        normals: from `draw`; None without noise.
    """
    solver = solver_object(problem.solver)
    whole = isinstance(solver, diffrax.Euler | diffrax.AbstractERK | diffrax.AbstractSRK)

    def step(x: Float[Array, "D ..."], normal: Float[Array, "k M ..."] | None) -> Float[Array, "D ..."]:
        path = None if normal is None else DrawnIncrement(_increment(normal))
        terms = _terms(problem, time, dt, parameters, path)
        start, end = jnp.zeros_like(dt), jnp.ones_like(dt)
        state = solver.init(terms, start, end, jnp.zeros_like(x), x)
        return solver.step(terms, start, end, jnp.zeros_like(x), x, state, False)[0]

    # Explicit schemes work on all samples as one state. Others need the Jacobian of a single sample.
    return step(x, normals) if whole else jax.vmap(step, in_axes=-1, out_axes=-1)(x, normals)


def adaptive_step(
    problem: Any, x: Float[Array, "D n"], time: Any, dt: Float[Array, ""], parameters: Parameters, key: Any
) -> Float[Array, "D n"]:
    """What each sample moves by over `dt`, in steps that its own error chooses; NaN where the solver gave up."""
    solver = solver_object(problem.solver)
    own: Any = controller_object(problem.stepsize_controller, noisy=problem.is_noisy)
    controller = FromSamples(rtol=own.rtol, atol=own.atol, norm=own.norm, controller=own)
    levy_area = _brownian_kinds(solver)[1]
    shape = (_n_sources(problem, x, time, parameters),) if problem.is_noisy else ()

    def one(x: Float[Array, " D"], key: Any) -> Float[Array, " D"]:
        path = None
        if key is not None:
            struct = jax.ShapeDtypeStruct(shape, x.dtype)
            path = diffrax.VirtualBrownianTree(0.0, 1.0, FINEST, struct, key, levy_area=levy_area)
        terms = _terms(problem, time, dt, parameters, path)
        end = jnp.ones_like(dt)
        solution = diffrax.diffeqsolve(
            terms,
            solver,
            jnp.zeros_like(dt),
            end,
            end,
            jnp.zeros_like(x),
            args=x,
            stepsize_controller=controller,
            throw=False,
        )
        return jnp.where(solution.result == diffrax.RESULTS.successful, solution.ys[-1], jnp.full_like(x, jnp.nan))

    keys = jax.random.split(key, x.shape[1]) if problem.is_noisy else None
    return jax.vmap(one, in_axes=(-1, 0), out_axes=-1)(x, keys)


def _terms(problem: Any, time: Any, dt: Any, parameters: Parameters, path: Any) -> Any:
    """The equation over one step, for one sample (D,) or for all in columns (D, n).

    The step is scaled to [0, 1], which is exact for any dt, however late, also in float32. y is the way from where the
    samples were, which `args` holds.
    """

    def of_samples(function: Any, s: Any, y: Any) -> Any:
        values = functools.partial(function, time + s * dt, parameters=parameters)
        return values(y) if y.ndim == 1 else jax.vmap(values, in_axes=-1, out_axes=-1)(y)

    def drift(s: Any, y: Any, args: Any) -> Any:
        return dt * of_samples(lambda at, x, parameters: problem.drift(at, x, parameters), s, args + y)

    def diffusion(s: Any, y: Any, args: Any) -> Any:
        if callable(problem.diffusion):
            return jnp.sqrt(dt) * of_samples(
                lambda at, x, parameters: problem.diffusion(at, x, parameters), s, args + y
            )
        amplitude = jnp.asarray(problem.diffusion, y.dtype)
        amplitude = amplitude if amplitude.ndim else jnp.full(y.shape[:1], amplitude)
        return jnp.sqrt(dt) * jnp.reshape(amplitude, amplitude.shape + (1,) * (y.ndim - 1))

    if path is None:
        return diffrax.ODETerm(drift)
    return diffrax.MultiTerm(diffrax.ODETerm(drift), NoiseTerm(diffusion, path))


def _brownian_kinds(solver: Any) -> tuple[int, type]:
    """How many normal variates a solver takes per source and step, and diffrax's type for them."""
    needed = getattr(solver, "minimal_levy_area", diffrax.AbstractBrownianIncrement)
    if issubclass(needed, diffrax.AbstractSpaceTimeTimeLevyArea):
        return 3, diffrax.SpaceTimeTimeLevyArea
    if issubclass(needed, diffrax.AbstractSpaceTimeLevyArea):
        return 2, diffrax.SpaceTimeLevyArea
    return 1, diffrax.BrownianIncrement


def _increment(normal: Float[Array, "k M ..."]) -> Any:
    """Brownian increment over a unit of time, with variances 1, 1/12 and 1/720 of W and its Levy areas."""
    unit = jnp.ones((), normal.dtype)
    types = (diffrax.BrownianIncrement, diffrax.SpaceTimeLevyArea, diffrax.SpaceTimeTimeLevyArea)
    parts = [row * math.sqrt(variance) for row, variance in zip(normal, (1, 1 / 12, 1 / 720), strict=False)]
    return types[len(parts) - 1](unit, *parts)


def _moved_by_noise(problem: Any) -> tuple[bool, ...] | None:
    """For constant noise of each coordinate: which ones have any. None for other noise."""
    if callable(problem.diffusion) or np.ndim(problem.diffusion) != 1:
        return None
    return tuple(amplitude != 0 for amplitude in problem.diffusion)


def _n_sources(problem: Any, x: Float[Array, "D n"], time: Any, parameters: Parameters) -> int:
    """Number of independent Brownian motions per sample."""
    if not callable(problem.diffusion):
        return np.shape(problem.diffusion)[-1] if np.ndim(problem.diffusion) else x.shape[0]
    return jax.eval_shape(problem.diffusion, time, x[:, 0], parameters).shape[-1]
