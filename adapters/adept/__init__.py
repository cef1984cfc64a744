"""Codes that step as adept does. Imported as `hoam_plugin.adapters.adept`."""

from .advance import Advance, vector_field
from .runner import PeriodicInterpolation, Stepper

__all__ = [
    "Advance",
    "PeriodicInterpolation",
    "Stepper",
    "vector_field",
]
