"""Particle-in-cell solvers."""

from .vlasov_poisson_1d import VlasovPoissonPIC
from .vlasov_poisson_3d import VlasovPoissonPIC3D

__all__ = [
    "VlasovPoissonPIC",
    "VlasovPoissonPIC3D",
]
