"""Fixed and adaptive steps of a whole population by the solvers of diffrax. Imports diffrax: import it late."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Key, Parameters, PyTree, Scalar

from .brownian_increments import DrawnIncrement, NoiseTerm, brownian_kinds, increment_of, n_sources
from .ito_problem import ItoProblem, OfSample
from .solver_choice import FINEST, controller_object, solver_object

# What diffrax calls a real number.
Real: TypeAlias = int | float | Array | np.ndarray


class FromSamples(diffrax.AbstractAdaptiveStepSizeController):
    """A controller whose relative tolerance is that of the samples, where y is the way from them; args are their start.

    Attributes:
        rtol: relative tolerance.
        atol: absolute tolerance.
        norm: of an error.
        controller: the one that decides, of these tolerances.
    """

    rtol: Real
    atol: Real
    norm: Callable[[PyTree], Real]
    controller: diffrax.AbstractStepSizeController

    def wrap(self, direction: int | Array | np.ndarray) -> FromSamples:
        """The controller for one direction of time."""
        return dataclasses.replace(self, controller=self.controller.wrap(direction))

    def init(
        self,
        terms: PyTree,
        t0: Real,
        t1: Real,
        y0: PyTree,
        dt0: Real | None,
        args: PyTree,
        func: Callable[..., PyTree],
        error_order: Real | None,
    ) -> tuple[Real, PyTree]:
        """The end of the first step, which is given, and the controller's state."""
        return self.controller.init(terms, t0, t1, y0, dt0, args, func, error_order)

    def adapt_step_size(
        self,
        t0: Real,
        t1: Real,
        y0: PyTree,
        y1_candidate: PyTree,
        args: PyTree,
        y_error: PyTree,
        error_order: Real,
        state: PyTree,
    ) -> tuple[PyTree, ...]:
        """Whether to keep a step, and the next one."""
        return self.controller.adapt_step_size(
            t0, t1, args + y0, args + y1_candidate, args, y_error, error_order, state
        )


def fixed_step(
    problem: ItoProblem,
    x: Float[Array, "D n"],
    time: Scalar,
    dt: Float[Array, ""],
    parameters: Parameters,
    normals: Float[Array, "k M n"] | None,
) -> Float[Array, "D n"]:
    """What one step of the problem's solver adds to all samples.

    It solves for the way from the samples, y = x(t) - x(0), which keeps its digits however far from 0 the samples are.

    Args:
        problem: the equation.
        x: samples in columns, so that arithmetic on their components runs over contiguous memory.
        time: physical time at the start of the step.
        dt: its length.
        parameters: physics parameters, in the samples' dtype.
        normals: from `draw`; None without noise.
    """
    solver = solver_object(problem.solver)
    whole = isinstance(solver, diffrax.Euler | diffrax.AbstractERK | diffrax.AbstractSRK)

    def step(x: Float[Array, "D ..."], normal: Float[Array, "k M ..."] | None) -> Float[Array, "D ..."]:
        path = None if normal is None else DrawnIncrement(increment_of(normal))
        terms = _terms(problem, time, dt, parameters, path)
        start, end = jnp.zeros_like(dt), jnp.ones_like(dt)
        state = solver.init(terms, start, end, jnp.zeros_like(x), x)
        return solver.step(terms, start, end, jnp.zeros_like(x), x, state, False)[0]

    # Explicit schemes work on all samples as one state. Others need the Jacobian of a single sample.
    return step(x, normals) if whole else jax.vmap(step, in_axes=-1, out_axes=-1)(x, normals)


def adaptive_step(
    problem: ItoProblem,
    x: Float[Array, "D n"],
    time: Scalar,
    dt: Float[Array, ""],
    parameters: Parameters,
    key: Key | None,
) -> Float[Array, "D n"]:
    """What each sample moves by over `dt`, in steps that its own error chooses; NaN where the solver gave up."""
    solver = solver_object(problem.solver)
    own = controller_object(problem.stepsize_controller, noisy=problem.is_noisy)
    controller = FromSamples(rtol=own.rtol, atol=own.atol, norm=own.norm, controller=own)
    levy_area = brownian_kinds(solver)[1]
    shape = (n_sources(problem, x, time, parameters),) if problem.is_noisy else ()

    def one(x: Float[Array, " D"], key: Key | None) -> Float[Array, " D"]:
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

    keys = None if key is None else jax.random.split(key, x.shape[1])
    return jax.vmap(one, in_axes=(-1, 0), out_axes=-1)(x, keys)


def _terms(
    problem: ItoProblem, time: Scalar, dt: Float[Array, ""], parameters: Parameters, path: diffrax.AbstractPath | None
) -> diffrax.AbstractTerm:
    """The equation over one step, for one sample (D,) or for all in columns (D, n).

    The step is scaled to [0, 1], which is exact for any dt, however late, also in float32. y is the way from where the
    samples were, which `args` holds.
    """

    def of_samples(function: OfSample, s: Scalar, y: Float[Array, "D ..."]) -> Float[Array, "D ..."]:
        now = time + s * dt
        if y.ndim == 1:
            return function(now, y, parameters)
        return jax.vmap(lambda one: function(now, one, parameters), in_axes=-1, out_axes=-1)(y)

    def drift(s: Scalar, y: Float[Array, "D ..."], args: Float[Array, "D ..."]) -> Float[Array, "D ..."]:
        return dt * of_samples(problem.drift, s, args + y)

    def diffusion(s: Scalar, y: Float[Array, "D ..."], args: Float[Array, "D ..."]) -> Float[Array, "D ..."]:
        if callable(problem.diffusion):
            return jnp.sqrt(dt) * of_samples(problem.diffusion, s, args + y)
        amplitude = jnp.asarray(problem.diffusion, y.dtype)
        amplitude = amplitude if amplitude.ndim else jnp.full(y.shape[:1], amplitude)
        return jnp.sqrt(dt) * jnp.reshape(amplitude, amplitude.shape + (1,) * (y.ndim - 1))

    if path is None:
        return diffrax.ODETerm(drift)
    return diffrax.MultiTerm(diffrax.ODETerm(drift), NoiseTerm(diffusion, path))
