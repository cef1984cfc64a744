"""Particle-in-cell solvers."""

from .vlasov_poisson import VlasovPoissonPIC
from .vlasov_poisson_3d import VlasovPoissonPIC3D

__all__ = [
    "VlasovPoissonPIC",
    "VlasovPoissonPIC3D",
]
