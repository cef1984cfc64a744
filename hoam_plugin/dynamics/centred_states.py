"""States as the learned dynamics sees them: samples measured from the mean of training, and back.

A rollout adds small steps, which single precision loses far from 0. What rounding cuts off when samples go back into a
state is kept in its `remainder`, where it has an entry for the variable; see `hoam_plugin.steppers.clock`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.dynamics.normalisation import Normalisation
from hoam_plugin.steppers import Variable, clock


def compute_dtype(*dtypes: Any) -> Any:
    """Double precision where any of the dtypes is, else single: half precision is too coarse to step in."""
    return jnp.float64 if any(np.dtype(dtype).itemsize == 8 for dtype in dtypes) else jnp.float32


def centred(state: Any, variables: Sequence[Variable], normalisation: Normalisation) -> Float[Array, "n D"]:
    """The samples of a state, centred, in single or double precision."""
    kept = state.remainder if isinstance(getattr(state, "remainder", None), dict) else {}
    values = [getattr(state, v.name) for v in variables]
    dtype = compute_dtype(*(value.dtype for value in values))
    columns, start = [], 0
    for variable, value in zip(variables, values, strict=True):
        flat = value.reshape(len(value), -1).astype(dtype)
        origin = normalisation.origin(dtype)[start : start + flat.shape[1]]
        start += flat.shape[1]
        own = flat - origin[None, :]
        if variable.name in kept:
            rest = clock.remainder_of(state, variable.name)
            own = clock.rounded(own) + rest.reshape(flat.shape).astype(dtype)
        columns.append(own)
    return jnp.concatenate(columns, axis=-1)


def with_centred(
    state: Any, variables: Sequence[Variable], normalisation: Normalisation, y: Float[Array, "n D"]
) -> Any:
    """The state with other samples, rounded to its dtypes; the inverse of `centred`."""
    parts, start = [], 0
    for variable in variables:
        old = getattr(state, variable.name)
        width = old[0].size if old.ndim > 1 else 1
        parts.append(y[:, start : start + width])
        start += width
    return with_parts(state, variables, normalisation, parts)


def with_parts(
    state: Any, variables: Sequence[Variable], normalisation: Normalisation, parts: Sequence[Float[Array, "n _"]]
) -> Any:
    """`with_centred` of samples that come variable by variable: large ones need not be put side by side."""
    kept = dict(state.remainder) if isinstance(getattr(state, "remainder", None), dict) else {}
    fields: dict[str, Any] = {}
    start = 0
    for variable, own in zip(variables, parts, strict=True):
        old = getattr(state, variable.name)
        origin = normalisation.origin(own.dtype)[None, start : start + own.shape[1]]
        start += own.shape[1]
        value = (own + origin).astype(old.dtype)
        if variable.name in kept:
            value, before = clock.rounded(value), kept[variable.name]
            rest = own - clock.rounded(value.astype(own.dtype) - origin)
            kept[variable.name] = rest.reshape(old.shape).astype(before.dtype)
        fields[variable.name] = value.reshape(old.shape)
    if kept:
        fields["remainder"] = kept
    return dataclasses.replace(state, **fields)


def remainders_for(samples: dict[str, Any], variables: Sequence[Variable]) -> dict[str, Any]:
    """Empty remainders of the samples of a new state: those of variables on a torus are never far from 0."""
    free = {v.name for v in variables if v.period is None}
    return {
        name: jnp.zeros(jnp.shape(x), jnp.float32)
        for name, x in samples.items()
        if name in free and np.dtype(x.dtype) != np.float64
    }
