"""What all simulators of Ito equations share: the stepper's contract, met by a drift and a diffusion per sample."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row, positive_float, random_key
from hoam_plugin.dynamics import compute_dtype, remainders_for
from hoam_plugin.steppers import (
    Parameters,
    Variable,
    clock,
    default_float,
    flatten_samples,
    replace_samples,
    require_representable,
    state_type,
)

from .diffrax_solvers import check_solver


class ItoStepper:
    """Independent samples of dX = drift dt + diffusion dW (Ito), stepped by a diffrax solver, all samples at once.

    A subclass is a frozen pytree dataclass that has, as fields, properties or methods, `variables`, `parameters`, `dt`,
    `horizon` and

    - `drift(time, x, parameters) -> (D,)` for one sample x of shape (D,), its variables flattened in order;
    - `diffusion`: None, an amplitude for all coordinates, a tuple of D amplitudes, D rows of M (each row a tuple), or a
      function (time, x, parameters) -> (D,) for diagonal or (D, M) for full noise;
    - `initial(key, n_samples, parameters) -> (n_samples, D)`;
    - `additive`: whether the diffusion does not depend on x;
    - `sizes`: lengths of the variables' extra dimensions, as (name, length) pairs;
    - `solver` and `stepsize_controller`, see `DiffraxStepper`;
    - `keeps_remainders`: whether states also carry what rounding has cut off the samples.

    A step finds increments, which are added to the samples once, so that no small number is added to a large one on the
    way. The functions are given times, samples and parameters rounded to the samples' dtype, or to single precision
    where that has fewer digits.
    """

    keeps_remainders: ClassVar[bool] = False

    if TYPE_CHECKING:
        # What a subclass has, as a field, property or method.
        def __getattr__(self, name: str) -> Any: ...

    @property
    def is_noisy(self) -> bool:
        """Whether there is any noise."""
        return callable(self.diffusion) or (self.diffusion is not None and bool(np.any(self.diffusion)))

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Numbers of the entries along the extra dimensions."""
        dims = {dim for variable in self.variables for dim in variable.dims}
        known = dict(self.sizes)
        if dims - set(known):
            known |= missing_size(self.variables, self.sizes, self._width())
        return {dim: np.arange(size) for dim, size in known.items()}

    def init(self, key: Array, n_samples: int, parameters: Parameters) -> Any:
        """Draw `n_samples` samples of the initial distribution.

        Raises:
            ValueError: a missing, unknown or non-finite parameter, or an initial sample of the wrong shape.
            TypeError: samples that are not of JAX's default float type, or a key that is no JAX random key.
        """
        values = self._row(parameters, default_float())
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
        shapes = variable_shapes(self.variables, self.sizes, x.shape[1])
        ends = np.cumsum([math.prod(shape) for shape in shapes])[:-1].tolist()
        columns = jnp.split(x, ends, axis=1)
        fields = {
            v.name: jnp.reshape(column, (n_samples, *shape))
            for v, column, shape in zip(self.variables, columns, shapes, strict=True)
        }
        start = clock.at(self.horizon[0], compute_dtype(x.dtype))
        if self.keeps_remainders:
            start["remainder"] |= remainders_for(fields, self.variables)
        return state_type(tuple(fields))(**start, **fields)

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Any = None) -> Any:
        """One step of length `dt` for all samples; with a step size controller, as many as each sample needs.

        Raises:
            ValueError: no key although there is noise, a missing or unknown parameter, or a drift or diffusion of the
                wrong shape.
            TypeError: with noise, a key that is no JAX random key.
        """
        if self.is_noisy and key is None:
            raise ValueError("key=None: the noise needs random numbers; pass a key, such as jax.random.key(0)")
        key = random_key(key) if self.is_noisy else None
        x = self._columns(state).T
        time, dt = jnp.asarray(state.time).astype(x.dtype), jnp.asarray(dt, x.dtype)
        increment = self._increment(x, time, dt, self._row(parameters, x.dtype), key)
        return clock.advanced(self._moved(state, x, increment), dt)

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """The state itself: nothing is cached.

        Raises:
            ValueError: a missing or unknown parameter.
        """
        parameter_row(parameters, self.parameters)
        return state

    def rates(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, "sample ..."]]:
        """Drift of the variables, without the noise.

        Raises:
            ValueError: a missing or unknown parameter.
        """
        parameters = parameter_row(parameters, self.parameters)
        return self._of_samples(self.drift, state, parameters)

    @property
    def noise(self) -> Any:
        """`noise(state, parameters)`: amplitude of each variable's noise, where it is diagonal and additive.

        Raises:
            AttributeError: the noise is neither, or there is none, so that `hasattr` says so.
        """
        if not (self.is_noisy and self.additive and self._is_diagonal()):
            raise AttributeError(f"{type(self).__name__} has no diagonal noise that is the same for all samples")
        return self._amplitudes

    def check_numerics(self) -> None:
        """Check dt, horizon, solver and step size controller; called when a stepper is made.

        Raises:
            ValueError: one that is out of its range, or a solver that does not suit the noise.
            TypeError: a solver or a controller that is none.
        """
        positive_float("dt", self.dt)
        if not (all(map(math.isfinite, self.horizon)) and self.horizon[0] < self.horizon[1]):
            raise ValueError(f"horizon={self.horizon!r} must be increasing and finite")
        check_solver(self.solver, self.stepsize_controller, noisy=self.is_noisy, additive=self.additive)

    def _amplitudes(self, state: Any, parameters: Parameters) -> dict[str, Float[Array, "sample ..."]]:
        def amplitude(time: Any, x: Any, values: Any) -> Any:
            if callable(self.diffusion):
                return self.diffusion(time, x, values)
            return jnp.broadcast_to(jnp.asarray(self.diffusion, x.dtype), x.shape)

        return self._of_samples(amplitude, state, parameters)

    def _of_samples(self, function: Any, state: Any, parameters: Parameters) -> dict[str, Float[Array, "sample ..."]]:
        """The value of `function(time, x, parameters)` at every sample, by variable."""
        x, time, values = self._arguments(state, parameters)
        out = jax.vmap(lambda sample: function(time, sample, values))(x)
        replaced = replace_samples(state, self.variables, out, state.time)
        return {v.name: getattr(replaced, v.name) for v in self.variables}

    def _arguments(self, state: Any, parameters: Parameters) -> tuple[Float[Array, "n D"], Any, dict[str, Any]]:
        """Samples, time and parameters of one dtype."""
        x = self._columns(state)
        # What is known of a stepper may be asked for together with parameters that are not its own.
        own = {name: parameters[name] for name in self.parameters if name in parameters}
        return x, jnp.asarray(state.time).astype(x.dtype), self._row(own, x.dtype)

    def _increment(
        self, x: Float[Array, "D n"], time: Any, dt: Any, values: Parameters, key: Any
    ) -> Float[Array, "D n"]:
        """What a step adds to the samples, in columns."""
        from . import diffrax_steps

        self._check_shapes(x, time, values)
        if self.stepsize_controller is not None:
            return diffrax_steps.adaptive_step(self, x, time, dt, values, key)
        normals = diffrax_steps.draw(key, self, x, time, values) if self.is_noisy else None
        return diffrax_steps.fixed_step(self, x, time, dt, values, normals)

    def _moved(self, state: Any, x: Float[Array, "D n"], increment: Float[Array, "D n"]) -> Any:
        """The state with its samples moved; what rounding cuts off is kept where the state keeps remainders of them."""
        kept = [v.name for v in self.variables if v.name in (state.remainder or ())]
        if not (self.keeps_remainders and kept):
            return replace_samples(state, self.variables, (x + increment).T, state.time)
        fields = {v.name: clock.remainder_of(state, v.name).astype(x.dtype) for v in self.variables}
        rests = dataclasses.replace(state, **fields)
        x, rest = clock.two_sum(x, flatten_samples(rests, self.variables).T + increment)
        moved = replace_samples(state, self.variables, x.T, state.time)
        if x.dtype != getattr(state, kept[0]).dtype:
            # Samples of less than single precision lose some more.
            rest = rest + (x - self._columns(moved).T)
        rests = replace_samples(rests, self.variables, rest.T, state.time)
        return dataclasses.replace(
            moved, remainder={**state.remainder, **{name: getattr(rests, name) for name in kept}}
        )

    def _columns(self, state: Any) -> Float[Array, "n D"]:
        x = flatten_samples(state, self.variables)
        return x.astype(compute_dtype(x.dtype))

    def _row(self, parameters: Parameters, dtype: Any) -> dict[str, Any]:
        row = parameter_row(parameters, self.parameters)
        return {name: jnp.asarray(value).astype(dtype) for name, value in row.items()}

    def _check_shapes(self, x: Float[Array, "D n"], time: Any, values: Parameters) -> None:
        """Check what drift and diffusion return for one sample, without computing it."""
        n_dims = x.shape[0]
        drift = jax.eval_shape(self.drift, time, x[:, 0], values)
        if drift.shape != (n_dims,):
            raise ValueError(
                f"drift returned the shape {drift.shape} for a sample of shape ({n_dims},); both must agree"
            )
        if callable(self.diffusion):
            shape = jax.eval_shape(self.diffusion, time, x[:, 0], values).shape
        else:
            shape = np.shape(self.diffusion) or (n_dims,)
        if self.is_noisy and (len(shape) not in (1, 2) or shape[0] != n_dims):
            raise ValueError(
                f"diffusion has the shape {shape} for samples of {n_dims} coordinates; it must be ({n_dims},) for "
                f"diagonal or ({n_dims}, M) for full noise"
            )

    def _is_diagonal(self) -> bool:
        if not callable(self.diffusion):
            return np.ndim(self.diffusion) < 2
        x = jax.ShapeDtypeStruct((self._width(),), default_float())
        return jax.eval_shape(self.diffusion, self._scalar(), x, self._any_values()).ndim == 1

    def _width(self) -> int:
        """Number of coordinates of a sample."""
        return jax.eval_shape(lambda values: self.initial(jax.random.key(0), 1, values), self._any_values()).shape[1]

    def _any_values(self) -> dict[str, jax.ShapeDtypeStruct]:
        return dict.fromkeys(self.parameters, self._scalar())

    @staticmethod
    def _scalar() -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((), default_float())


