"""A semi-Lagrangian solver on a grid of phase space."""

from .vlasov_poisson import VlasovPoissonGrid

__all__ = [
    "VlasovPoissonGrid",
]
