"""Checks of the attributes that particle-in-cell steppers of any dimension have."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from hoam_plugin._internal.checks import either, increasing_pair, positive_float

from ..perturbed_box import Start, check_mode
from ..species import checked_amplitude
from ..splitting import Integrator, require_integrator
from .shape_functions import Shape, require_shape


@runtime_checkable
class ParticleCode(Protocol):
    """What these steppers share, by name."""

    @property
    def amplitude(self) -> float:
        """Relative density perturbation."""
        ...

    @property
    def mode(self) -> int:
        """Number of wavelengths in the box."""
        ...

    @property
    def start(self) -> Start:
        """How samples are drawn."""
        ...

    @property
    def shape(self) -> Shape:
        """Shape function of the particles."""
        ...

    @property
    def integrator(self) -> Integrator:
        """Composition of leapfrog steps."""
        ...


def normalise_attributes(stepper: object, *, numbers: tuple[str, ...], tuples: tuple[str, ...]) -> None:
    """Turn attributes of a frozen stepper into plain floats and tuples of them.

    Those read back from JSON are then equal, and a NumPy scalar does not turn float32 samples into float64 ones.
    """
    for name in numbers:
        object.__setattr__(stepper, name, float(getattr(stepper, name)))
    for name in tuples:
        object.__setattr__(stepper, name, tuple(float(value) for value in getattr(stepper, name)))


def check_shared_attributes(stepper: ParticleCode, n_cells: int) -> None:
    """Raise ValueError for a shared attribute out of its range.

    Args:
        stepper: a particle-in-cell stepper.
        n_cells: its cells along the perturbation.
    """
    checked_amplitude(stepper.amplitude)
    check_mode(stepper.mode)
    if stepper.mode > n_cells // 2:
        raise ValueError(
            f"mode={stepper.mode!r} is finer than n_cells={n_cells!r} resolve; take at least {2 * stepper.mode} cells"
        )
    either("start", stepper.start, "quiet", "random")
    for name in ("dt", "velocity_scale"):
        positive_float(name, getattr(stepper, name), wanted="a positive number")
    for name in ("horizon", "velocity_bounds"):
        increasing_pair(name, getattr(stepper, name), wanted="increasing")
    require_shape(stepper.shape)
    require_integrator(stepper.integrator)
