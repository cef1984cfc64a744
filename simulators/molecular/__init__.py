"""Particles that act on each other."""

from .lennard_jones_fluid import LennardJonesQuench, lennard_jones_quench
from .yukawa_liquid import YukawaQuench, yukawa_quench

__all__ = [
    "LennardJonesQuench",
    "YukawaQuench",
    "lennard_jones_quench",
    "yukawa_quench",
]
