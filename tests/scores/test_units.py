"""Scores are dimensionless: they do not depend on units, nor on where the origins of positions, times and parameters
lie. All tolerances come from spans, gaps and units in the last place."""

import functools

import hypothesis
import numpy as np
import pytest
import xarray as xr
from hypothesis import strategies as st

from hoam_plugin import ensembles, plots
from hoam_plugin.scores import compare
from hoam_plugin.scores.distances import coordinates_of, embedded, moments
from hoam_plugin.steppers import Variable

TIMES = np.arange(9) / 2
BOLTZMANN = 1.380649e-23
# Powers of two: no digit is lost. From 8e-25 to 1e6.
SCALES = st.integers(-80, 20).map(lambda k: 2.0**k)
# In units of the spread: single precision still resolves a hundredth of it or so.
SHIFTS = st.sampled_from([0.0, -3.0, 1e5, -1e6])
JAXOPT = pytest.mark.filterwarnings("ignore:JAXopt:DeprecationWarning")


@functools.cache
def plain(mu: tuple[float, ...], seed: int) -> xr.Dataset:
    """Two coordinates without scale, bounds or period; multiples of 1/16, so that shifts lose nothing either."""
    rng = np.random.default_rng(seed)
    shape = (len(mu), len(TIMES), 200)
    drift = np.asarray(mu)[:, None, None] * TIMES[None, :, None]
    samples = {
        name: (np.round((rng.standard_normal(shape) * 3 + drift) * 16) / 16).astype(np.float32) for name in ("x", "v")
    }
    energy = {"electric_energy": np.asarray(mu)[:, None] ** 2 * (1 + TIMES)}
    frame = ensembles.frame(TIMES, {"mu": mu})
    return ensembles.build(frame, (Variable("x"), Variable("v")), samples, (Variable("electric_energy"),), energy)


def moved(ds: xr.Dataset, **maps: tuple[float, float]) -> xr.Dataset:
    """Every named quantity q as scale * (q + shift), in its own dtype."""
    new = {
        name: (ds[name].dims, ((ds[name] + shift) * scale).astype(ds[name].dtype).values)
        for name, (scale, shift) in maps.items()
    }
    return ds.assign({n: v for n, v in new.items() if n in ds.data_vars}).assign_coords(
        {n: v for n, v in new.items() if n in ds.coords}
    )


def scores(change=lambda ds: ds, **options) -> xr.Dataset:
    truth, other = change(plain((1.25, 1.5), 0)), change(plain((1.25, 1.5), 1))
    training, floor = change(plain((1.0, 1.75, 2.0), 2)), change(plain((1.25, 1.5), 3))
    return compare(truth, other, training=training, floor=floor, **options)


def assert_equal_scores(one: xr.Dataset, other: xr.Dataset, rtol: float, histogram: float) -> None:
    # The paper's own errors of moments are relative to moments in raw units, measured from the user's origin.
    for name in set(one) - {"mean_l2", "variance_l2"}:
        tolerance = {"rtol": 0.0, "atol": histogram} if name == "histogram_l1" else {"rtol": rtol, "atol": 0.0}
        np.testing.assert_allclose(other[name].values, one[name].values, **tolerance, err_msg=str(name))


@functools.cache
def expected() -> xr.Dataset:
    return scores()


@pytest.mark.long
@hypothesis.given(x=SCALES, v=SCALES, time=SCALES, mu=SCALES, shifts=st.tuples(*[SHIFTS] * 4))
@hypothesis.settings(max_examples=15)
def test_scores_do_not_depend_on_units_and_origins(x, v, time, mu, shifts):
    maps = dict(zip(("x", "v", "time", "mu"), zip((x, v, time, mu), shifts, strict=True), strict=True))
    assert_equal_scores(expected(), scores(lambda ds: moved(ds, **maps)), rtol=1e-5, histogram=1e-12)


@pytest.mark.parametrize("scale", [1e-24, 3.7e5])
def test_scores_in_other_units_agree_to_rounding(scale):
    changed = scores(lambda ds: moved(ds, x=(scale, 0.0), v=(1 / scale, 0.0), time=(scale, 0.0), mu=(scale, 0.0)))
    # Samples on the edge of a bin may round into the next.
    assert_equal_scores(expected(), changed, rtol=1e-5, histogram=0.05)


def test_scores_of_an_energy_in_joules():
    joules = lambda ds: ds.assign(electric_energy=ds["electric_energy"] * 1e-24)  # noqa: E731
    assert_equal_scores(expected(), scores(joules), rtol=1e-9, histogram=0.0)


