"""Vlasov-Poisson plasmas, by particles and on grids of phase space, and the problems of the literature."""

from .distributions import Beam, Table, tabulate
from .grid import VlasovPoissonGrid
from .particles import VlasovPoissonPIC, VlasovPoissonPIC3D
from .phase_space import phase_space_variables
from .problems import bump_on_tail, landau_damping, strong_landau, two_stream
from .species import Species

__all__ = [
    "Beam",
    "Species",
    "Table",
    "VlasovPoissonGrid",
    "VlasovPoissonPIC",
    "VlasovPoissonPIC3D",
    "bump_on_tail",
    "landau_damping",
    "phase_space_variables",
    "strong_landau",
    "tabulate",
    "two_stream",
]
