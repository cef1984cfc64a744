"""What a system of screened charges is made of, and in what form its samples are."""

from __future__ import annotations

import math
from typing import Literal

from hoam_plugin._internal.checks import either, increasing_pair, non_negative_float, positive_float, positive_int
from hoam_plugin._internal.static import pytree
from hoam_plugin.steppers import Variable

View = Literal["one_body", "configuration"]


@pytree()
class ScreenedCharges:
    """A periodic square of charged particles in a bath, and the time step, checked.

    `YukawaQuench`, which moves them, explains the attributes.
    """

    n_particles: int = 512
    friction: float = 0.2
    modulation: float = 0.5
    view: View = "one_body"
    dt: float = 0.1
    horizon: tuple[float, float] = (0.0, 20.0)
    n_bins: int = 80

    def __post_init__(self) -> None:
        # Normalised here so that arguments read back from JSON give an equal, hashable stepper.
        object.__setattr__(self, "horizon", tuple(float(value) for value in self.horizon))
        positive_int("n_particles", self.n_particles, 2)
        if 2 * math.isqrt(self.n_particles // 2) ** 2 != self.n_particles:
            raise ValueError(f"n_particles={self.n_particles!r} must be twice a square, such as 128, 512 or 2048")
        positive_int("n_bins", self.n_bins)
        non_negative_float("friction", self.friction)
        if not abs(self.modulation) < 1:
            raise ValueError(f"modulation={self.modulation!r} makes the density negative; it must lie in (-1, 1)")
        either("view", self.view, "one_body", "configuration")
        positive_float("dt", self.dt, wanted="a positive number")
        increasing_pair("horizon", self.horizon, wanted="increasing")

    @property
    def length(self) -> float:
        """Period of the box along both axes: the density is 1 / pi."""
        return math.sqrt(math.pi * self.n_particles)

    @property
    def parameters(self) -> tuple[str, ...]:
        """Temperature (1 / Gamma) and screening length (1 / kappa)."""
        return ("kT", "screening_length")

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Position on the torus and velocity: of a particle, or of all particles of a replica."""
        dims = ("axis",) if self.view == "one_body" else ("particle", "axis")
        bounds = (0.0, self.length)
        return (
            Variable("x", dims=dims, period=self.length, long_name="position", bounds=bounds),
            Variable("v", dims=dims, velocity_of="x", long_name="velocity"),
        )
