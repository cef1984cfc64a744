"""Public name of `hoam_plugin.plasma.diagnostics`."""

from hoam_plugin.plasma.diagnostics import (
    INVARIANTS,
    electric_energy,
    field_spectrum,
    growth_rate,
    invariants,
    phase_space_density,
)

__all__ = [
    "INVARIANTS",
    "electric_energy",
    "field_spectrum",
    "growth_rate",
    "invariants",
    "phase_space_density",
]


def __dir__() -> list[str]:
    return __all__
