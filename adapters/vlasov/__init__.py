"""Ensembles and states of Vlasov codes, to and fro. Imported as `hoam_plugin.adapters.vlasov`."""

from .conversion import draw, from_adept, grid_state, in_place_of, particles, to_adept

__all__ = [
    "draw",
    "from_adept",
    "grid_state",
    "in_place_of",
    "particles",
    "to_adept",
]
