"""jax-md, both ways. Imported as `hoam_plugin.adapters.jax_md`; needs the extra `jax-md` at first use.

`from_simulation` makes a simulation of jax-md a stepper; `nve`, `nvt_langevin`, `nvt_nose_hoover`, `brownian`, `nvk`,
`temp_rescale`, `temp_berendsen` and `temp_csvr` put a surrogate in the place of jax-md's functions of the same names,
`replacing` does so for a program that is not edited. `learned_energy` and `learned_force` are what a surrogate of
particles has learned, for anything that takes such functions.
"""

from .ensembles import brownian, nve, nvk, nvt_langevin, nvt_nose_hoover, temp_berendsen, temp_csvr, temp_rescale
from .neighbors import NeighborListOverflowError
from .particle_energy import learned_energy, learned_force
from .patching import replacing
from .simulation import from_simulation
from .stepper import JaxMDStepper
from .surrogate_states import check

__all__ = [
    "JaxMDStepper",
    "NeighborListOverflowError",
    "brownian",
    "check",
    "from_simulation",
    "learned_energy",
    "learned_force",
    "nve",
    "nvk",
    "nvt_langevin",
    "nvt_nose_hoover",
    "replacing",
    "temp_berendsen",
    "temp_csvr",
    "temp_rescale",
]


def __dir__() -> list[str]:
    return __all__
