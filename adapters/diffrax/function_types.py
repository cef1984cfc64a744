"""Types of the functions in somebody's diffrax problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax

from hoam_plugin._types import Key, Parameters, PyTree, Scalar

# (key, number of samples, args) -> y of a population.
Initial: TypeAlias = Callable[[Key, int, Parameters], PyTree]
# (t, y, args) -> dy/dt.
VectorField: TypeAlias = Callable[[Scalar, PyTree, Parameters], PyTree]
# (time, x, parameters) -> a row of D numbers for a row x, or n rows for n.
OfRows: TypeAlias = Callable[[Scalar, jax.Array, Parameters], jax.Array]
