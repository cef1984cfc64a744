"""Random numbers for the solvers of diffrax, drawn for a whole population at once. Imports diffrax: import it late."""

from __future__ import annotations

import math
from typing import ClassVar

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import Key, Parameters, PyTree, Scalar

from .ito_problem import ItoProblem, shape_of_constant
from .solver_choice import solver_object


class DrawnIncrement(diffrax.AbstractPath):
    """A Brownian motion that is known by its increment over one whole step alone, drawn beforehand.

    diffrax's `UnsafeBrownianPath` draws for itself: sample by sample under `vmap`, and not differentiable in time.
    """

    t0: ClassVar[float] = 0.0
    t1: ClassVar[float] = 1.0
    increment: PyTree

    def evaluate(self, t0: Scalar, t1: Scalar | None = None, left: bool = True, use_levy: bool = False) -> PyTree:
        """The increment, with its Levy areas where they are asked for."""
        return self.increment if use_levy else self.increment.W


class NoiseTerm(diffrax.ControlTerm):
    """A diffusion times a Brownian motion, diagonal or full, for one sample or for all in columns."""

    def prod(self, vf: Array, control: Array) -> Array:
        """The product; a full diffusion has one axis more than the Brownian motion."""
        return vf * control if vf.ndim == control.ndim else jnp.sum(vf * control[None], axis=1)


def draw(
    key: Key, problem: ItoProblem, x: Float[Array, "D n"], time: Scalar, parameters: Parameters
) -> Float[Array, "k M n"]:
    """Standard normal variates for a step of all samples: of the increments, and of the Levy areas a solver needs."""
    n_kinds = brownian_kinds(solver_object(problem.solver))[0]
    moved = _moved_by_noise(problem)
    n_drawn = n_sources(problem, x, time, parameters) if moved is None else sum(moved)
    normals = jax.random.normal(key, (n_kinds, n_drawn, x.shape[1]), x.dtype)
    if moved is None or all(moved):
        return normals
    # Coordinates without noise need no random numbers.
    drawn, none = iter(range(n_drawn)), jnp.zeros_like(normals[:, 0])
    return jnp.stack([normals[:, next(drawn)] if noisy else none for noisy in moved], axis=1)


def brownian_kinds(solver: diffrax.AbstractSolver) -> tuple[int, type]:
    """How many normal variates a solver takes per source and step, and diffrax's type for them."""
    needed = getattr(solver, "minimal_levy_area", diffrax.AbstractBrownianIncrement)
    if issubclass(needed, diffrax.AbstractSpaceTimeTimeLevyArea):
        return 3, diffrax.SpaceTimeTimeLevyArea
    if issubclass(needed, diffrax.AbstractSpaceTimeLevyArea):
        return 2, diffrax.SpaceTimeLevyArea
    return 1, diffrax.BrownianIncrement


def increment_of(normal: Float[Array, "k M ..."]) -> diffrax.AbstractBrownianIncrement:
    """Brownian increment over a unit of time, with variances 1, 1/12 and 1/720 of W and its Levy areas."""
    unit = jnp.ones((), normal.dtype)
    types = (diffrax.BrownianIncrement, diffrax.SpaceTimeLevyArea, diffrax.SpaceTimeTimeLevyArea)
    parts = [row * math.sqrt(variance) for row, variance in zip(normal, (1, 1 / 12, 1 / 720), strict=False)]
    return types[len(parts) - 1](unit, *parts)


def _moved_by_noise(problem: ItoProblem) -> tuple[bool, ...] | None:
    """For constant noise of each coordinate: which ones have any. None for other noise."""
    if callable(problem.diffusion) or len(shape_of_constant(problem.diffusion)) != 1:
        return None
    return tuple((np.asarray(problem.diffusion) != 0).tolist())


def n_sources(problem: ItoProblem, x: Float[Array, "D n"], time: Scalar, parameters: Parameters) -> int:
    """Number of independent Brownian motions per sample."""
    if not callable(problem.diffusion):
        shape = shape_of_constant(problem.diffusion)
        return shape[-1] if shape else x.shape[0]
    return jax.eval_shape(problem.diffusion, time, x[:, 0], parameters).shape[-1]
