"""The runs that training reads, and their samples on the device, which iterations draw from."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int

from hoam_plugin.dynamics import Dynamics
from hoam_plugin.losses import AbstractLoss, Targets


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """Runs of training or validation, and what the loss makes of them.

    Attributes:
        ensemble: in memory or on disk.
        dynamics: normalisation and structure of its samples, and what is known of their motion.
        loss: with all of its choices.
        node_weights: quadrature weights of its saved times.
        targets: what the learned drift is matched to, or None.
    """

    ensemble: xr.Dataset
    dynamics: Dynamics
    loss: AbstractLoss
    node_weights: Float[np.ndarray, " T"]
    targets: Targets | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingData:
    """All runs on the device, in normalised units.

    Attributes:
        points: samples of every run and saved time, in stratified subsets; see `hoam_plugin.training.stratification`.
        end_points: samples at both ends of the time range, in larger stratified subsets.
        conditions: time and parameters of every run and saved time.
        weights: quadrature weight of every saved time; times of weight 0 are never used, except the two ends.
        nodes: indices of the saved times whose weight is positive.
        reference: a few points spread over the population of all runs and times, which fix the gauge of the potential.
        targets: what the learned drift of every sample should be, or None.
        multiplicity: weight of every sample over the mean weight, or None where all have the same.
        variance: of the velocity of the samples that each point stands for, where it stands for those of a cell.
        importance: factor of every run's and saved time's part of the loss, or None for 1.
        dynamics: what is known, or None.
    """

    points: Float[Array, "R T B n D"]
    end_points: Float[Array, "R 2 E m D"]
    conditions: Float[Array, "R T C"]
    weights: Float[Array, " T"]
    nodes: Int[Array, " nodes"]
    reference: Float[Array, "k D"]
    targets: Float[Array, "R T B n Y"] | None = None
    multiplicity: Float[Array, "R T B n"] | None = None
    variance: Float[Array, "R T B n"] | None = None
    importance: Float[Array, "R T"] | None = None
    dynamics: Dynamics | None = None
