"""`fit`: from an ensemble to a surrogate."""

from hoam_plugin.training import fitting
from hoam_plugin.training.defaults import default_loss, velocity_training
from hoam_plugin.training.fitting import fit, options_of_training
from hoam_plugin.training.foresight import check
from hoam_plugin.training.guard import TrainingDivergedError
from hoam_plugin.training.iterations import OptimiserState, Setup, apply_gradient, start_of
from hoam_plugin.training.run import TrainingInterrupted
from hoam_plugin.training.settings import OPTIMISERS, Optimiser, Training

__all__ = [
    "OPTIMISERS",
    "Optimiser",
    "OptimiserState",
    "Setup",
    "Training",
    "TrainingDivergedError",
    "TrainingInterrupted",
    "apply_gradient",
    "check",
    "default_loss",
    "fit",
    "fitting",
    "options_of_training",
    "start_of",
    "velocity_training",
]
