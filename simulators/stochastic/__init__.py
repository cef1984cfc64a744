"""Stochastic and deterministic differential equations for single samples."""

from .diffrax_stepper import DiffraxStepper
from .duffing_oscillator import Duffing, duffing
from .harmonic_oscillator import Oscillator, oscillator
from .lorenz_nine_modes import Lorenz9, lorenz9
from .trapped_particles import Trap, trap

__all__ = [
    "DiffraxStepper",
    "Duffing",
    "Lorenz9",
    "Oscillator",
    "Trap",
    "duffing",
    "lorenz9",
    "oscillator",
    "trap",
]
