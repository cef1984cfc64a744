"""Coefficients that were solved for step by step, run by run, as weights of their potential."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Normalisation, weights_of_runs
from hoam_plugin.numerics.uniform_splines import interpolating
from hoam_plugin.potentials import Weights

Column = TypeVar("Column", float, np.ndarray)


def weights_of_steps(
    ds: xr.Dataset,
    runs: Sequence[int],
    norm: Normalisation,
    taus: Float[np.ndarray, " m"],
    coefficients: Sequence[Float[np.ndarray, "n k"]],
) -> Weights:
    """As `hoam_plugin.potentials.coefficients` takes them: splines through the middles of the steps.

    Args:
        ds: the ensemble.
        runs: numbers of the runs.
        norm: of the ensemble.
        taus: the ends of the steps, normalised times.
        coefficients: for each of the runs those of every step.
    """
    from scipy.interpolate import CubicSpline

    middles = (taus[1:] + taus[:-1]) / 2
    even = np.linspace(0, 1, 2 * len(middles))
    curves = []
    for values in coefficients:
        if len(middles) > 1:
            at = np.clip(even, middles[0], middles[-1])
            values = CubicSpline(middles, values, bc_type="natural")(at)
        else:
            values = np.repeat(values, 2, axis=0)
        curves.append(interpolating(values))
    made = norm.scale.dtype
    columns = {
        str(i): standardised(i, column[list(runs)], norm) for i, column in enumerate(ensembles.parameters(ds).values())
    }
    of_runs = weights_of_runs(columns, len(runs))
    names = ("shift", "scale", "basis", "points", "table")
    return {
        "coefficients": jnp.asarray(np.stack(curves, axis=1), made),
        "runs": {name: jnp.asarray(getattr(of_runs, name), made) for name in names},
    }


def standardised(i: int, values: Column, norm: Normalisation) -> Column:
    """Of one parameter, as conditions have them."""
    return (values - float(norm.parameter_shift[i])) / float(norm.parameter_scale[i])
