"""The run that is left out to see what the others say of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles


class LeftOut(NamedTuple):
    """A run and the others.

    Attributes:
        run: the one in the middle of the parameters.
        others: those of other parameters.
        parameters: of the run.
    """

    run: int
    others: list[int]
    parameters: Float[np.ndarray, " P"]


def run_in_the_middle(ds: xr.Dataset) -> LeftOut | None:
    """What is left out is farther from the others than anything between the runs is from all of them.

    None for runs of fewer than three different parameters.
    """
    columns = np.asarray([*ensembles.parameters(ds).values()], np.float64).reshape(-1, ds.sizes["run"])
    if len(np.unique(columns, axis=1).T) < 3:
        return None
    spread = np.maximum(columns.std(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    run = int(np.argmin((((columns - columns.mean(axis=1, keepdims=True)) / spread) ** 2).sum(axis=0)))
    others = np.flatnonzero((columns != columns[:, [run]]).any(axis=0)).tolist()
    return LeftOut(run, others, columns[:, run])
