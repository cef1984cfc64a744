"""How an ensemble is read: variables, parameters, samples."""

import numpy as np
from example_ensembles import Q, X

from hoam_plugin import ensembles
from hoam_plugin.steppers import Variable


def test_schema(ds):
    assert dict(ds.sizes) == {"run": 3, "time": 4, "sample": 5, "axis": 2, "cell": 2}
    assert ensembles.variables(ds) == (X, Variable("v", units="m s-1", velocity_of="x", scale=3.0, long_name="v"), Q)
    assert ensembles.variable_names(ds) == ["x", "v", "q"]
    assert ensembles.parameter_names(ds) == ["mu", "nu"]
    assert ensembles.parameters(ds, 1) == {"mu": 1.5, "nu": 0.1}
    assert ensembles.parameters(ds)["mu"].tolist() == [1.2, 1.5, 1.9]
    assert ds["electric_energy"].dims == ("run", "time")
    assert all("units" in ds[name].attrs and "long_name" in ds[name].attrs for name in ds.variables if name != "run")
    assert {"created_at", "creation_library", "creation_library_version", "jax_version"} <= set(ds.attrs)


def test_samples_lie_side_by_side_in_the_order_of_the_variables(ds):
    flat = ensembles.samples(ds, 2)
    assert flat.shape == (4, 5, 4)
    np.testing.assert_array_equal(flat[..., 1], ds["v"].values[2])
    np.testing.assert_array_equal(flat[..., 2:], ds["q"].values[2])
    np.testing.assert_array_equal(ensembles.samples(ds, 2, 3), flat[3])


def test_a_selection_of_variables_is_an_ensemble(ds):
    assert ensembles.variable_names(ensembles.validate(ds[["v"]])) == ["v"]


def test_recorded_rates_are_not_variables(ds):
    with_rates = ds.assign(x_rate=(("run", "time", "sample"), np.zeros((3, 4, 5)), {"rate_of": "x"}))
    assert ensembles.variable_names(with_rates) == ["x", "v", "q"]
