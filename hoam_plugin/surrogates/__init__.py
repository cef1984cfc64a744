"""Learned dynamics in the place of a stepper, on disk and in motion."""

from hoam_plugin.surrogates import file_format, stepping, trained_range
from hoam_plugin.surrogates.file_format import load
from hoam_plugin.surrogates.surrogate import Provenance, Surrogate, require_known_physics, required_stepper

__all__ = [
    "Provenance",
    "Surrogate",
    "file_format",
    "load",
    "require_known_physics",
    "required_stepper",
    "stepping",
    "trained_range",
]
