"""The trained ranges less the holes among the training runs, for what falls back to the simulator there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hoam_plugin._internal.static import pytree
from hoam_plugin._types import Scalar
from hoam_plugin.dynamics import Normalisation
from hoam_plugin.steppers import default_float
from hoam_plugin.surrogates.trained_range import TrainedRange
from hoam_plugin.surrogates.training_runs import TrainingRuns


@pytree(data=("runs", "normalisation"), eq=False)
class TrainedRegion(TrainedRange):
    """Trained ranges, of which parameters that no run is near are no part.

    Attributes:
        runs: where the training runs lie.
        normalisation: of their parameters.
    """

    runs: TrainingRuns = dataclasses.field(kw_only=True)
    normalisation: Normalisation = dataclasses.field(kw_only=True)

    def inside(self, parameters: Mapping[str, Scalar], *elapsed: Scalar) -> Bool[Array, ""]:
        """Whether all parameters and times lie in their ranges, and the parameters near a run; traceable."""
        near = distance(self.runs, self.normalisation, parameters) <= self.runs.reach
        return super().inside(parameters, *elapsed) & near


def without_holes(trained: TrainedRange, runs: TrainingRuns | None, normalisation: Normalisation) -> TrainedRange:
    """The ranges less the holes among the runs; as they are where the runs are not known."""
    if runs is None:
        return trained
    return TrainedRegion(trained.ranges, trained.horizon, trained.policy, runs=runs, normalisation=normalisation)


def distance(runs: TrainingRuns, normalisation: Normalisation, parameters: Mapping[str, Scalar]) -> Float[Array, ""]:
    """Of the parameters of one run from the nearest training run, in spacings; traceable."""
    return runs.distance(normalisation.condition_at(jnp.zeros((), default_float()), parameters)[1:])
