"""States of a population: their classes, the precision of their arrays, and states of given samples."""

from __future__ import annotations

import dataclasses
import functools
import keyword
from collections.abc import Mapping
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped

from hoam_plugin._internal.checks import with_details
from hoam_plugin._types import ArrayLike, Key, Parameters, PyTree, SampleState, State, StateClass
from hoam_plugin.steppers import clock
from hoam_plugin.steppers.abilities import abilities_of
from hoam_plugin.steppers.contract import Stepper


@functools.cache
def state_type(names: tuple[str, ...]) -> StateClass:
    """The State class with a field per name: `time`, the names in order, `aux`, `remainder`. Same names, same class.

    Example:
        >>> from hoam_plugin.steppers import state_type
        >>> State = state_type(("x",))
        >>> State(jnp.zeros(()), jnp.ones(8)).x.shape
        (8,)
    """
    for name in names:
        require_field_name(name)
    optional = [(name, PyTree, dataclasses.field(default=())) for name in ("aux", "remainder")]
    cls = dataclasses.make_dataclass(
        "State_" + "_".join(names), ["time", *names, *optional], frozen=True, namespace={"__reduce__": _reduced}
    )
    return jax.tree_util.register_dataclass(cls, ["time", *names, "aux", "remainder"], [])


def _reduced(state: State) -> tuple[object, ...]:
    """How to pickle a State, whose class no module holds."""
    fields = [field.name for field in dataclasses.fields(state)]
    return _state_of, (tuple(fields[1:-2]), [getattr(state, name) for name in fields])


def _state_of(names: tuple[str, ...], values: list[object]) -> State:
    return state_type(names)(*values)


def require_field_name(name: str) -> None:
    """Raise ValueError for the name of a variable that no State can hold."""
    taken = ("time", "aux", "remainder")
    if not name.isidentifier() or keyword.iskeyword(name) or name in taken:
        raise ValueError(
            f"the variable name {name!r} cannot be a field of a State; rename it to a Python identifier other than "
            f"{', '.join(map(repr, taken))} and Python's own words"
        )


def default_float() -> np.dtype:
    """JAX's default float: float32, or float64 with `jax_enable_x64`."""
    return np.dtype(jax.dtypes.canonicalize_dtype(np.float64))


def require_representable(name: str, array: object) -> None:
    """Raise TypeError where converting `array` to JAX would silently drop float64 samples to float32."""
    dtype = getattr(array, "dtype", None)
    if dtype is not None and np.dtype(dtype) == np.float64 and default_float() != np.float64:
        error = TypeError(
            f"{name} is float64 but JAX is in 32-bit mode and would round it silently; call "
            "jax.config.update('jax_enable_x64', True) at start-up, or convert with .astype('float32')"
        )
        raise with_details(error, environment={"JAX_ENABLE_X64": "1"})


def as_jax(array: ArrayLike) -> Shaped[Array, "..."]:
    """An array of JAX; what a file holds in another byte order is turned around."""
    if isinstance(array, jax.Array):
        return array
    own = np.asarray(array)
    return jnp.asarray(own.astype(own.dtype.newbyteorder("="), copy=False))


def state_from_samples(
    stepper: Stepper, samples: Mapping[str, jax.Array | np.ndarray], time: float, parameters: Parameters, key: Key
) -> SampleState:
    """A state of `stepper` that holds given samples: the structure of `init`, the samples, and a fresh `aux`."""
    n_samples = next(iter(samples.values())).shape[0]
    for name, array in samples.items():
        require_representable(f"initial variable {name!r}", array)
    fields = {name: as_jax(array) for name, array in samples.items()}
    own = abilities_of(stepper).state_from_samples
    if own is not None:
        # A surrogate without a replaced stepper of the same variables: there is no `init` to take the structure from.
        return cast(SampleState, own(fields, time))
    template = jax.eval_shape(lambda k, p: stepper.init(k, n_samples, p), key, parameters)

    def empty(leaf: jax.ShapeDtypeStruct) -> Array:
        return key if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros(leaf.shape, leaf.dtype)

    state = jax.tree.map(empty, template)
    state = clock.with_time(dataclasses.replace(state, **fields), time)
    return cast(SampleState, stepper.refresh(state, parameters))
