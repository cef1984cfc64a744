"""The one noun: a `Stepper` moves a population of samples through time. Simulators and surrogates are steppers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from hoam_plugin._internal.jax_releases import require_sound_release
from hoam_plugin._types import Key, Parameters, SampleState, Scalar, State
from hoam_plugin.steppers.variables import Variable

# All compiled parts import this room.
require_sound_release()


# Every stepper takes states of its own class, which no type of an argument can say: there they are Any.
@runtime_checkable
class Stepper(Protocol):
    """Anything that steps a population through time. Nothing to inherit; the object itself is a pytree.

    What a stepper can do beyond this is in `hoam_plugin.steppers.abilities`.

    Example:
        >>> from hoam_plugin.steppers import Stepper
        >>> isinstance(sim, Stepper), isinstance(model, Stepper)
        (True, True)
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

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> State:
        """Draw `n_samples` samples of the initial population. Traceable; `n_samples` is static."""
        ...

    def step(self, state: Any, dt: Scalar, parameters: Parameters, key: Key | None = None) -> State:
        """Advance by `dt`. Pure, differentiable, vmappable over parameters."""
        ...

    def refresh(self, state: Any, parameters: Parameters) -> State:
        """Rebuild `aux` from time and variables."""
        ...


@runtime_checkable
class NamedStepper(Stepper, Protocol):
    """A stepper of which only the name is known: for type checkers, the variables of its states are attributes."""

    def init(self, key: Key, n_samples: int, parameters: Parameters) -> SampleState:
        """See `Stepper`."""
        ...

    def step(self, state: Any, dt: Scalar, parameters: Parameters, key: Key | None = None) -> SampleState:
        """See `Stepper`."""
        ...

    def refresh(self, state: Any, parameters: Parameters) -> SampleState:
        """See `Stepper`."""
        ...


@runtime_checkable
class TrainedStepper(Protocol):
    """What tells a surrogate from a simulator: the ranges that it was trained on."""

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The trained range of each physics parameter."""
        ...
