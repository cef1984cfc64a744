"""Ensembles and states of Vlasov codes, to and fro. Imported as `hoam_plugin.adapters.vlasov`.

A surrogate that was trained on particles takes the place of a grid run by `in_place_of`. What somebody else's grid code
saved, with the dims (t, x, v) and (t, x) of adept, becomes an ensemble to train on by `from_adept`, and any ensemble of
x and v becomes such a Dataset by `to_adept`. The functions draw and deposit by `hoam_plugin.simulators`.
"""

from .draws import draw, particles
from .ensembles_from_adept import from_adept
from .ensembles_to_adept import to_adept
from .grid_states import grid_state, in_place_of

__all__ = [
    "draw",
    "from_adept",
    "grid_state",
    "in_place_of",
    "particles",
    "to_adept",
]


def __dir__() -> list[str]:
    return __all__
