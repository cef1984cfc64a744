"""Codes that step as adept does. Imported as `hoam_plugin.adapters.adept`."""

from .advance import Advance, vector_field
from .fake_solver import PeriodicInterpolation, Stepper

__all__ = [
    "Advance",
    "PeriodicInterpolation",
    "Stepper",
    "vector_field",
]


def __dir__() -> list[str]:
    return __all__
