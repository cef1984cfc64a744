"""Of Vlasov-Poisson plasmas alone: dispersion relations, diagnostics of fields and phase space."""

from hoam_plugin.plasma import diagnostics, dispersion
from hoam_plugin.plasma.linear_theory import Wave, units_of, waves_of

__all__ = [
    "Wave",
    "diagnostics",
    "dispersion",
    "units_of",
    "waves_of",
]
