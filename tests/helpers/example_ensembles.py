"""A small ensemble with all that one can hold, shared by the tests of ensembles."""

import json

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.steppers import Variable

X = Variable("x", period=50.0, units="m", long_name="position", bounds=(0.0, 50.0))
V = Variable("v", units="m s-1", velocity_of="x", scale=3.0)
Q = Variable("q", dims=("axis",), long_name="a vector")
ENERGY = Variable("electric_energy", long_name="electric energy")
FIELD = Variable("electric_field", dims=("cell",))


def small_ensemble() -> xr.Dataset:
    """Three runs, four times, five samples; two scalar variables, a vector and two diagnostics."""
    rng = np.random.default_rng(0)
    frame = ensembles.frame(
        [0.0, 0.5, 1.25, 4.0],
        {"mu": [1.2, 1.5, 1.9], "nu": [0.1, 0.1, 0.3]},
        quadrature_weight=[0.0, 0.25, 0.5, 0.25],
        coordinates={"cell": [0.5, 1.5]},
        attributes={"seed": "[0, 1]", "dt": 0.05, "stepper": json.dumps({"name": "toy", "arguments": {"a": [1, 2]}})},
    )
    samples = {
        "x": rng.uniform(0, 50, (3, 4, 5)).astype(np.float32),
        "v": rng.normal(size=(3, 4, 5)),
        "q": rng.normal(size=(3, 4, 5, 2)).astype(np.float32),
    }
    diagnostics = {"electric_energy": rng.uniform(size=(3, 4)), "electric_field": rng.normal(size=(3, 4, 2))}
    return ensembles.build(frame, (X, V, Q), samples, (ENERGY, FIELD), diagnostics)


def assert_bitwise(a: xr.Dataset, b: xr.Dataset) -> None:
    xr.testing.assert_identical(a, b)
    assert list(a.data_vars) == list(b.data_vars)
    assert dict(a.sizes) == dict(b.sizes)
    for name in a.variables:
        assert a[name].dims == b[name].dims
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name].values, b[name].values)
        assert dict(a[name].attrs) == dict(b[name].attrs)
