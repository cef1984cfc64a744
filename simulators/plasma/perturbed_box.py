"""A periodic box of plasma with a wave in its density: where solvers in one space dimension start."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from hoam_plugin._internal.checks import refusal
from hoam_plugin._internal.static import pytree

from .species import MAXWELLIAN

Start = Literal["quiet", "random"]


@pytree()
class PerturbedBox:
    """The start that particle and grid codes share, and their one physics parameter.

    Attributes:
        beams: distribution of the electrons' velocities: Maxwellians as `Beam`s or their three numbers, a `Table`, or a
            callable density.
        length: period of the box.
        amplitude: relative density perturbation, |amplitude| < 1.
        mode: number of wavelengths of the perturbation in the box.
        start: "quiet" (scrambled Hammersley points through the inverse distribution function) or "random".
    """

    beams: Any = MAXWELLIAN
    length: float = 4 * math.pi
    amplitude: float = 0.01
    mode: int = 1
    start: Start = "quiet"

    @property
    def parameters(self) -> tuple[str, ...]:
        """The one physics parameter: `mu`, the Debye length scale in mu^2 E_x = charge density."""
        return ("mu",)


def check_mode(mode: int) -> None:
    """Raise ValueError for a perturbation that has no whole number of wavelengths in the box."""
    if mode != int(mode) or mode < 1:
        raise refusal(ValueError, "mode", mode, "a positive whole number: the box holds whole wavelengths")


def positive_mu(parameters: dict[str, np.ndarray], meaning: str) -> np.ndarray:
    """The parameter `mu` of all runs in double precision.

    Args:
        parameters: of all runs.
        meaning: what it is, for the message.

    Raises:
        ValueError: one of them is not positive.
    """
    mu = np.asarray(parameters["mu"], np.float64)
    if not (mu > 0).all():
        raise refusal(ValueError, "mu", mu.tolist(), f"positive: {meaning}")
    return mu
