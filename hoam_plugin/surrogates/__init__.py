"""Learned dynamics in the place of a stepper, on disk and in motion."""

from hoam_plugin.surrogates import file_format, one_step, trajectory
from hoam_plugin.surrogates.bands import SCALES, Band, Bands, Scale
from hoam_plugin.surrogates.file_contents import run_parameters
from hoam_plugin.surrogates.in_place import InPlaceOf, required_stepper
from hoam_plugin.surrogates.learned import LearnedDynamics, noise_amplitude, require_known_physics
from hoam_plugin.surrogates.loading import contents, load
from hoam_plugin.surrogates.log_density import log_prob, push_forward
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.provenance import Provenance
from hoam_plugin.surrogates.schedule import Schedule
from hoam_plugin.surrogates.surrogate import Surrogate
from hoam_plugin.surrogates.trained_range import Policy, TrainedRange, react
from hoam_plugin.surrogates.training_runs import TrainingRuns, physical_points, runs_at
from hoam_plugin.surrogates.variants import (
    annotated,
    hole_of,
    in_place_of,
    members_of,
    provenance_of,
    runs_of,
    summary,
    trained_region_of,
    with_curve_bands,
    with_learned,
    with_provenance,
)

__all__ = [
    "SCALES",
    "Band",
    "Bands",
    "InPlaceOf",
    "LearnedDynamics",
    "Options",
    "Policy",
    "Provenance",
    "Scale",
    "Schedule",
    "Surrogate",
    "TrainedRange",
    "TrainingRuns",
    "annotated",
    "contents",
    "file_format",
    "hole_of",
    "in_place_of",
    "load",
    "log_prob",
    "members_of",
    "noise_amplitude",
    "one_step",
    "physical_points",
    "provenance_of",
    "push_forward",
    "react",
    "require_known_physics",
    "required_stepper",
    "run_parameters",
    "runs_at",
    "runs_of",
    "summary",
    "trained_region_of",
    "trajectory",
    "with_curve_bands",
    "with_learned",
    "with_provenance",
]
