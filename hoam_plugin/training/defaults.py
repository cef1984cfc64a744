"""What `fit` takes where nothing is said."""

from __future__ import annotations

import dataclasses

import xarray as xr

from hoam_plugin.dynamics import Structure
from hoam_plugin.losses import AbstractLoss, ActionMatching, MomentMatching, VelocityMatching, has_rates
from hoam_plugin.training.settings import Training


def default_loss(structure: Structure, ds: xr.Dataset) -> AbstractLoss:
    """The best loss that the structure and the ensemble allow without trajectories."""
    if structure.knows_dynamics and has_rates(ds):
        return VelocityMatching()
    return MomentMatching() if structure.kind == "field" else ActionMatching()


def default_training(loss: AbstractLoss) -> Training:
    """`Training()` with the settings that a loss wants to be different."""
    return Training(**loss.default_training())


def velocity_training(iterations: int = 8000) -> Training:
    """The default training of velocity and trajectory matching: every iteration sees eight runs at 64 saved times.

    Args:
        iterations: number of steps of the optimiser.

    Example:
        >>> hoam.recipes.velocity_training(iterations=2000).iterations
        2000
    """
    return dataclasses.replace(default_training(VelocityMatching()), iterations=iterations)
