"""What an Ito equation is made of, and the shapes of its variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import finite_float, non_negative_float, positive_float
from hoam_plugin._types import Key, Parameters, Scalar
from hoam_plugin.steppers import SampleLayout, Variable, default_float

# (time, x, parameters) -> a value for one sample x.
OfSample: TypeAlias = Callable[[Scalar, Float[Array, " D"], Parameters], Float[Array, "..."]]
# (key, n_samples, parameters) -> samples of the initial distribution.
Initial: TypeAlias = Callable[[Key, int, Parameters], Float[Array, "n D"]]
Diffusion: TypeAlias = OfSample | tuple[tuple[float, ...], ...] | tuple[float, ...] | float | None


@runtime_checkable
class ItoProblem(Protocol):
    """dX = drift dt + diffusion dW, and how it is to be solved."""

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The variables of a sample."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the physics parameters."""
        ...

    @property
    def sizes(self) -> tuple[tuple[str, int], ...]:
        """Lengths of the variables' extra dimensions; one of them may be left to be found."""
        ...

    @property
    def dt(self) -> float:
        """Default time step."""
        ...

    @property
    def horizon(self) -> tuple[float, float]:
        """Default time range."""
        ...

    @property
    def drift(self) -> OfSample:
        """(time, x, parameters) -> (D,) for one sample x of shape (D,), its variables flattened in order."""
        ...

    @property
    def diffusion(self) -> Diffusion:
        """None, an amplitude for all coordinates, D amplitudes, D rows of M, or a function of one sample."""
        ...

    @property
    def initial(self) -> Initial:
        """(key, n_samples, parameters) -> (n_samples, D)."""
        ...

    @property
    def additive(self) -> bool:
        """Whether the diffusion does not depend on x."""
        ...

    @property
    def is_noisy(self) -> bool:
        """Whether there is any noise."""
        ...

    @property
    def solver(self) -> object:
        """Name of a diffrax solver, or one as an object."""
        ...

    @property
    def stepsize_controller(self) -> object:
        """None for fixed steps, (rtol, atol) or a diffrax controller."""
        ...

    @property
    def keeps_remainders(self) -> bool:
        """Whether states also carry what rounding has cut off the samples."""
        ...


def check_numbers(
    stepper: object,
    *,
    positive: Sequence[str] = (),
    non_negative: Sequence[str] = (),
    finite: Sequence[str] = (),
) -> None:
    """Check the ranges of attributes that are numbers.

    Raises:
        ValueError: one that is not finite, or out of its range.
    """
    for names, check in ((positive, positive_float), (non_negative, non_negative_float), (finite, finite_float)):
        for name in names:
            check(name, getattr(stepper, name))


def shape_of_constant(diffusion: tuple[tuple[float, ...], ...] | tuple[float, ...] | float | None) -> tuple[int, ...]:
    """The shape of a diffusion given as numbers; () for one number or none."""
    return () if diffusion is None else np.asarray(diffusion).shape


def width_of(problem: ItoProblem) -> int:
    """Number of coordinates of a sample."""
    return jax.eval_shape(lambda values: problem.initial(jax.random.key(0), 1, values), any_values(problem)).shape[1]


def any_values(problem: ItoProblem) -> dict[str, jax.ShapeDtypeStruct]:
    """Parameters that stand for any others when shapes are found."""
    return dict.fromkeys(problem.parameters, jax.ShapeDtypeStruct((), default_float()))


def layout_of(variables: Sequence[Variable], sizes: Sequence[tuple[str, int]], width: int) -> SampleLayout:
    """The variables of a sample with `width` coordinates; one dimension's length may be left to be found.

    Raises:
        ValueError: lengths that do not make up `width` coordinates, or more than one that is not given.
    """
    known = dict(sizes)
    if any(dim not in known for v in variables for dim in v.dims):
        known |= missing_size(variables, sizes, width)
    layout = SampleLayout(tuple(variables), tuple(tuple(known[dim] for dim in v.dims) for v in variables))
    if layout.n_columns != width:
        raise ValueError(
            f"sizes={known!r} make the variables {list(layout.names)!r} hold {layout.n_columns} coordinates, but "
            f"initial returned {width}; both must agree"
        )
    return layout


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
