"""Particles that act on each other."""

from .yukawa_liquid import YukawaQuench, yukawa_quench

__all__ = [
    "YukawaQuench",
    "yukawa_quench",
]
