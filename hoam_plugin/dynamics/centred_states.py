"""States as the learned dynamics sees them: samples measured from the mean of training, and back.

A rollout adds small steps, which single precision loses far from 0. What rounding cuts off when samples go back into a
state is kept in its `remainder`, where it has an entry for the variable; see `hoam_plugin.steppers.clock`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._types import DTypeLike, State, StateT
from hoam_plugin.dynamics.normalisation import Normalisation
from hoam_plugin.steppers import SampleLayout, Variable, clock


def compute_dtype(*dtypes: DTypeLike) -> DTypeLike:
    """Double precision where any of the dtypes is, else single: half precision is too coarse to step in."""
    return jnp.float64 if any(np.dtype(dtype).itemsize == 8 for dtype in dtypes) else jnp.float32


def centred(state: State, layout: SampleLayout, normalisation: Normalisation) -> Float[Array, "n D"]:
    """The samples of a state, centred, in single or double precision."""
    kept = clock.kept_remainders(state)
    values = [getattr(state, name) for name in layout.names]
    dtype = compute_dtype(*(value.dtype for value in values))
    columns = []
    for name, value in zip(layout.names, values, strict=True):
        flat = value.reshape(len(value), -1).astype(dtype)
        own = flat - normalisation.origin(dtype)[layout.columns(name)][None, :]
        if name in kept:
            rest = clock.remainder_of(state, name)
            own = clock.rounded(own) + rest.reshape(flat.shape).astype(dtype)
        columns.append(own)
    return jnp.concatenate(columns, axis=-1)


def with_centred(state: StateT, layout: SampleLayout, normalisation: Normalisation, y: Float[Array, "n D"]) -> StateT:
    """The state with other samples, rounded to its dtypes; the inverse of `centred`."""
    return with_parts(state, layout, normalisation, [y[:, layout.columns(name)] for name in layout.names])


def with_parts(
    state: StateT, layout: SampleLayout, normalisation: Normalisation, parts: Sequence[Float[Array, "n _"]]
) -> StateT:
    """`with_centred` of samples that come variable by variable: large ones need not be put side by side."""
    kept = dict(clock.kept_remainders(state))
    fields: dict[str, jax.Array] = {}
    for name, own in zip(layout.names, parts, strict=True):
        old = getattr(state, name)
        origin = normalisation.origin(own.dtype)[None, layout.columns(name)]
        value = (own + origin).astype(old.dtype)
        if name in kept:
            value, before = clock.rounded(value), kept[name]
            rest = own - clock.rounded(value.astype(own.dtype) - origin)
            kept[name] = rest.reshape(old.shape).astype(before.dtype)
        fields[name] = value.reshape(old.shape)
    return dataclasses.replace(state, **fields, **({"remainder": kept} if kept else {}))


def remainders_for(samples: Mapping[str, jax.Array], variables: Sequence[Variable]) -> dict[str, jax.Array]:
    """Empty remainders of the samples of a new state: those of variables on a torus are never far from 0."""
    free = {v.name for v in variables if v.period is None}
    return {
        name: jnp.zeros(jnp.shape(x), jnp.float32)
        for name, x in samples.items()
        if name in free and np.dtype(x.dtype) != np.float64
    }
