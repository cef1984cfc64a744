"""The variables of a sample as columns side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from hoam_plugin._types import DTypeLike, State, StateT
from hoam_plugin.steppers.variables import Variable

# What holds the variables with a leading axis of samples: a state, or a mapping by name.
Samples: TypeAlias = State | Mapping[str, jax.Array] | Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class SampleLayout:
    """Which columns of a (sample, D) array belong to which variable. Built once, hashable, passed on.

    Attributes:
        variables: in the order of the columns.
        shapes: shape of each variable of one sample.

    Example:
        >>> from hoam_plugin.steppers import SampleLayout
        >>> arrays = {"x": state.x, "v": state.v}
        >>> layout = SampleLayout.of(sim.variables, arrays)
        >>> layout.names, layout.flattened(arrays).shape
        (('x', 'v'), (64, 2))
    """

    variables: tuple[Variable, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, variables: Sequence[Variable], arrays: Samples) -> SampleLayout:
        """The layout of a state (or mapping) that holds the variables with a leading axis of samples."""
        return cls(tuple(variables), tuple(tuple(_array(arrays, v.name).shape[1:]) for v in variables))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the variables."""
        return tuple(v.name for v in self.variables)

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of columns of each variable."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def n_columns(self) -> int:
        """Number of all columns, D."""
        return sum(self.widths)

    def columns(self, name: str) -> slice:
        """The columns of one variable."""
        index = self.names.index(name)
        start = sum(self.widths[:index])
        return slice(start, start + self.widths[index])

    def flattened(self, arrays: Samples) -> Float[Array, "sample D"]:
        """The variables of a state (or mapping) side by side."""
        found = [_array(arrays, name) for name in self.names]
        return jnp.concatenate([jnp.reshape(array, (array.shape[0], -1)) for array in found], axis=-1)

    def parts(self, x: Float[Array, "sample D"]) -> dict[str, Float[Array, "sample ..."]]:
        """The variables by name: the inverse of `flattened`."""
        return {
            name: x[:, self.columns(name)].reshape(len(x), *shape)
            for name, shape in zip(self.names, self.shapes, strict=True)
        }

    def placed(self, state: StateT, x: Float[Array, "sample D"]) -> StateT:
        """The state with other samples, in its own dtypes."""
        fields = {name: part.astype(getattr(state, name).dtype) for name, part in self.parts(x).items()}
        return dataclasses.replace(state, **fields)

    def empty(self, n_samples: int, dtype: DTypeLike) -> dict[str, Float[Array, "sample ..."]]:
        """Zeros by name."""
        return {
            name: jnp.zeros((n_samples, *shape), dtype) for name, shape in zip(self.names, self.shapes, strict=True)
        }


def _array(arrays: Samples, name: str) -> Shaped[Array, "..."] | Shaped[np.ndarray, "..."]:
    return arrays[name] if isinstance(arrays, Mapping) else getattr(arrays, name)
