"""A small run ahead of the real one, which tells at which pace the population moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin._types import Key
from hoam_plugin.dynamics import PopulationClock, normalisation_of, population_clock_of

Clock = Literal["physical", "population"]
# (times, number of samples, key) -> ensemble.
Run: TypeAlias = Callable[[Float[np.ndarray, " T"], int, Key], xr.Dataset]

# What is enough to tell the pace.
_SAMPLES, _TIMES = 2000, 129


def clock_of_pilot(
    run: Run, horizon: tuple[float, float], n_samples: int, key: Key, *, whole: bool
) -> PopulationClock | None:
    """The clock of a population over a horizon, from 129 equal times of 2000 samples; None where its pace is even.

    Args:
        run: simulates.
        horizon: from where to where.
        n_samples: samples per run of the real thing.
        key: random key of the real thing.
        whole: the pilot has to have as many samples.
    """
    times, own_key = np.linspace(*horizon, _TIMES), jax.random.fold_in(key, 0x70)
    n_pilot = n_samples if whole else min(n_samples, _SAMPLES)
    try:
        pilot = run(times, n_pilot, own_key)
    except ValueError:
        if n_pilot == n_samples:
            raise
        # Some steppers take whole systems of particles only.
        pilot = run(times, n_samples, own_key)
    return population_clock_of(pilot, normalisation_of(pilot))