def check_numbers(
    stepper: Any, *, positive: Sequence[str] = (), non_negative: Sequence[str] = (), finite: Sequence[str] = ()
) -> None:
    """Check the ranges of attributes that are numbers.

    Raises:
        ValueError: one that is not finite, or out of its range.
    """
    for names, least in ((positive, "above 0"), (non_negative, "of at least 0"), (finite, "")):
        for name in names:
            value = getattr(stepper, name)
            fits = value > 0 if names is positive else value >= 0 if names is non_negative else True
            if not (math.isfinite(value) and fits):
                raise ValueError(f"{name}={value!r} must be a finite number {least}".rstrip())


def variable_shapes(
    variables: Sequence[Variable], sizes: Sequence[tuple[str, int]], width: int
) -> tuple[tuple[int, ...], ...]:
    """Shape of each variable of a sample with `width` coordinates; one dimension's length may be left to be found.

    Raises:
        ValueError: lengths that do not make up `width` coordinates, or more than one that is not given.
    """
    known = dict(sizes)
    if any(dim not in known for v in variables for dim in v.dims):
        known |= missing_size(variables, sizes, width)
    shapes = tuple(tuple(known[dim] for dim in v.dims) for v in variables)
    total = sum(map(math.prod, shapes))
    if total != width:
        raise ValueError(
            f"sizes={known!r} make the variables {[v.name for v in variables]!r} hold {total} coordinates, but initial "
            f"returned {width}; both must agree"
        )
    return shapes


def missing_size(variables: Sequence[Variable], sizes: Sequence[tuple[str, int]], width: int) -> dict[str, int]:
    """The length of the one dimension that is not given, which makes up `width` coordinates.

    Raises:
        ValueError: several are not given, or no whole number fits.
    """
    known = dict(sizes)
    missing = sorted({dim for v in variables for dim in v.dims} - set(known))
    if len(missing) > 1:
        raise ValueError(f"sizes={known!r} lacks the lengths of {missing!r}; give all but one, such as {{'axis': 2}}")
    parts = [math.prod(known.get(dim, 1) for dim in v.dims) for v in variables]
    fixed = sum(part for part, v in zip(parts, variables, strict=True) if missing[0] not in v.dims)
    per_entry = sum(parts) - fixed
    size, rest = divmod(width - fixed, per_entry)
    if rest or size < 1:
        raise ValueError(
            f"variables={[v.name for v in variables]!r}: no length of the dimension {missing[0]!r} makes up the "
            f"{width} coordinates that initial returned"
        )
    return {missing[0]: size}
