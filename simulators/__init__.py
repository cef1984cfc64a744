"""The truth: simulators as steppers. Imported as `hoam_plugin.simulators`."""

from . import sampling
from .checkpointed_steps import advance
from .molecular import LennardJonesQuench, YukawaQuench, lennard_jones_quench, yukawa_quench
from .plasma import (
    Beam,
    Species,
    Table,
    VlasovPoissonGrid,
    VlasovPoissonPIC,
    VlasovPoissonPIC3D,
    bump_on_tail,
    landau_damping,
    phase_space_variables,
    strong_landau,
    tabulate,
    two_stream,
)
from .stochastic import DiffraxStepper, Duffing, Lorenz9, Oscillator, Trap, duffing, lorenz9, oscillator, trap

__all__ = [
    "Beam",
    "DiffraxStepper",
    "Duffing",
    "LennardJonesQuench",
    "Lorenz9",
    "Oscillator",
    "Species",
    "Table",
    "Trap",
    "VlasovPoissonGrid",
    "VlasovPoissonPIC",
    "VlasovPoissonPIC3D",
    "YukawaQuench",
    "advance",
    "bump_on_tail",
    "duffing",
    "landau_damping",
    "lennard_jones_quench",
    "lorenz9",
    "oscillator",
    "phase_space_variables",
    "sampling",
    "strong_landau",
    "tabulate",
    "trap",
    "two_stream",
    "yukawa_quench",
]


def __dir__() -> list[str]:
    return __all__
