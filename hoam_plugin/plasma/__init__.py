"""Of Vlasov-Poisson plasmas alone: dispersion relations, diagnostics of fields and phase space."""

from hoam_plugin.plasma import diagnostics, dispersion

__all__ = [
    "diagnostics",
    "dispersion",
]
