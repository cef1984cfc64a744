"""The learned functions: networks, how samples enter them, and their forms for each structure."""

from hoam_plugin.potentials.catalogue import POTENTIALS, description, potential_from, required_potential
from hoam_plugin.potentials.coefficients import coefficients_fit, shape_fits
from hoam_plugin.potentials.colora import CoLoRA
from hoam_plugin.potentials.committee import Committee, committee_of
from hoam_plugin.potentials.corrected import Corrected
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.features import FeaturePotential
from hoam_plugin.potentials.film import FiLM
from hoam_plugin.potentials.forms import Force, FreeField, bound, embedding_of
from hoam_plugin.potentials.interface import (
    MOST_FORWARD_DIMS,
    LearnedDrift,
    Potential,
    ScalarPotential,
    Weights,
    modulations_and_rates,
)
from hoam_plugin.potentials.mlp import MLP
from hoam_plugin.potentials.neighbourhoods import (
    Neighbourhood,
    Neighbours,
    density_values,
    moments_of_each,
    neighbour_moments,
    neighbourhood_of,
    neighbourhood_values,
    orders_of,
)
from hoam_plugin.potentials.one_body import OneBodyTerms, one_body_derivatives, one_body_terms
from hoam_plugin.potentials.particle_functions import ParticleFunctions
from hoam_plugin.potentials.particles import ParticlePotential
from hoam_plugin.potentials.radial import (
    AxisFields,
    RadialAxis,
    core_and_power,
    radial_polynomials,
    radial_slope,
    radial_splines,
    radial_value,
)
from hoam_plugin.potentials.spline import MOST_DIMS, SplinePotential
from hoam_plugin.potentials.streams import Streams, per_row
from hoam_plugin.potentials.vector_field import VectorField

__all__ = [
    "MLP",
    "MOST_DIMS",
    "MOST_FORWARD_DIMS",
    "POTENTIALS",
    "AxisFields",
    "CoLoRA",
    "Committee",
    "Corrected",
    "Embedding",
    "FeaturePotential",
    "FiLM",
    "Force",
    "FreeField",
    "LearnedDrift",
    "Neighbourhood",
    "Neighbours",
    "OneBodyTerms",
    "ParticleFunctions",
    "ParticlePotential",
    "Potential",
    "RadialAxis",
    "ScalarPotential",
    "SplinePotential",
    "Streams",
    "VectorField",
    "Weights",
    "bound",
    "coefficients_fit",
    "committee_of",
    "core_and_power",
    "density_values",
    "description",
    "embedding_of",
    "modulations_and_rates",
    "moments_of_each",
    "neighbour_moments",
    "neighbourhood_of",
    "neighbourhood_values",
    "one_body_derivatives",
    "one_body_terms",
    "orders_of",
    "per_row",
    "potential_from",
    "radial_polynomials",
    "radial_slope",
    "radial_splines",
    "radial_value",
    "required_potential",
    "shape_fits",
]
