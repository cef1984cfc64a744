"""What a plasma on a grid of phase space is made of, and how finely it is resolved."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np

from hoam_plugin._internal.checks import non_negative_float, one_of, positive_float, positive_int
from hoam_plugin._internal.static import pytree
from hoam_plugin.steppers import Variable

from .. import distributions
from ..perturbed_box import PerturbedBox, Start, check_mode
from ..phase_space import phase_space_variables
from ..species import Species, checked_species
from . import grid_ends
from .grid_ends import InitialDistribution
from .phase_space_grid import PhaseSpaceGrid
from .spectral_shift import Interpolation, require_interpolation

Collisions = Literal["none", "lenard_bernstein", "dougherty"]


@pytree()
class GridPlasma(PerturbedBox):
    """Species, collisions, nodes and time step of a distribution on a grid, checked.

    `VlasovPoissonGrid`, which moves it, explains the attributes.
    """

    species: Any = ()
    initial: InitialDistribution | None = None
    n_x: int = 128
    n_v: int = 256
    grid_bounds: Any = None
    advection_x: Interpolation = "fourier"
    advection_v: Interpolation = "spline"
    collisions: Collisions = "none"
    collision_frequency: float = 0.0
    record_distribution: bool = False
    dt: float = 0.1
    horizon: tuple[float, float] = (0.0, 40.0)
    velocity_bounds: tuple[float, float] = (-8.0, 8.0)
    velocity_scale: float = 3.0

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        for name in ("horizon", "velocity_bounds"):
            object.__setattr__(self, name, grid_ends.increasing(name, getattr(self, name)))
        for name in ("length", "dt", "velocity_scale"):
            positive_float(name, getattr(self, name), wanted="a positive number")
        check_mode(self.mode)
        one_of("start", self.start, get_args(Start))
        one_of("collisions", self.collisions, get_args(Collisions))
        for name, least in (("n_x", 4), ("n_v", 8)):
            positive_int(name, getattr(self, name), least)
        for name in ("advection_x", "advection_v"):
            require_interpolation(name, getattr(self, name))
        self._check_collisions()
        tabulated = self.velocity_bounds if self.grid_bounds is None or np.ndim(self.grid_bounds[0]) else None
        in_range = tabulated or grid_ends.increasing("grid_bounds", self.grid_bounds)
        object.__setattr__(self, "beams", distributions.velocity_distribution("beams", self.beams, in_range))
        object.__setattr__(self, "species", checked_species(self.species, self.amplitude, self.length, in_range))
        # A stepper without species has checked its amplitude nowhere yet.
        electrons = checked_species((Species("electron", beams=self.beams),), self.amplitude, self.length, in_range)
        bounds = grid_ends.checked_bounds(self.grid_bounds, self.species or electrons, self.initial is not None)
        object.__setattr__(self, "grid_bounds", bounds)
        if self.initial is not None:
            grid_ends.check_initial(self.initial, self.length, self.n_x, self.n_v, bounds[0])

    @property
    def kinds(self) -> tuple[Species, ...]:
        """All species: those given, or electrons with the stepper's own start."""
        return self.species or (Species("electron", beams=self.beams, amplitude=self.amplitude),)

    def grid(self, species: int = 0) -> PhaseSpaceGrid:
        """The grid of a species, by its number."""
        return PhaseSpaceGrid(self.length, self.n_x, self.n_v, *self.grid_bounds[species])

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position on the torus and velocity, of the samples."""
        return phase_space_variables(self.length, self.velocity_bounds, self.velocity_scale)

    @property
    def collides(self) -> bool:
        """Whether there are collisions."""
        return self.collisions != "none" and self.collision_frequency > 0

    def _check_collisions(self) -> None:
        non_negative_float("collision_frequency", self.collision_frequency, wanted="a number of at least 0")
        if self.collisions == "none" and self.collision_frequency > 0:
            raise ValueError(
                f"collision_frequency={self.collision_frequency!r} has no effect with collisions='none'; choose "
                "'lenard_bernstein' or 'dougherty'"
            )
        if self.initial is not None and self.collisions == "lenard_bernstein":
            raise ValueError(
                "collisions='lenard_bernstein' drives f to the mean and temperature of the beams, which `initial` "
                "replaces; use 'dougherty'"
            )
