"""What training minimises: each loss in a file, and their evaluation over a batch."""

from hoam_plugin.losses import cells
from hoam_plugin.losses.batch import Batch, Nodes
from hoam_plugin.losses.evaluation import (
    DICE,
    LOSSES,
    ActionMatching,
    Loss,
    Samples,
    TrajectoryMatching,
    VelocityMatching,
    description,
    loss_and_gradient,
    loss_value,
)
from hoam_plugin.losses.targets import Targets, has_rates, relative_importance, require_targets, targets_of

__all__ = [
    "DICE",
    "LOSSES",
    "ActionMatching",
    "Batch",
    "Loss",
    "Nodes",
    "Samples",
    "Targets",
    "TrajectoryMatching",
    "VelocityMatching",
    "cells",
    "description",
    "has_rates",
    "loss_and_gradient",
    "loss_value",
    "relative_importance",
    "require_targets",
    "targets_of",
]
