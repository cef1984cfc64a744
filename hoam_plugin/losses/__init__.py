"""What training minimises: each loss in a file, and their evaluation over a batch."""

from hoam_plugin.losses import cells
from hoam_plugin.losses.action_matching import ActionMatching, Samples, marginal_potential, takes_pairs, without_noise
from hoam_plugin.losses.base import AbstractLoss, EntropicLoss, TrainingDefaults
from hoam_plugin.losses.batch import Batch, NodeMoments, Nodes, if_there, rows_of
from hoam_plugin.losses.catalogue import LOSSES, description, required_loss, without_own_noise
from hoam_plugin.losses.dice import DICE
from hoam_plugin.losses.evaluation import loss_and_gradient, loss_value
from hoam_plugin.losses.moment_matching import MomentMatching
from hoam_plugin.losses.targets import Targets, has_rates, rate_names, targets_from
from hoam_plugin.losses.velocity_matching import (
    TrajectoryMatching,
    VelocityMatching,
    follows_trajectories,
    velocity_field,
)
from hoam_plugin.losses.weak_form import MomentTargets

__all__ = [
    "DICE",
    "LOSSES",
    "AbstractLoss",
    "ActionMatching",
    "Batch",
    "EntropicLoss",
    "MomentMatching",
    "MomentTargets",
    "NodeMoments",
    "Nodes",
    "Samples",
    "Targets",
    "TrainingDefaults",
    "TrajectoryMatching",
    "VelocityMatching",
    "cells",
    "description",
    "follows_trajectories",
    "has_rates",
    "if_there",
    "loss_and_gradient",
    "loss_value",
    "marginal_potential",
    "rate_names",
    "required_loss",
    "rows_of",
    "takes_pairs",
    "targets_from",
    "velocity_field",
    "without_noise",
    "without_own_noise",
]
