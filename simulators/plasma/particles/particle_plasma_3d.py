"""What a plasma of particles in three space dimensions is made of, and how finely it is resolved."""

from __future__ import annotations

import math
from typing import Any

from hoam_plugin._internal.checks import positive_int
from hoam_plugin._internal.static import pytree
from hoam_plugin.steppers import Variable

from .. import distributions
from ..perturbed_box import Start
from ..species import MAXWELLIAN
from ..splitting import Integrator
from .attribute_checks import check_shared_attributes, normalise_attributes
from .shape_functions import Shape

POSITIONS = ("x1", "x2", "x3")
VELOCITIES = ("v1", "v2", "v3")


@pytree()
class ParticlePlasma3D:
    """The start of a population of particles, its mesh and its time step, checked.

    `VlasovPoissonPIC3D`, which moves them, explains the attributes.
    """

    lengths: tuple[float, ...] = (4 * math.pi, 1.0, 1.0)
    amplitude: float = 0.5
    mode: int = 1
    start: Start = "quiet"
    n_cells: tuple[int, ...] = (32, 4, 4)
    dt: float = 0.05
    horizon: tuple[float, float] = (0.0, 8.75)
    beams: Any = MAXWELLIAN
    transverse_beams: Any = MAXWELLIAN
    initial_density: Any = None
    velocity_bounds: tuple[float, float] = (-6.0, 6.0)
    velocity_scale: float = 1.0
    shape: Shape = "linear"
    integrator: Integrator = "leapfrog"

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        normalise_attributes(
            self, numbers=("amplitude", "dt", "velocity_scale"), tuples=("lengths", "horizon", "velocity_bounds")
        )
        if len(self.lengths) != 3 or not all(math.isfinite(length) and length > 0 for length in self.lengths):
            raise ValueError(f"lengths={self.lengths!r} must be three positive numbers, one for each axis")
        object.__setattr__(self, "n_cells", tuple(positive_int("n_cells", n, 2) for n in self.n_cells))
        if len(self.n_cells) != 3:
            raise ValueError(f"n_cells={self.n_cells!r} must be three whole numbers, one for each axis")
        check_shared_attributes(self, self.n_cells[0])
        for name in ("beams", "transverse_beams"):
            checked = distributions.velocity_distribution(name, getattr(self, name), self.velocity_bounds)
            object.__setattr__(self, name, checked)
        if self.initial_density is not None:
            table = distributions.position_density("initial_density", self.initial_density, self.lengths[0])
            object.__setattr__(self, "initial_density", table)

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one physics parameter: `mu`, the mass of a particle."""
        return ("mu",)

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Positions on the torus, each with its own period, and velocities."""
        positions = [
            Variable(name, period=length, long_name=f"position along axis {i}", bounds=(0.0, length))
            for i, (name, length) in enumerate(zip(POSITIONS, self.lengths, strict=True), 1)
        ]
        velocities = [
            Variable(
                name,
                velocity_of=position,
                long_name=f"velocity along axis {i}",
                scale=self.velocity_scale,
                bounds=self.velocity_bounds,
            )
            for i, (name, position) in enumerate(zip(VELOCITIES, POSITIONS, strict=True), 1)
        ]
        return (*positions, *velocities)
