"""Pictures of clocks show what the clocks read."""

import types

import numpy as np
import pytest
import xarray as xr

from hoam_plugin import plots
from hoam_plugin.dynamics import clock_attribute, clock_through, normalisation_of

CLOCK = clock_through([0, 0.1, 0.3, 1], [0, 0.4, 0.8, 1])


def ensemble() -> xr.Dataset:
    x = np.random.default_rng(0).standard_normal((1, 5, 40))
    return xr.Dataset({"x": (("run", "time", "sample"), x)}, {"time": np.linspace(2, 4, 5)})


def test_the_clock_of_an_ensemble_with_its_saved_times() -> None:
    ds = ensemble()
    ds.attrs |= clock_attribute(CLOCK, (2.0, 4.0))
    readings, paces = plots.clock(ds).axes
    at, tau = readings.lines[1].get_data()
    np.testing.assert_allclose(tau, CLOCK.tau_on_host((np.asarray(at) - 2) / 2))
    np.testing.assert_allclose(
        readings.lines[2].get_data(), [[2, 2.5, 3, 3.5, 4], CLOCK.tau_on_host(np.linspace(0, 1, 5))]
    )
    assert np.max(paces.lines[1].get_ydata()) > 2


def test_a_surrogate_without_a_clock_goes_with_time() -> None:
    learned = types.SimpleNamespace(normalisation=normalisation_of(ensemble()))
    readings, paces = plots.clock(types.SimpleNamespace(learned=learned)).axes
    at, tau = readings.lines[1].get_data()
    np.testing.assert_allclose(tau, (np.asarray(at) - 2) / 2)
    np.testing.assert_array_equal(paces.lines[1].get_ydata(), 1.0)


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="of=dict must be a surrogate or an ensemble"):
        plots.clock({})
