"""What is known of an ensemble before its runs: variables, coordinates and attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin import ensembles
from hoam_plugin._types import Key
from hoam_plugin.quadrature import Rule
from hoam_plugin.simulation.saved_times import Times
from hoam_plugin.steppers import Stepper, Variable, abilities_of


def recorded_variables(stepper: Stepper, *, rates: bool) -> tuple[Variable, ...]:
    """The variables of the samples, and their time derivatives where these are recorded as well."""
    return (*stepper.variables, *(_rate_variables(stepper.variables) if rates else ()))


def frame_of_runs(
    stepper: Stepper,
    table: Mapping[str, np.ndarray],
    saved: Float[np.ndarray, " T"],
    weights: Float[np.ndarray, " T"] | None,
    attributes: Mapping[str, object],
    *,
    n_runs: int,
    n_samples: int,
) -> xr.Dataset:
    """The ensemble without its samples."""
    able = abilities_of(stepper)
    frame = ensembles.frame(
        saved,
        table,
        quadrature_weight=weights,
        coordinates=able.coordinates,
        attributes=attributes,
        n_runs=n_runs,
    )
    return frame if able.sample_coordinates is None else frame.assign_coords(able.sample_coordinates(n_samples))


def attributes_of(stepper: Stepper, key: Key, dt: float, times: Times) -> dict[str, str | float]:
    """How the ensemble was made, and how to rebuild the stepper that made it."""
    attributes: dict[str, str | float] = {
        "seed": json.dumps(np.asarray(jax.random.key_data(key)).tolist()),
        "dt": dt,
        "configuration": json.dumps({"quadrature": str(times) if isinstance(times, Rule) else None}),
    }
    describe = abilities_of(stepper).describe
    described = None if describe is None else describe()
    if described is not None:
        name, arguments = described
        attributes["stepper"] = json.dumps({"name": name, "arguments": arguments})
    return attributes


def _rate_variables(variables: Sequence[Variable]) -> tuple[Variable, ...]:
    return tuple(
        Variable(f"{v.name}_rate", dims=v.dims, long_name=f"time derivative of {v.name}", rate_of=v.name)
        for v in variables
    )
