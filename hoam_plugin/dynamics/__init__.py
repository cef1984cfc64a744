"""What is known of the dynamics, which part is learned, and the units in which that happens."""

from hoam_plugin.dynamics.centred_states import centred, compute_dtype, remainders_for, with_centred, with_parts
from hoam_plugin.dynamics.known import Dynamics
from hoam_plugin.dynamics.moment_files import drift_arrays, drift_from
from hoam_plugin.dynamics.moments import MomentDrift, MomentMotion, moment_drift, moment_motion, whitened
from hoam_plugin.dynamics.normalisation import CONDITION_TIME_RATE, Normalisation, conditions_of, normalisation_of
from hoam_plugin.dynamics.particle_units import units_of_particles
from hoam_plugin.dynamics.population_clock import (
    PopulationClock,
    clock_attribute,
    clock_from,
    clock_through,
    recorded_clock,
)
from hoam_plugin.dynamics.population_pace import population_clock_of
from hoam_plugin.dynamics.run_weights import RunWeights, weights_of_runs
from hoam_plugin.dynamics.structure import Kind, Structure, structure_from, structure_of, with_metric

__all__ = [
    "CONDITION_TIME_RATE",
    "Dynamics",
    "Kind",
    "MomentDrift",
    "MomentMotion",
    "Normalisation",
    "PopulationClock",
    "RunWeights",
    "Structure",
    "centred",
    "clock_attribute",
    "clock_from",
    "clock_through",
    "compute_dtype",
    "conditions_of",
    "drift_arrays",
    "drift_from",
    "moment_drift",
    "moment_motion",
    "normalisation_of",
    "population_clock_of",
    "recorded_clock",
    "remainders_for",
    "structure_from",
    "structure_of",
    "units_of_particles",
    "weights_of_runs",
    "whitened",
    "with_centred",
    "with_metric",
    "with_parts",
]
