"""States of surrogates in jax-md's place: jax-md's own states, which also carry time and parameters."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from hoam_plugin._types import Timed

from .jax_md_modules import jax_md_simulate
from .protocols import SystemState

StateT = TypeVar("StateT")


@runtime_checkable
class SurrogateState(SystemState, Timed, Protocol):
    """What the states here have beside those of jax-md."""

    @property
    def time(self) -> jax.Array:
        """Time of the surrogate."""
        ...

    @property
    def parameters(self) -> Mapping[str, jax.Array]:
        """Physics parameters given to `init_fn`."""
        ...

    @property
    def remainder(self) -> Mapping[str, jax.Array]:
        """What rounding has cut off; see `hoam_plugin.steppers.clock`."""
        ...


_REPLACED = {
    "nve": "NVEState",
    "nvt_langevin": "NVTLangevinState",
    "nvt_nose_hoover": "NVTNoseHooverState",
    "brownian": "BrownianState",
    "nvk": "NVEState",
    "temp_rescale": "NVEState",
    "temp_berendsen": "NVEState",
    "temp_csvr": "NVTLangevinState",
}
ENSEMBLES = tuple(_REPLACED)


@functools.cache
def state_class(ensemble: str) -> type:
    """The class of states of an ensemble: a subclass of jax-md's.

    Beside jax-md's attributes it has `rng` (always), `time` (the surrogate's), `parameters` (physics parameters given
    to `init_fn`) and `remainder` (what rounding has cut off time, positions and momenta; see
    `hoam_plugin.steppers.clock`).

    Raises:
        ImportError: without the extra `jax-md`.
    """
    base: type = getattr(jax_md_simulate(), _REPLACED[ensemble])
    from jax_md import dataclasses

    own = ["time", "remainder", "parameters"]
    if "rng" not in {field.name for field in dataclasses.fields(base)}:
        own = ["rng", *own]
    attributes: dict[str, Any] = {"__annotations__": dict.fromkeys(own, Any), "__doc__": state_class.__doc__}
    if ensemble != "brownian":
        attributes["velocity"] = property(_velocity)
    return dataclasses.dataclass(type(f"Surrogate{_REPLACED[ensemble]}", (base,), attributes))


def _velocity(state: SystemState) -> jax.Array:
    """Momentum per mass."""
    return state.momentum / jnp.asarray(state.mass, state.momentum.dtype)


def check(state: StateT) -> StateT:
    """The state, after checking that it is finite: to be called outside of compiled loops, which cannot raise.

    Args:
        state: of a surrogate in jax-md's place, or any pytree.

    Raises:
        FloatingPointError: it holds NaN or infinities.

    Example:
        >>> init_fn, _ = jax_md.nvt_langevin(liquid, shift, 0.02, 0.2, gamma=1.0)
        >>> jax_md.check(init_fn(key, places)).position.shape
        (16, 2)
    """
    for name in ("position", "momentum"):
        values = getattr(state, name, None)
        if values is not None and not np.isfinite(np.asarray(values)).all():
            time = np.max(np.asarray(getattr(state, "time")))  # noqa: B009
            raise FloatingPointError(
                f"NaN from the surrogate in state.{name}, at the latest at time {time:g}: the time left the trained "
                "range (see the surrogate's horizon; with beyond='hold' its dynamics go on as at the end), a parameter "
                "did (see its ranges and on_extrapolation), the box is not the trained one, or the samples left all "
                "that was trained on"
            )
    return state
