"""The learned functions: networks, how samples enter them, and their forms for each structure."""

from hoam_plugin.potentials.catalogue import MLP, POTENTIALS, CoLoRA, FiLM, Potential, VectorField, description
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.forms import Force, FreeField, bound, embedding_of
from hoam_plugin.potentials.interface import (
    MOST_FORWARD_DIMS,
    ScalarPotential,
    Streams,
    Weights,
    modulations_and_rates,
    per_row,
)

__all__ = [
    "MLP",
    "MOST_FORWARD_DIMS",
    "POTENTIALS",
    "CoLoRA",
    "Embedding",
    "FiLM",
    "Force",
    "FreeField",
    "Potential",
    "ScalarPotential",
    "Streams",
    "VectorField",
    "Weights",
    "bound",
    "description",
    "embedding_of",
    "modulations_and_rates",
    "per_row",
]
