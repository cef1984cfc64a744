"""What `fit` takes where nothing is said."""

from __future__ import annotations

from hoam_plugin.potentials import VectorField
from hoam_plugin.training.iterations import Training

VELOCITY_TIME_HARMONICS = 8


def velocity_training(iterations: int = 8000) -> Training:
    """The default training of velocity and trajectory matching: every iteration sees eight runs at 64 saved times."""
    return Training(
        iterations=iterations, n_samples=8, n_times=64, runs_per_iteration=8, optimiser="muon", learning_rate=1e-2
    )


def velocity_field() -> VectorField:
    """The default network of velocity and trajectory matching; those of marginals resolve fewer harmonics."""
    return VectorField(harmonics=4)
