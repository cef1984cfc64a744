"""The one noun: a `Stepper` moves a population of samples through time. Simulators and surrogates are steppers."""

from __future__ import annotations

import dataclasses
import functools
import keyword
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin._internal.jax_releases import require_sound_release
from hoam_plugin._types import Parameters as Parameters
from hoam_plugin._types import State as State
from hoam_plugin.steppers import clock
from hoam_plugin.steppers.variables import Variable

# All compiled parts import this module.
require_sound_release()


@runtime_checkable
class Stepper(Protocol):
    """Anything that steps a population through time. Nothing to inherit; the object itself is a pytree.

    What a stepper can do beyond this is in `hoam_plugin.steppers.abilities`.
    """

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The components of a sample, in the order of the state's fields."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the physics parameters."""
        ...

    @property
    def dt(self) -> float:
        """Default (largest) time step, physical units."""
        ...

    @property
    def horizon(self) -> tuple[float, float]:
        """Default time range: the scale of a quadrature rule for simulators, the trained range for surrogates."""
        ...

    def init(self, key: Any, n_samples: int, parameters: Parameters) -> Any:
        """Draw `n_samples` samples of the initial population. Traceable; `n_samples` is static."""
        ...

    def step(self, state: Any, dt: Any, parameters: Parameters, key: Any = None) -> Any:
        """Advance by `dt`. Pure, differentiable, vmappable over parameters."""
        ...

    def refresh(self, state: Any, parameters: Parameters) -> Any:
        """Rebuild `aux` from time and variables."""
        ...


@runtime_checkable
class TrainedStepper(Protocol):
    """What tells a surrogate from a simulator: the ranges that it was trained on."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The trained range of each physics parameter."""
        ...


@functools.cache
def state_type(names: tuple[str, ...]) -> type:
    """The State class with a field per name: `time`, the names in order, `aux`, `remainder`. Same names, same class."""
    for name in names:
        require_field_name(name)
    optional = [(name, Any, dataclasses.field(default=())) for name in ("aux", "remainder")]
    cls = dataclasses.make_dataclass(
        "State_" + "_".join(names), ["time", *names, *optional], frozen=True, namespace={"__reduce__": _reduced}
    )
    return jax.tree_util.register_dataclass(cls, ["time", *names, "aux", "remainder"], [])


def _reduced(state: Any) -> tuple[Any, ...]:
    """How to pickle a State, whose class no module holds."""
    fields = [field.name for field in dataclasses.fields(state)]
    return _state_of, (tuple(fields[1:-2]), [getattr(state, name) for name in fields])


def _state_of(names: tuple[str, ...], values: list[Any]) -> Any:
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


def require_representable(name: str, array: Any) -> None:
    """Raise TypeError where converting `array` to JAX would silently drop float64 samples to float32."""
    dtype = getattr(array, "dtype", None)
    if dtype is not None and np.dtype(dtype) == np.float64 and default_float() != np.float64:
        raise TypeError(
            f"{name} is float64 but JAX is in 32-bit mode and would round it silently; call "
            "jax.config.update('jax_enable_x64', True) at start-up, or convert with .astype('float32')"
        )


def as_jax(array: Any) -> Any:
    """An array of JAX; what a file holds in another byte order is turned around."""
    if isinstance(array, jax.Array):
        return array
    own = np.asarray(array)
    return jnp.asarray(own.astype(own.dtype.newbyteorder("="), copy=False))


def flatten_samples(state: Any, variables: Sequence[Variable]) -> Float[Array, "sample D"]:
    """The variables of a state side by side, in order, as one (sample, D) array."""
    columns = [jnp.reshape(getattr(state, v.name), (getattr(state, v.name).shape[0], -1)) for v in variables]
    return jnp.concatenate(columns, axis=-1)


def replace_samples(state: Any, variables: Sequence[Variable], x: Float[Array, "sample D"], time: Any) -> Any:
    """The state with its variables taken from the columns of `x` (inverse of `flatten_samples`) and a new time."""
    fields, start = {}, 0
    for v in variables:
        old = getattr(state, v.name)
        width = old[0].size if old.ndim > 1 else 1
        fields[v.name] = jnp.reshape(x[:, start : start + width], old.shape).astype(old.dtype)
        start += width
    return dataclasses.replace(state, time=jnp.asarray(time, jnp.asarray(state.time).dtype), **fields)


def state_from_samples(
    stepper: Stepper, samples: Mapping[str, Any], time: float, parameters: Parameters, key: Any
) -> Any:
    """A state of `stepper` that holds given samples: the structure of `init`, the samples, and a fresh `aux`."""
    n_samples = next(iter(samples.values())).shape[0]
    for name, array in samples.items():
        require_representable(f"initial variable {name!r}", array)
    fields = {name: as_jax(array) for name, array in samples.items()}
    own = getattr(stepper, "__abilities__", None)
    if own is not None and own().state_from_samples is not None:
        # A surrogate without a replaced stepper of the same variables: there is no `init` to take the structure from.
        return own().state_from_samples(fields, time)
    template = jax.eval_shape(lambda k, p: stepper.init(k, n_samples, p), key, parameters)

    def empty(leaf: Any) -> Any:
        return key if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else jnp.zeros(leaf.shape, leaf.dtype)

    state = jax.tree.map(empty, template)
    return stepper.refresh(clock.with_time(dataclasses.replace(state, **fields), time), parameters)
