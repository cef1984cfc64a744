"""What limits a potential that was solved for: too few saved times are warned of, once, and where nothing else is."""

import warnings

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.training.trust import Distances, Errors

KEY = jax.random.key(0)
# With two and a half saved times per period, half of them are too few.
PERIODS, FEW = 4, 11
MANY = 4 * (FEW - 1) + 1


def swinging(n_times: int, mus: tuple[float, ...] = (1.0,), turns: tuple[float, ...] = (PERIODS,)) -> xr.Dataset:
    """x ~ N(mu sin(2 pi turns t), 1) on t in [0, 1], the flow of a uniform field."""
    times = np.linspace(0.0, 1.0, n_times)
    e = np.random.default_rng(0).standard_normal((len(mus), 1, 2000))
    phase = 2 * np.pi * np.asarray(turns)[:, None, None] * times[None, :, None]
    x = (e + np.asarray(mus)[:, None, None] * np.sin(phase)).astype(np.float32)
    return xr.Dataset({"x": (("run", "time", "sample"), x)}, {"time": times, "mu": ("run", list(mus))})


def solved(ds: xr.Dataset) -> tuple[str, str, list[str]]:
    """How the history says that it went and why, and all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = hoam.fit(ds, potential=hoam.SplinePotential(n_splines=16), key=KEY, progress=False)
    assert model.history is not None
    attrs = model.history.attrs
    return attrs["converged"], attrs["verdict"], [str(warning.message) for warning in caught]


def test_few_saved_times_are_warned_of_once() -> None:
    converged, verdict, said = solved(swinging(FEW))
    assert converged == "limited by the saved times"
    assert "a march through every second of the saved times, at the others, by" in verdict
    (message,) = said
    assert message.startswith("training is limited by the saved times: with every second of the saved times alone")
    assert message.endswith("more saved times would help")


def test_four_times_as_many_are_enough() -> None:
    converged, verdict, said = solved(swinging(MANY))
    assert converged == "converged"
    assert "a march through every second of the saved times, at the others, by" in verdict
    assert said == []


def test_half_of_the_samples_may_miss_the_others_by_less_than_nothing() -> None:
    """Products of differences from two sets of samples are negative as often as not where a march is right."""
    ds = swinging(MANY)
    thin = ds.assign(x=(ds["x"] - 0.7 * ds["x"].isel(time=0)).astype(np.float32))
    assert solved(thin)[0] == "converged"


def test_of_four_times_nothing_is_said() -> None:
    converged, verdict, said = solved(swinging(FEW).isel(time=slice(4)))
    assert converged == "converged"
    assert "every second of the saved times" not in verdict
    assert said == []


def test_where_there_is_doubt_already_that_is_all_that_is_said() -> None:
    """The run in the middle swings the other way, which the ones beside it do not say."""
    converged, verdict, said = solved(swinging(FEW, (0.5, 1.0, 1.5), (PERIODS, -PERIODS, PERIODS)))
    assert converged == "unstable"
    (message,) = said
    assert message.startswith("interpolated potentials of the other runs miss the population of the run in the middle")
    assert message.startswith(verdict)
    assert "saved times" not in message


def test_the_limit_is_where_populations_between_saved_times_are_missed() -> None:
    assert Errors(None, None, None).limit == ""
    assert Errors(None, None, 0.1).limit == ""
    assert "off by 40% of the farthest way" in Errors(None, None, 0.4).limit
    assert "off by inf%" in Errors(None, None, float("inf")).limit
    # One has nothing to do with the other.
    assert Errors(None, 0.1, 0.4).doubt == ""
    far, noise = np.full(4, 0.5), np.full(4, 1e-3)
    doubtful = Errors(Distances(far, noise, np.ones(4)), None, 0.4)
    assert "too thin for the splines" in doubtful.doubt
    assert doubtful.limit
    assert doubtful.sentence.count("%") == 2


@pytest.mark.parametrize("left_out", [0.31, float("inf")])
def test_what_the_other_runs_miss_is_doubt(left_out: float) -> None:
    assert "run in the middle" in Errors(None, left_out, None).doubt
