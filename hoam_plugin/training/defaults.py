"""What `fit` takes where nothing is said."""

from __future__ import annotations

import dataclasses

import xarray as xr

from hoam_plugin.dynamics import Structure
from hoam_plugin.losses import (
    AbstractLoss,
    ActionMatching,
    MomentMatching,
    TrajectoryMatching,
    VelocityMatching,
    has_rates,
)
from hoam_plugin.training.differences import are_rates
from hoam_plugin.training.settings import Training


def default_loss(structure: Structure, ds: xr.Dataset) -> AbstractLoss:
    """The best loss that the structure and the ensemble allow."""
    if structure.knows_dynamics:
        if has_rates(ds):
            return VelocityMatching()
        if are_rates(ds, structure):
            return TrajectoryMatching()
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
