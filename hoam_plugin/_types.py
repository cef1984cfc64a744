"""Types that annotations share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import PyTree

# A number, or an array without dimensions, traced or not.
Scalar: TypeAlias = jax.Array | np.ndarray | np.number | float | int
# What users give as a number or as a list of numbers. (`numpy.typing.ArrayLike` would be checked without its floats.)
Numbers: TypeAlias = ArrayLike | Sequence[ArrayLike]
# A random key of JAX.
Key: TypeAlias = jax.Array
# The physics parameters of one run: name to scalar. What users pass is checked by `checks.parameter_row`.
Parameters: TypeAlias = Mapping[str, Any]


@runtime_checkable
class Timed(Protocol):
    """A frozen dataclass with a `time`, and perhaps a `remainder`: a State, or what keeps its time as one does."""

    # A dataclass, so that `dataclasses.replace` gives a state of the same class.
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[object]]]

    @property
    def time(self) -> Scalar:
        """Physical time of all samples."""
        ...


@runtime_checkable
class State(Timed, Protocol):
    """A frozen pytree dataclass: `time` (scalar, physical units), a field per variable (leading axis = sample), `aux`.

    `aux` is whatever else the stepper needs (field on a grid, force, cached acceleration); it is never saved. States
    made by `steppers.state_type` have one field more, `remainder`: what rounding has cut off `time` and, where a
    stepper keeps that, its variables, by name; see `hoam_plugin.steppers.clock`.
    """

    @property
    def aux(self) -> PyTree:
        """What is computed from time and variables."""
        ...


if TYPE_CHECKING:

    class SampleState(State, Protocol):
        """For type checkers: a State made by `steppers.state_type`, whose variables are attributes: `state.x`."""

        def __init__(self, *values: object, **fields: object) -> None: ...

        @property
        def remainder(self) -> PyTree:
            """What rounding has cut off; see `hoam_plugin.steppers.clock`."""
            ...

        def __getattr__(self, name: str) -> jax.Array: ...

    StateClass: TypeAlias = type[SampleState]
else:
    # At run time classes are no subclasses of a protocol with members that are no methods.
    SampleState, StateClass = State, type

# A state goes in, and one of the same class comes out.
StateT = TypeVar("StateT", bound=State)
TimedT = TypeVar("TimedT", bound=Timed)

__all__ = [
    "ArrayLike",
    "DTypeLike",
    "Key",
    "Numbers",
    "Parameters",
    "PyTree",
    "SampleState",
    "Scalar",
    "State",
    "StateClass",
    "StateT",
    "Timed",
    "TimedT",
]
