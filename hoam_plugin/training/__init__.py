"""`fit`: from an ensemble to a surrogate."""

from hoam_plugin.training import fitting
from hoam_plugin.training.defaults import velocity_field, velocity_training
from hoam_plugin.training.fitting import fit, time_weights
from hoam_plugin.training.guard import TrainingDivergedError
from hoam_plugin.training.iterations import Progress, Setup, Training, apply_gradient, start
from hoam_plugin.training.run import TrainingInterrupted

__all__ = [
    "Progress",
    "Setup",
    "Training",
    "TrainingDivergedError",
    "TrainingInterrupted",
    "apply_gradient",
    "fit",
    "fitting",
    "start",
    "time_weights",
    "velocity_field",
    "velocity_training",
]
