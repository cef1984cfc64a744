"""How an ensemble is made: a frame of coordinates and attributes, into which arrays are put.

One data variable per state variable, one coordinate along `run` per physics parameter, `time` in physical units,
optionally `quadrature_weight(time)`; diagnostics ride along as (run, time, ...). Anybody's Dataset of this shape works.
"""

from __future__ import annotations

import datetime
import importlib.metadata
from collections.abc import Mapping, Sequence

import jax
import numpy as np
import xarray as xr

from hoam_plugin._types import Numbers
from hoam_plugin.ensembles.dataset_type import Ensemble
from hoam_plugin.ensembles.names import DIMS, PARAMETER, ROLE, has_bookkeeping_name
from hoam_plugin.ensembles.validation import validate
from hoam_plugin.steppers import Variable

# Numbers or texts, of which NumPy makes an array.
_Values = Numbers | Sequence[object]
# Dims, values and attributes, which is how xarray takes a variable.
_Described = tuple[tuple[str, ...], _Values, Mapping[str, object]]


def frame(
    times: _Values,
    parameters: Mapping[str, _Values],
    *,
    quadrature_weight: _Values | None = None,
    coordinates: Mapping[str, _Values] | None = None,
    attributes: Mapping[str, object] | None = None,
    n_runs: int | None = None,
) -> xr.Dataset:
    """An ensemble that has its coordinates and attributes but no samples yet; see `build`.

    Args:
        times: saved times, physical units.
        parameters: name to one value per run.
        quadrature_weight: weights of the saved times, summing to 1.
        coordinates: values along the extra dimensions of variables and diagnostics.
        attributes: netCDF-safe attributes of the Dataset.
        n_runs: number of runs, needed where there are no parameters.

    Example:
        >>> empty = hoam.ensemble.frame([0.0, 1.0], {"mu": [1.2, 1.4]})
        >>> dict(empty.sizes)
        {'time': 2, 'run': 2}
    """
    coords: dict[str, _Described] = {
        "time": (("time",), np.asarray(times, np.float64), {"units": "1", "long_name": "time"}),
        **{n: (("run",), np.asarray(c, np.float64), _parameter_attributes(n)) for n, c in parameters.items()},
        **{n: ((n,), np.asarray(c), {"units": "1", "long_name": n}) for n, c in (coordinates or {}).items()},
    }
    if not parameters:
        coords["run"] = (("run",), np.arange(n_runs or 1), {"long_name": "run"})
    data: dict[str, _Described] = {}
    if quadrature_weight is not None:
        weight = np.asarray(quadrature_weight, np.float64)
        data["quadrature_weight"] = (("time",), weight, {"units": "1", "long_name": "weight of the time quadrature"})
    return xr.Dataset(data, coords, {**creation_attributes(), **(attributes or {})})


def build(
    frame: xr.Dataset,
    variables: Sequence[Variable],
    samples: Mapping[str, _Values],
    diagnostic_variables: Sequence[Variable] = (),
    diagnostics: Mapping[str, _Values] | None = None,
) -> Ensemble:
    """Put arrays into a frame.

    Args:
        frame: coordinates and attributes, from `frame`.
        variables: descriptions of the sample variables, in order.
        samples: name to array of shape (run, time, sample, ...).
        diagnostic_variables: descriptions of the diagnostics.
        diagnostics: name to array of shape (run, time, ...).

    Raises:
        ValueError: as `validate`.

    Example:
        >>> empty = hoam.ensemble.frame([0.0, 1.0], {"mu": [1.2, 1.4]})
        >>> x = np.zeros((2, 2, 8), np.float32)
        >>> ds = hoam.ensemble.build(empty, [hoam.Variable("x", units="m")], {"x": x})
        >>> ds["x"].dims, ds["x"].attrs["units"]
        (('run', 'time', 'sample'), 'm')
    """
    data: dict[str, _Described] = {v.name: ((*DIMS, *v.dims), samples[v.name], v.attributes()) for v in variables}
    for v in diagnostic_variables:
        data[v.name] = (("run", "time", *v.dims), (diagnostics or {})[v.name], v.attributes())
    return validate(xr.Dataset(data, attrs=frame.attrs).merge(frame, combine_attrs="override"))


def creation_attributes() -> dict[str, str]:
    """`created_at`, `creation_library`, `creation_library_version` (the convention of arviz) and the JAX version."""
    return {
        "created_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "creation_library": "hoam-plugin",
        "creation_library_version": importlib.metadata.version("hoam-plugin"),
        "jax_version": jax.__version__,
    }


def _parameter_attributes(name: str) -> dict[str, object]:
    attributes: dict[str, object] = {"units": "1", "long_name": name}
    return {**attributes, ROLE: PARAMETER} if has_bookkeeping_name(name) else attributes