@pytest.mark.long
@JAXOPT
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_sinkhorn_of_samples_far_off_is_that_of_the_same_samples_near(shift):
    truth, other = plain((1.0,), 0).isel(time=[0, 8]), plain((1.0,), 1).isel(time=[0, 8])
    near = compare(truth, other, sinkhorn=True)["sinkhorn_divergence"]
    change = functools.partial(moved, x=(2.0**-80, shift), v=(2.0**20, -shift))
    far = compare(change(truth), change(other), sinkhorn=True)["sinkhorn_divergence"]
    assert (far.sel(reference=["surrogate", "frozen"]) > 0).all()
    np.testing.assert_allclose(far, near, rtol=1e-4)


def test_moments_of_samples_of_any_size():
    for scale, shift in ((1e30, 0.0), (1e-30, 0.0), (1.0, 1e6)):
        ds = moved(plain((1.0,), 0), x=(scale, shift))
        _, covariance = moments(embedded(ensembles.samples(ds, 0, 3), coordinates_of(ds)))
        _, own = moments(embedded(ensembles.samples(plain((1.0,), 0), 0, 3), coordinates_of(plain((1.0,), 0))))
        np.testing.assert_allclose(covariance, own, rtol=1e-5)


def test_samples_that_have_run_away_count_as_far_off():
    truth = plain((1.0,), 0)
    away = truth.assign(x=truth["x"] + np.float32(1e30) * plain((1.0,), 1)["v"])
    table = compare(truth, away).sel(reference="surrogate")
    # Its samples are in no bin.
    assert float(table["histogram_l1"][0]) == pytest.approx(1.0, abs=0.02)
    for name in ("mean_error", "covariance_error", "sliced_wasserstein"):
        assert 1e25 < float(table[name][0]) < np.inf


@pytest.mark.parametrize("scale", [1.0, 1e-24])
def test_a_truth_without_spread_is_measured_by_what_stands_beside_it(scale):
    truth = moved(plain((1.0,), 0), v=(0.0, 0.0))
    other = truth.assign(v=(plain((1.0,), 1)["v"] * scale).astype(np.float32))
    table = compare(truth, other).sel(reference="surrogate")
    reference = compare(truth, truth.assign(v=plain((1.0,), 1)["v"])).sel(reference="surrogate")
    assert_equal_scores(reference, table, rtol=1e-5, histogram=0.05)
    assert float(table["mean_error"][0]) > 0.5


def test_runs_in_joules_are_told_apart():
    truth = moved(plain((1.0, 2.0), 0), mu=(300 * BOLTZMANN, 0.0))
    with pytest.raises(ValueError, match=r"prediction has mu=\[4.14\d*e-21, 1.24\d*e-20\] but truth has"):
        compare(truth, truth.assign_coords(mu=("run", truth["mu"].values * [1, 1.5])))
    rounded = truth.assign_coords(mu=("run", truth["mu"].values.astype(np.float32).astype(np.float64)))
    assert float(compare(truth, rounded)["mean_error"].sel(reference="surrogate").max()) == 0.0


@pytest.mark.parametrize(
    ("times", "other", "message"),
    [
        (TIMES * 1e-12, TIMES * 2e-12, r"time\[8\]=8e-12 but truth has 4e-12"),
        (1e6 + TIMES, 1e6 + TIMES + 0.05, r"time\[0\]=1000000.05 but truth has 1000000;"),
        (TIMES * 1e6, TIMES * 1e6 * (1 + 1e-4), r"time\[8\]=4000400 but truth has 4000000"),
    ],
)
def test_saved_times_are_told_apart(times, other, message):
    truth = plain((1.0, 2.0), 0).assign_coords(time=times)
    with pytest.raises(ValueError, match=message):
        compare(truth, truth.assign_coords(time=other))
    with pytest.raises(ValueError, match=r"times=.* must lie in the saved range"):
        plots.phase_space(truth, times=[times[-1] + (times[1] - times[0]) / 2])


def test_parameters_around_a_large_value_are_told_apart():
    truth = plain((1.0, 2.0), 0).assign_coords(mu=("run", 1e6 + np.array([0.0, 0.5])))
    with pytest.raises(ValueError, match=r"prediction has mu=\[1000000.0, 1000000.75\] but truth has"):
        compare(truth, truth.assign_coords(mu=("run", 1e6 + np.array([0.0, 0.75]))))
    training = plain((1.0, 2.0), 0).assign_coords(mu=("run", 1e6 + np.array([0.2, 1.0])))
    note = compare(truth, truth, training=training)["mean_error"].attrs["interpolation_note"]
    assert note == "run 0: mu=1000000 is outside the training runs' [1000000.2, 1000001]"


def test_a_period_may_be_rounded_but_not_another():
    truth = plain((1.0,), 0)
    truth["x"].attrs["period"] = 2 * np.pi * 1e-9
    same, other = (truth.assign(x=truth["x"].assign_attrs(period=p)) for p in (float(np.float32(2e-9 * np.pi)), 6e-9))
    assert float(compare(truth, same)["histogram_l1"].sel(reference="surrogate")[0]) == 0.0
    with pytest.raises(ValueError, match="has period=6e-09 in prediction"):
        compare(truth, other)
