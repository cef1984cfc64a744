"""The physics parameters of one run with twice the digits of their dtype.

In single precision a range such as [1e6, 1e6 + 10] has 160 values. A row keeps what rounding cuts off, so that a
parameter can be measured from the mean of its training runs without loss.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.checks import parameter_row
from hoam_plugin._internal.static import pytree
from hoam_plugin._types import DTypeLike, Parameters
from hoam_plugin.steppers import clock
from hoam_plugin.steppers.states import default_float


@pytree(data=("rounded", "remainders"), eq=False)
class ParameterRow(Mapping[str, jax.Array]):
    """Values by name, as any stepper takes them, and what rounding has cut off them.

    Attributes:
        rounded: name to scalar array, physical units.
        remainders: name to what is to be added.
    """

    rounded: dict[str, Array]
    remainders: dict[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.rounded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.rounded)

    def __len__(self) -> int:
        return len(self.rounded)

    def measured_from(self, name: str, origin: Float[Array, "..."], dtype: DTypeLike) -> Float[Array, "..."]:
        """A value less an origin, an array of a floating dtype; the difference in another dtype."""
        value = self.rounded[name]
        rest = clock.valid_remainder(value, self.remainders[name])
        return (clock.rounded(value - origin.astype(value.dtype)) + rest).astype(dtype)


def row_of(parameters: Parameters, expected: Sequence[str]) -> ParameterRow:
    """The row of parameters that a user gave as numbers or arrays.

    Raises:
        ValueError: unknown or missing names, or a value that is no scalar.
        TypeError: not a mapping, or a value that is no number.
    """
    if isinstance(parameters, ParameterRow) and set(parameters) == set(expected):
        return parameters
    values, remainders = {}, {}
    for name, value in parameter_row(parameters, expected).items():
        if isinstance(value, jax.Array):
            wide = jnp.issubdtype(value.dtype, jnp.floating) and value.dtype.itemsize >= 4
            own = value.dtype if wide else default_float()
            high, low = value.astype(own), jnp.zeros((), own)
        else:
            high, low = (jnp.asarray(part) for part in clock.split(np.asarray(value), default_float()))
        values[name], remainders[name] = high, low
    return ParameterRow(values, remainders)
