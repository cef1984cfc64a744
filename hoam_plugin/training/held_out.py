"""Samples that take no part in training."""

from __future__ import annotations

import jax
import numpy as np
import xarray as xr
from jaxtyping import Int

from hoam_plugin import ensembles
from hoam_plugin._types import Key
from hoam_plugin.training.stratification import stratified_indices

Rows = list[Int[np.ndarray, " _"]]


def split(ds: xr.Dataset, n: int, key: Key) -> tuple[Rows, Rows]:
    """Which samples of every run train, and which `n` judge, the same at all of its saved times.

    Those that judge are spread evenly over the population at the first saved time, so that a quiet start stays quiet
    on either side.
    """
    seed = np.asarray(jax.random.key_data(key)).tolist()
    training, judging = [], []
    for run in range(ds.sizes["run"]):
        start = ensembles.samples(ds, run, 0)
        chosen = np.sort(stratified_indices(start, n, np.random.default_rng([*seed, run]))[0])
        judging.append(chosen)
        training.append(np.setdiff1d(np.arange(len(start)), chosen, assume_unique=True))
    return training, judging
