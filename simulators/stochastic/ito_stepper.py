"""What all simulators of Ito equations share: the stepper's contract, met by a drift and a diffusion per sample."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import increasing_pair, parameter_row, positive_float, random_key
from hoam_plugin._types import DTypeLike, Key, Parameters, SampleState, Scalar
from hoam_plugin.dynamics import compute_dtype, remainders_for
from hoam_plugin.steppers import OfState, SampleLayout, clock, default_float, require_representable, state_type

from .ito_problem import (
    Diffusion,
    ItoProblem,
    OfSample,
    any_values,
    layout_of,
    missing_size,
    shape_of_constant,
    width_of,
)
from .solver_choice import check_solver

PerVariable = dict[str, Float[Array, "sample ..."]]


class ItoStepper:
    """Independent samples of dX = drift dt + diffusion dW (Ito), stepped by a diffrax solver, all samples at once.

    A subclass is a frozen pytree dataclass that has, as fields, properties or methods, what `ItoProblem` lists.

    A step finds increments, which are added to the samples once, so that no small number is added to a large one on the
    way. The functions are given times, samples and parameters rounded to the samples' dtype, or to single precision
    where that has fewer digits.
    """

    keeps_remainders: ClassVar[bool] = False

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Lengths of the variables' extra dimensions: none, unless a subclass says otherwise."""
        return ()

    @property
    def additive(self) -> bool:
        """Whether the noise does not depend on x: so it is, unless a subclass says otherwise."""
        return True

    @property
    def is_noisy(self) -> bool:
        """Whether there is any noise."""
        # Not `self: ItoProblem`: run-time checks of that protocol ask for this very property.
        diffusion: Diffusion = getattr(self, "diffusion")  # noqa: B009
        return callable(diffusion) or (diffusion is not None and bool(np.any(diffusion)))

    @property
    def coordinates(self: ItoProblem) -> dict[str, np.ndarray]:
        """Numbers of the entries along the extra dimensions."""
        dims = {dim for variable in self.variables for dim in variable.dims}
        known = dict(self.sizes)
        if dims - set(known):
            known |= missing_size(self.variables, self.sizes, width_of(self))
        return {dim: np.arange(size) for dim, size in known.items()}

    def init(self: ItoProblem, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """Draw `n_samples` samples of the initial distribution.

        Raises:
            ValueError: a missing, unknown or non-finite parameter, or an initial sample of the wrong shape.
            TypeError: samples that are not of JAX's default float type, or a key that is no JAX random key.
        """
        values = _row(self, parameters, default_float())
        for name, value in values.items():
            if not isinstance(value, jax.core.Tracer) and not np.isfinite(value).all():
                raise ValueError(f"parameters[{name!r}]={parameters[name]!r} must be a finite number")
        x = self.initial(random_key(key), n_samples, values)
        require_representable("what `initial` returns", x)
        x = jnp.asarray(x)
        if x.ndim != 2 or x.shape[0] != n_samples:
            raise ValueError(f"initial returned the shape {x.shape}; it must be (n_samples, D) = ({n_samples}, D)")
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError(f"initial returned {x.dtype}; samples must be floating-point numbers")
        fields = layout_of(self.variables, self.sizes, x.shape[1]).parts(x)
        state = state_type(tuple(fields))(**clock.at(self.horizon[0], compute_dtype(x.dtype)), **fields)
        if not self.keeps_remainders:
            return state
        return dataclasses.replace(state, remainder={**state.remainder, **remainders_for(fields, self.variables)})

    def step(
        self: ItoProblem, state: SampleState, dt: Scalar, parameters: Parameters, key: Key | None = None
    ) -> SampleState:
        """One step of length `dt` for all samples; with a step size controller, as many as each sample needs.

        Raises:
            ValueError: no key although there is noise, a missing or unknown parameter, or a drift or diffusion of the
                wrong shape.
            TypeError: with noise, a key that is no JAX random key.
        """
        if self.is_noisy and key is None:
            raise ValueError("key=None: the noise needs random numbers; pass a key, such as jax.random.key(0)")
        key = random_key(key) if self.is_noisy else None
        layout = SampleLayout.of(self.variables, state)
        x = _columns(state, layout).T
        time, dt = jnp.asarray(state.time).astype(x.dtype), jnp.asarray(dt, x.dtype)
        increment = _increment(self, x, time, dt, _row(self, parameters, x.dtype), key)
        moved = _moved(state, layout, x, increment, keeps_remainders=self.keeps_remainders)
        return clock.advanced(moved, dt)

    def refresh(self: ItoProblem, state: SampleState, parameters: Parameters) -> SampleState:
        """The state itself: nothing is cached.

        Raises:
            ValueError: a missing or unknown parameter.
        """
        parameter_row(parameters, self.parameters)
        return state

    def rates(self: ItoProblem, state: SampleState, parameters: Parameters) -> PerVariable:
        """Drift of the variables, without the noise.

        Raises:
            ValueError: a missing or unknown parameter.
        """
        return of_samples(self, self.drift, state, parameter_row(parameters, self.parameters))

    @property
    def noise(self: ItoProblem) -> OfState | None:
        """(state, parameters) -> amplitude of each variable's noise; None where it is not diagonal and additive."""
        if not (self.is_noisy and self.additive and _is_diagonal(self)):
            return None

        def amplitude(time: Scalar, x: Float[Array, " D"], values: Parameters) -> Float[Array, " D"]:
            if callable(self.diffusion):
                return self.diffusion(time, x, values)
            return jnp.broadcast_to(jnp.asarray(self.diffusion, x.dtype), x.shape)

        return lambda state, parameters: of_samples(self, amplitude, state, parameters)

    def check_numerics(self: ItoProblem) -> None:
        """Check dt, horizon, solver and step size controller; called when a stepper is made.

        Raises:
            ValueError: one that is out of its range, or a solver that does not suit the noise.
            TypeError: a solver or a controller that is none.
        """
        positive_float("dt", self.dt)
        increasing_pair("horizon", self.horizon)
        check_solver(self.solver, self.stepsize_controller, noisy=self.is_noisy, additive=self.additive)


def of_samples(problem: ItoProblem, function: OfSample, state: SampleState, parameters: Parameters) -> PerVariable:
    """The value of `function(time, x, parameters)` at every sample, by variable."""
    layout = SampleLayout.of(problem.variables, state)
    x = _columns(state, layout)
    # What is known of a stepper may be asked for together with parameters that are not its own.
    own = {name: parameters[name] for name in problem.parameters if name in parameters}
    time, values = jnp.asarray(state.time).astype(x.dtype), _row(problem, own, x.dtype)
    out = jax.vmap(lambda sample: function(time, sample, values))(x)
    replaced = layout.placed(state, out)
    return {name: getattr(replaced, name) for name in layout.names}


def _increment(
    problem: ItoProblem,
    x: Float[Array, "D n"],
    time: Float[Array, ""],
    dt: Float[Array, ""],
    values: Parameters,
    key: Key | None,
) -> Float[Array, "D n"]:
    """What a step adds to the samples, in columns."""
    # diffrax is heavy.
    from . import fixed_and_adaptive_steps as steps
    from .brownian_increments import draw

    _check_shapes(problem, x, time, values)
    if problem.stepsize_controller is not None:
        return steps.adaptive_step(problem, x, time, dt, values, key)
    normals = None if key is None else draw(key, problem, x, time, values)
    return steps.fixed_step(problem, x, time, dt, values, normals)


def _moved(
    state: SampleState,
    layout: SampleLayout,
    x: Float[Array, "D n"],
    increment: Float[Array, "D n"],
    *,
    keeps_remainders: bool,
) -> SampleState:
    """The state with its samples moved; what rounding cuts off is kept where the state keeps remainders of them."""
    kept = [name for name in layout.names if name in (state.remainder or ())]
    if not (keeps_remainders and kept):
        return layout.placed(state, (x + increment).T)
    fields = {name: clock.remainder_of(state, name).astype(x.dtype) for name in layout.names}
    x, rest = clock.two_sum(x, layout.flattened(fields).T + increment)
    moved = layout.placed(state, x.T)
    if x.dtype != getattr(state, kept[0]).dtype:
        # Samples of less than single precision lose some more.
        rest = rest + (x - _columns(moved, layout).T)
    rests = layout.parts(rest.T)
    return dataclasses.replace(moved, remainder={**state.remainder, **{name: rests[name] for name in kept}})


def _columns(state: SampleState, layout: SampleLayout) -> Float[Array, "n D"]:
    x = layout.flattened(state)
    return x.astype(compute_dtype(x.dtype))


def _row(problem: ItoProblem, parameters: Parameters, dtype: DTypeLike) -> dict[str, Float[Array, ""]]:
    row = parameter_row(parameters, problem.parameters)
    return {name: jnp.asarray(value).astype(dtype) for name, value in row.items()}


def _check_shapes(problem: ItoProblem, x: Float[Array, "D n"], time: Float[Array, ""], values: Parameters) -> None:
    """Check what drift and diffusion return for one sample, without computing it."""
    n_dims = x.shape[0]
    drift = jax.eval_shape(problem.drift, time, x[:, 0], values)
    if drift.shape != (n_dims,):
        raise ValueError(f"drift returned the shape {drift.shape} for a sample of shape ({n_dims},); both must agree")
    if callable(problem.diffusion):
        shape = jax.eval_shape(problem.diffusion, time, x[:, 0], values).shape
    else:
        shape = shape_of_constant(problem.diffusion) or (n_dims,)
    if problem.is_noisy and (len(shape) not in (1, 2) or shape[0] != n_dims):
        raise ValueError(
            f"diffusion has the shape {shape} for samples of {n_dims} coordinates; it must be ({n_dims},) for "
            f"diagonal or ({n_dims}, M) for full noise"
        )


def _is_diagonal(problem: ItoProblem) -> bool:
    if not callable(problem.diffusion):
        return len(shape_of_constant(problem.diffusion)) < 2
    x = jax.ShapeDtypeStruct((width_of(problem),), default_float())
    time = jax.ShapeDtypeStruct((), default_float())
    return jax.eval_shape(problem.diffusion, time, x, any_values(problem)).ndim == 1
