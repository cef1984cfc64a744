"""Checks of the attributes of particle-in-cell steppers."""

from __future__ import annotations

import math
from typing import Any

from ..species import MAXWELLIAN, checked_amplitude
from ..splitting import require_integrator
from .shape_functions import require_shape


def normalise_attributes(stepper: Any, *, numbers: tuple[str, ...], tuples: tuple[str, ...]) -> None:
    """Turn attributes of a frozen stepper into plain floats and tuples of them.

    Those read back from JSON are then equal, and a NumPy scalar does not turn float32 samples into float64 ones.
    """
    for name in numbers:
        object.__setattr__(stepper, name, float(getattr(stepper, name)))
    for name in tuples:
        object.__setattr__(stepper, name, tuple(float(value) for value in getattr(stepper, name)))


def check_positive(stepper: Any, *names: str) -> None:
    """Raise ValueError for an attribute that is no positive, finite number."""
    for name in names:
        if not (math.isfinite(getattr(stepper, name)) and getattr(stepper, name) > 0):
            raise ValueError(f"{name}={getattr(stepper, name)!r} must be a positive number")


def check_shared_attributes(stepper: Any, n_cells: int) -> None:
    """Raise ValueError for a shared attribute out of its range.

    Args:
        stepper: a particle-in-cell stepper.
        n_cells: its cells along the perturbation.
    """
    checked_amplitude(stepper.amplitude)
    if stepper.mode != int(stepper.mode) or stepper.mode < 1:
        raise ValueError(f"mode={stepper.mode!r} must be a positive whole number: the box holds whole wavelengths")
    if stepper.mode > n_cells // 2:
        raise ValueError(
            f"mode={stepper.mode!r} is finer than n_cells={n_cells!r} resolve; take at least {2 * stepper.mode} cells"
        )
    if stepper.start not in ("quiet", "random"):
        raise ValueError(f"start={stepper.start!r} must be 'quiet' or 'random'")
    check_positive(stepper, "dt", "velocity_scale")
    for name in ("horizon", "velocity_bounds"):
        low, high = getattr(stepper, name)
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{name}={(low, high)!r} must be increasing")
    require_shape(stepper.shape)
    require_integrator(stepper.integrator)


def check_particle_physics(stepper: Any) -> None:
    """Raise ValueError for species, fields, collisions or a deposit that do not go together in one dimension."""
    own = (stepper.beams, stepper.transverse_beams, stepper.initial_density)
    if stepper.species and own != (MAXWELLIAN, MAXWELLIAN, None):
        raise ValueError(
            "species: the start of each is part of its Species, so leave beams, transverse_beams and "
            f"initial_density of the stepper out; given {own!r}"
        )
    if stepper.velocity_dimensions not in (1, 2):
        raise ValueError(f"velocity_dimensions={stepper.velocity_dimensions!r} must be 1 or 2")
    for name in ("magnetic_field", "collision_mean"):
        if not math.isfinite(getattr(stepper, name)):
            raise ValueError(f"{name}={getattr(stepper, name)!r} must be a finite number")
    for name in ("collision_frequency", "collision_temperature"):
        if not (math.isfinite(getattr(stepper, name)) and getattr(stepper, name) >= 0):
            raise ValueError(f"{name}={getattr(stepper, name)!r} must be a finite number of at least 0")
    if stepper.magnetic_field and stepper.velocity_dimensions == 1:
        raise ValueError(f"magnetic_field={stepper.magnetic_field!r} turns v into vy; it needs velocity_dimensions=2")
    masses = [one.mass for one in stepper.kinds]
    if stepper.collision_frequency and len(set(masses)) > 1:
        raise ValueError(
            f"collision_frequency={stepper.collision_frequency!r}: the noise of collisions is the same for all "
            f"samples, so all species must have one mass; they have {masses!r}"
        )
    if stepper.collision_frequency and stepper.integrator == "yoshida":
        raise ValueError(
            f"collision_frequency={stepper.collision_frequency!r}: integrator='yoshida' takes a step backwards, which "
            "collisions cannot; use integrator='leapfrog'"
        )
    if stepper.deposit not in ("full_f", "delta_f"):
        raise ValueError(f"deposit={stepper.deposit!r} must be 'full_f' or 'delta_f'")
    if stepper.deposit == "delta_f" and (stepper.collision_frequency or len(stepper.kinds) > 1):
        raise ValueError(
            "deposit='delta_f' follows the density along the paths of one species without collisions; use "
            "deposit='full_f'"
        )
