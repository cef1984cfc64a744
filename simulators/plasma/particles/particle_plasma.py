"""What a plasma of particles in one space dimension is made of, and how finely it is resolved."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from hoam_plugin._internal.checks import either, finite_float, non_negative_float, positive_float, positive_int, refusal
from hoam_plugin._internal.static import pytree
from hoam_plugin.steppers import Variable

from .. import distributions
from ..perturbed_box import PerturbedBox
from ..phase_space import phase_space_variables
from ..species import MAXWELLIAN, Species, checked_species
from ..splitting import Integrator
from .attribute_checks import check_shared_attributes, normalise_attributes
from .shape_functions import Shape


@pytree()
class ParticlePlasma(PerturbedBox):
    """Species, fields and collisions of a population of particles, its mesh and its time step, checked.

    `VlasovPoissonPIC`, which moves them, explains the attributes.
    """

    n_cells: int = 3125
    dt: float = 0.05
    horizon: tuple[float, float] = (0.0, 40.0)
    velocity_bounds: tuple[float, float] = (-8.0, 8.0)
    velocity_scale: float = 3.0
    shape: Shape = "linear"
    integrator: Integrator = "leapfrog"
    velocity_dimensions: int = 1
    transverse_beams: Any = MAXWELLIAN
    magnetic_field: float = 0.0
    initial_density: Any = None
    species: Any = ()
    collision_frequency: float = 0.0
    collision_mean: float = 0.0
    collision_temperature: float = 1.0
    deposit: Literal["full_f", "delta_f"] = "full_f"

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        numbers = ("length", "amplitude", "dt", "velocity_scale", "magnetic_field")
        collisions = ("collision_frequency", "collision_mean", "collision_temperature")
        normalise_attributes(self, numbers=(*numbers, *collisions), tuples=("horizon", "velocity_bounds"))
        positive_float("length", self.length, wanted="a positive number")
        positive_int("n_cells", self.n_cells, 4)
        check_shared_attributes(self, self.n_cells)
        normalised: dict[str, object] = {}
        for name in ("beams", "transverse_beams"):
            normalised[name] = distributions.velocity_distribution(name, getattr(self, name), self.velocity_bounds)
        if self.initial_density is not None:
            normalised["initial_density"] = distributions.position_density(
                "initial_density", self.initial_density, self.length
            )
        normalised["species"] = checked_species(self.species, self.amplitude, self.length, self.velocity_bounds)
        for name, value in normalised.items():
            object.__setattr__(self, name, value)
        self._check_physics()

    @property
    def kinds(self) -> tuple[Species, ...]:
        """The mobile species: those given, or the electrons."""
        if self.species:
            return self.species
        start = {"beams": self.beams, "amplitude": self.amplitude, "transverse_beams": self.transverse_beams}
        return (Species("electrons", **start, initial_density=self.initial_density),)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position on the torus and velocity; with two velocity dimensions also the velocity across."""
        x, v = phase_space_variables(self.length, self.velocity_bounds, self.velocity_scale)
        # No variable has vy as its rate: nothing depends on y.
        across = dataclasses.replace(v, name="vy", velocity_of=None, long_name="velocity across x")
        return (x, v, across) if self.velocity_dimensions == 2 else (x, v)

    def _check_physics(self) -> None:
        """Raise ValueError for species, fields, collisions or a deposit that do not go together."""
        own = (self.beams, self.transverse_beams, self.initial_density)
        if self.species and own != (MAXWELLIAN, MAXWELLIAN, None):
            raise ValueError(
                "species: the start of each is part of its Species, so leave beams, transverse_beams and "
                f"initial_density of the stepper out; given {own!r}"
            )
        if self.velocity_dimensions not in (1, 2):
            raise refusal(ValueError, "velocity_dimensions", self.velocity_dimensions, "1 or 2")
        for name in ("magnetic_field", "collision_mean"):
            finite_float(name, getattr(self, name))
        for name in ("collision_frequency", "collision_temperature"):
            non_negative_float(name, getattr(self, name))
        if self.magnetic_field and self.velocity_dimensions == 1:
            raise ValueError(f"magnetic_field={self.magnetic_field!r} turns v into vy; it needs velocity_dimensions=2")
        masses = [one.mass for one in self.kinds]
        if self.collision_frequency and len(set(masses)) > 1:
            raise ValueError(
                f"collision_frequency={self.collision_frequency!r}: the noise of collisions is the same for all "
                f"samples, so all species must have one mass; they have {masses!r}"
            )
        if self.collision_frequency and self.integrator == "yoshida":
            raise ValueError(
                f"collision_frequency={self.collision_frequency!r}: integrator='yoshida' takes a step backwards, which "
                "collisions cannot; use integrator='leapfrog'"
            )
        either("deposit", self.deposit, "full_f", "delta_f")
        if self.deposit == "delta_f" and (self.collision_frequency or len(self.kinds) > 1):
            raise ValueError(
                "deposit='delta_f' follows the density along the paths of one species without collisions; use "
                "deposit='full_f'"
            )
