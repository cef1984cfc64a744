"""The motion of moments as named arrays, as files hold them, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hoam_plugin.dynamics.moments import MomentDrift, TimeCurves
from hoam_plugin.dynamics.run_weights import RunWeights
from hoam_plugin.steppers import default_float

_OF_RUNS = ("shift", "scale", "basis", "points", "table")
_CURVES = ("means", "stretchings")
_OF_CURVES = ("knots", "values", "slopes")


def drift_arrays(drift: MomentDrift) -> dict[str, Float[np.ndarray, "..."]]:
    """Its arrays by name; `drift_from` is the inverse."""
    arrays = {f"weights/{name}": getattr(drift.weights, name) for name in _OF_RUNS}
    for curves in _CURVES:
        arrays |= {f"{curves}/{name}": getattr(getattr(drift, curves), name) for name in _OF_CURVES}
    return {name: np.asarray(values) for name, values in arrays.items()}


def drift_from(
    arrays: Mapping[str, Float[np.ndarray, "..."]], parameters: Sequence[str], columns: Sequence[int]
) -> MomentDrift:
    """A drift from its arrays.

    Args:
        arrays: see `drift_arrays`.
        parameters: names of those of the runs, in order.
        columns: the coordinates that move.

    Raises:
        KeyError: an array is missing.
    """
    made = default_float()

    def array(name: str) -> jnp.ndarray:
        return jnp.asarray(arrays[name], made)

    weights = RunWeights(tuple(parameters), *(array(f"weights/{name}") for name in _OF_RUNS))
    means, stretchings = (TimeCurves(*(array(f"{curves}/{name}") for name in _OF_CURVES)) for curves in _CURVES)
    return MomentDrift(weights, means, stretchings, tuple(columns))
