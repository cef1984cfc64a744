"""A semi-Lagrangian solver on a grid of phase space."""

from .vlasov_poisson_grid import VlasovPoissonGrid

__all__ = [
    "VlasovPoissonGrid",
]
