"""How far several ensembles of the same runs and times come apart."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.scores import distances
from hoam_plugin.scores.distances import Coordinate


def mean_sliced_wasserstein(
    given: Sequence[xr.Dataset], coordinates: tuple[Coordinate, ...]
) -> Float[np.ndarray, " R"]:
    """The sliced 2-Wasserstein distance of every run, mean over all saved times but the first and over all pairs.

    Args:
        given: ensembles of the same runs and times.
        coordinates: columns of the samples.
    """
    n_runs, n_times = given[0].sizes["run"], given[0].sizes["time"]
    found = np.zeros(n_runs)
    for run in range(n_runs):
        values = []
        for time in range(1, n_times):
            projections = [
                distances.sorted_projections(distances.embedded(ensembles.samples(ds, run, time), coordinates))
                for ds in given
            ]
            values += [distances.sliced_wasserstein(a, b) for a, b in itertools.combinations(projections, 2)]
        found[run] = np.mean(values)
    return found
