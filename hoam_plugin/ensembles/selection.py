"""Parts of an ensemble: the runs of some parameters, a random subset of the samples."""

from __future__ import annotations

from typing import cast

import jax
import numpy as np
import xarray as xr

from hoam_plugin._internal.checks import numeric_array, positive_int, random_key
from hoam_plugin._types import Key
from hoam_plugin.ensembles.dataset_type import Ensemble
from hoam_plugin.ensembles.names import parameter_names, run_columns
from hoam_plugin.numerics import tolerances


def sel_run(ds: xr.Dataset, **values: object) -> Ensemble:
    """The runs whose parameters (or other numbers along `run`) equal the given values; `run` stays a dim.

    Values are equal that differ by round-off of single precision, and by far less than two values of the ensemble do.

    Args:
        ds: an ensemble.
        values: numbers along `run` by name, such as `mu=1.4`.

    Raises:
        ValueError: an unknown parameter, a value that is no number, or no such run.

    Example:
        >>> hoam.ensemble.sel_run(truth, mu=1.4).sizes["run"]
        1
    """
    mask = np.ones(ds.sizes["run"], bool)
    for name, value in values.items():
        if name not in run_columns(ds):
            raise ValueError(f"the ensemble has no parameter {name!r}; it has {parameter_names(ds)!r}")
        number = numeric_array(name, value)
        if number.size != 1 or not np.isfinite(number).all():
            raise ValueError(f"{name}={value!r} must be one finite number; ds.isel(run=[...]) selects several runs")
        column = ds[name].values.astype(np.float64)
        exact = column == number.item()
        # Round-off of the largest of a column may be more than what others differ by.
        mask &= exact if exact.any() else np.abs(column - number.item()) <= tolerances.tolerance(column)
    if not mask.any():
        have = {name: ds[name].values.tolist() for name in values}
        raise ValueError(f"no run has {values!r}; the ensemble has {have!r}")
    return cast(Ensemble, ds.isel(run=np.flatnonzero(mask)))


def subsample(ds: xr.Dataset, n_samples: int, *, key: Key) -> Ensemble:
    """A random subset of the samples (without replacement, the same in every run and at every time).

    Args:
        ds: an ensemble.
        n_samples: how many to keep of every run.
        key: JAX random key, which says which ones.

    Raises:
        ValueError: more than there are.
        TypeError: `key` is no JAX random key.

    Example:
        >>> hoam.ensemble.subsample(truth, 16, key=key).sizes["sample"]
        16
    """
    n_samples, key = positive_int("n_samples", n_samples), random_key(key)
    if n_samples > ds.sizes["sample"]:
        raise ValueError(f"n_samples={n_samples} exceeds the {ds.sizes['sample']} samples of the ensemble")
    chosen = jax.random.choice(key, ds.sizes["sample"], (n_samples,), replace=False)
    return cast(Ensemble, ds.isel(sample=np.sort(np.asarray(chosen))))
