"""Units: whatever single precision holds is normalised alike, and what it does not hold is named."""

import hypothesis
import numpy as np
import pytest
import xarray as xr
from hypothesis import strategies as st

from hoam_plugin.dynamics import normalisation_of

SINGLE = np.finfo(np.float32)


def ensemble(mu: float = 1.0, time: float = 1.0) -> xr.Dataset:
    x = np.random.default_rng(0).standard_normal((3, 4, 8)).astype(np.float32)
    coords = {"time": time * np.arange(4), "mu": ("run", mu * (1 + np.arange(3)))}
    return xr.Dataset({"x": (("run", "time", "sample"), x)}, coords)


@hypothesis.given(exponent=st.integers(-300, 300), what=st.sampled_from(["mu", "time"]))
@hypothesis.settings(max_examples=40)
def test_units_beyond_single_precision_are_named(exponent: int, what: str) -> None:
    ds, plain = ensemble(**{what: 10.0**exponent}), normalisation_of(ensemble())
    # A standard deviation of 0.8 and times up to 3, in these units.
    if -37 <= exponent <= 37:
        found = normalisation_of(ds)
        assert found.horizon == (0.0, ds["time"].values[-1])
        np.testing.assert_allclose(found.parameter_scale / ds["mu"].values[0], plain.parameter_scale, rtol=1e-6)
    elif abs(exponent) > 38:
        with pytest.raises(
            ValueError, match=rf"{what}' has values such as .* and spreads by .*; give it in other units"
        ):
            normalisation_of(ds)


def test_a_parameter_that_rounds_to_infinity_is_named() -> None:
    ds = ensemble().assign_coords(mu=("run", [1.0, 2.0, 3.4028236e38]))
    with pytest.raises(ValueError, match=r"the parameter 'mu' has values such as 3\.40282e\+38"):
        normalisation_of(ds)


def test_samples_and_periods_beyond_single_precision_are_named() -> None:
    ds = ensemble()
    tiny = ds.assign(x=ds["x"].astype(np.float64) * 1e-42)
    with pytest.raises(
        ValueError, match=r"variable 'x' has values such as .* and spreads by .*e-43, and float32 holds"
    ):
        normalisation_of(tiny)
    ds["x"].attrs["period"] = 1e60
    with pytest.raises(ValueError, match=r"variable 'x' has values such as 0 and spreads by 2\.88675e\+59"):
        normalisation_of(ds)
