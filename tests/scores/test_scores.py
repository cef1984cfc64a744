import builtins
import functools
import math
import re

import jax
import numpy as np
import pytest
import xarray as xr
from repository import ROOT

import hoam_plugin as hoam
from hoam_plugin import ensembles, simulators
from hoam_plugin.scores import distances
from hoam_plugin.scores.comparison import REFERENCES, compare, verdict_table
from hoam_plugin.scores.distances import Coordinate
from hoam_plugin.scores.matching import valid
from hoam_plugin.steppers.variables import Variable

LENGTH = 2.0
X = Variable("x", period=LENGTH, bounds=(0.0, LENGTH))
V = Variable("v", scale=2.0, bounds=(-4.0, 4.0))
TIMES = np.linspace(0.0, 4.0, 9)
# ott-jax imports jaxopt, which announces its own end.
JAXOPT = pytest.mark.filterwarnings("ignore:JAXopt:DeprecationWarning")


def line(scale: float = 1.0, low: float = -4.0, high: float = 4.0) -> Coordinate:
    return Coordinate("v", None, scale, low, high)


def circle() -> Coordinate:
    return Coordinate("x", LENGTH, 1.0, 0.0, LENGTH)


def sliced(a: np.ndarray, b: np.ndarray, *coordinates: Coordinate) -> float:
    projections = [distances.sorted_projections(distances.embedded(x, coordinates)) for x in (a, b)]
    return distances.sliced_wasserstein(*projections)


def ensemble(
    mu=(1.0, 2.0), times=TIMES, n_samples=200, seed=0, variables=(X, V), energy=lambda mu, t: mu * (1 + t)
) -> xr.Dataset:
    """Positions uniform on the circle, velocities normal around mu t / 10; an energy that is linear in mu."""
    rng = np.random.default_rng(seed)
    times, mu = np.asarray(times, float), np.asarray(mu, float)
    shape = (len(mu), len(times), n_samples)
    samples = {
        "x": rng.uniform(0, LENGTH, shape).astype(np.float32),
        "v": (rng.standard_normal(shape) + mu[:, None, None] * times[None, :, None] / 10).astype(np.float32),
    }
    diagnostic = (Variable("electric_energy"),) if energy else ()
    curve = {"electric_energy": energy(mu[:, None], times[None, :])} if energy else {}
    frame = ensembles.frame(times, {"mu": mu})
    return ensembles.build(frame, variables, samples, diagnostic, curve)


def score(scores: xr.Dataset, name: str, reference: str = "surrogate") -> np.ndarray:
    return scores[name].sel(reference=reference).values


# Distances against analytic values.


def test_wasserstein_of_a_shift_is_the_shift():
    a = np.random.default_rng(0).standard_normal((500, 1))
    assert sliced(a, a + 0.7, line()) == pytest.approx(0.7, rel=1e-12)
    assert sliced(a, a + 0.7, line(scale=2.0)) == pytest.approx(0.35, rel=1e-12)


def test_wasserstein_of_two_gaussians():
    # W2^2 of N(0, 1) and N(m, s^2) is m^2 + (s - 1)^2.
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((40_000, 1)), 1.0 + 2.0 * rng.standard_normal((40_000, 1))
    assert sliced(a, b, line()) == pytest.approx(math.sqrt(2.0), rel=0.02)


def test_sliced_wasserstein_of_a_shift_in_the_plane_is_the_mean_over_directions():
    # E |<theta, d>|^2 = |d|^2 / 2 for unit directions in the plane; 32 directions make 16 orthogonal pairs: exact.
    a = np.random.default_rng(2).standard_normal((300, 2))
    assert sliced(a, a + np.array([0.3, -0.4]), line(), line()) == pytest.approx(0.5 / math.sqrt(2), rel=1e-12)


def test_wasserstein_of_unequal_sample_counts_is_exact():
    # {0, 1} against {0, 0, 3}: pieces of the quantile functions on [0, 1/2, 2/3, 1].
    a, b = np.array([[0.0], [1.0]]), np.array([[0.0], [0.0], [3.0]])
    assert sliced(a, b, line()) == pytest.approx(math.sqrt(1 / 6 + 4 / 3), rel=1e-12)
    points = np.random.default_rng(3).standard_normal((7, 1))
    assert sliced(points, np.repeat(points, 3, axis=0), line()) == pytest.approx(0.0, abs=1e-12)


def test_opposite_points_of_the_circle_are_one_diameter_apart():
    a, b = np.zeros((4, 1)), np.full((4, 1), LENGTH / 2)
    assert sliced(a, b, circle()) == pytest.approx(2.0 / math.sqrt(2), rel=1e-12)
    assert sliced(np.full((4, 1), 1e-6), np.full((4, 1), LENGTH - 1e-6), circle()) < 1e-5


def test_histogram_l1_of_disjoint_and_of_equal_sets():
    a, b = np.full((10, 2), -2.0), np.full((10, 2), 2.0)
    bins = [distances.histograms(x, (line(), line())) for x in (a, b)]
    assert distances.histogram_l1(*bins) == pytest.approx(2.0)
    assert distances.histogram_l1(bins[0], bins[0]) == 0.0


def test_histogram_counts_samples_outside_nowhere_and_the_upper_end_in_the_last_bin():
    x = np.array([[-4.1], [-4.0], [4.0], [4.1]])
    (fractions,) = distances.histograms(x, (line(),))
    assert fractions[0] == fractions[-1] == 0.25
    assert fractions.sum() == 0.5


def test_histogram_agrees_with_numpy_in_two_dimensions_and_pairs_consecutive_coordinates():
    x = np.random.default_rng(4).standard_normal((1000, 3))
    pairs = distances.histograms(x, (line(),) * 3)
    for pair, columns in zip(pairs, ([0, 1], [1, 2]), strict=True):
        expected, _, _ = np.histogram2d(*x[:, columns].T, bins=32, range=[(-4, 4), (-4, 4)])
        np.testing.assert_array_equal(pair, expected.ravel() / 1000)


def test_moments_of_the_embedding():
    features = distances.embedded(np.array([[0.0, 1.0], [LENGTH / 2, 3.0]]), (circle(), line(scale=2.0)))
    mean, covariance = distances.moments(features)
    np.testing.assert_allclose(mean, [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(covariance, [[1, 0, -0.5], [0, 0, 0], [-0.5, 0, 0.25]], atol=1e-12)


# compare.


def test_equal_ensembles_score_zero_in_every_run():
    truth = ensemble()
    scores = compare(truth, truth)
    assert scores.sizes == {"reference": 4, "run": 2}
    assert scores["reference"].values.tolist() == [name for name in REFERENCES if name != "noise_floor"]
    np.testing.assert_array_equal(scores["mu"], truth["mu"])
    for name in scores:
        np.testing.assert_array_equal(score(scores, name), 0.0)


def test_energy_error_of_a_scaled_curve_is_the_scale():
    truth = ensemble()
    other = truth.assign(electric_energy=truth["electric_energy"] * 1.25)
    np.testing.assert_allclose(score(compare(truth, other), "electric_energy_error"), 0.25, rtol=1e-12)


def scaled_energy(factor: float, seed: int) -> xr.Dataset:
    return ensemble(seed=seed, energy=lambda mu, t: factor * mu * (1 + t))


def test_from_time_restricts_the_curves_and_the_first_time_never_counts():
    truth = ensemble()
    factor = xr.where(truth["time"] < 2.0, 3.0, 1.5)
    other = truth.assign(electric_energy=truth["electric_energy"] * factor)
    scores = compare(truth, other, from_time=2.0)
    np.testing.assert_allclose(score(scores, "electric_energy_error"), 0.5, rtol=1e-12)
    factor = xr.where(truth["time"] == 0.0, 3.0, 1.5)
    other = truth.assign(electric_energy=truth["electric_energy"] * factor)
    np.testing.assert_allclose(score(compare(truth, other), "electric_energy_error"), 0.5, rtol=1e-12)
    with pytest.raises(ValueError, match=r"from_time=5.0 is after the last saved time 4"):
        compare(truth, truth, from_time=5.0)


def test_no_energy_score_where_one_ensemble_has_no_energy():
    truth = ensemble()
    assert "electric_energy_error" not in compare(truth, truth.drop_vars("electric_energy"))


def test_a_shift_of_velocity_shows_in_the_mean_and_not_in_the_covariance():
    truth = ensemble()
    other = truth.assign(v=truth["v"] + np.float32(0.6))
    scores = compare(truth, other)
    # 0.6 in units of scale 2, one of three embedded coordinates.
    np.testing.assert_allclose(score(scores, "mean_error"), 0.3 / math.sqrt(3), rtol=1e-4)
    np.testing.assert_allclose(score(scores, "covariance_error"), 0.0, atol=1e-5)
    # Directions in blocks of three and two left over: close to the mean over all directions, |d|^2 / 3.
    np.testing.assert_allclose(score(scores, "sliced_wasserstein"), 0.3 / math.sqrt(3), rtol=0.05)


def test_whole_periods_change_nothing():
    truth = ensemble()
    turns = np.random.default_rng(9).integers(-3, 4, truth["x"].shape).astype(np.float32)
    scores = compare(truth, truth.assign(x=truth["x"] + turns * np.float32(LENGTH)))
    for name in scores:
        np.testing.assert_allclose(score(scores, name), 0.0, atol=2e-2 if name == "histogram_l1" else 1e-5)


def test_order_of_the_variables_changes_nothing():
    truth, other = ensemble(), ensemble(seed=1)
    swapped = [ds[["v", "x", "electric_energy"]] for ds in (truth, other)]
    for first, second in ((truth, swapped[1]), (swapped[0], swapped[1])):
        xr.testing.assert_equal(compare(first, second), compare(truth, other))


def test_sample_counts_may_differ():
    truth = ensemble(n_samples=2000)
    scores = compare(truth, ensemble(n_samples=1500, seed=1))
    assert (score(scores, "sliced_wasserstein") < 0.1).all()


def test_one_and_three_coordinates():
    truth = ensemble()
    for ds in (truth[["v"]], truth.assign(w=truth["v"] * 2)):
        scores = compare(ds, ds)
        assert np.isfinite(score(scores, "histogram_l1", "frozen")).all()
        np.testing.assert_array_equal(score(scores, "sliced_wasserstein"), 0.0)


def test_vector_variables_are_flattened():
    truth = ensemble(variables=(V,)).drop_vars("electric_energy")
    vectors = xr.concat([truth["v"], truth["v"] + np.float32(1)], "axis").transpose("run", "time", "sample", "axis")
    ds = truth.assign(v=vectors.assign_attrs(V.attributes()))
    np.testing.assert_array_equal(score(compare(ds, ds), "histogram_l1"), 0.0)


# References.


def test_frozen_keeps_the_first_saved_time():
    truth = ensemble(mu=[1.0])
    first = truth.isel(time=[0] * len(TIMES)).assign_coords(time=TIMES)
    scores = compare(truth, first)
    for name in scores:
        np.testing.assert_array_equal(score(scores, name, "frozen"), score(scores, name))
    # e = mu (1 + t): |e - e(0)| / |e| = t / (1 + t).
    assert score(scores, "electric_energy_error", "frozen") == pytest.approx(np.mean(TIMES[1:] / (1 + TIMES[1:])))


def test_interpolation_is_exact_for_curves_linear_in_the_parameter():
    truth = ensemble(mu=[1.25, 1.5])
    scores = compare(truth, truth, training=ensemble(mu=[2.0, 1.4, 1.0]))
    np.testing.assert_allclose(score(scores, "electric_energy_error", "interpolation"), 0.0, atol=1e-12)
    assert (score(scores, "mean_error", "interpolation") < 0.1).all()
    for name in ("histogram_l1", "sliced_wasserstein"):
        assert np.isnan(score(scores, name, "interpolation")).all()
        assert "only scalar curves" in scores[name].attrs["interpolation_note"]


def test_interpolation_takes_the_two_neighbours():
    # Quadratic in mu: between 1 and 2 the chord at 1.5 is 2.5 where the truth is 2.25, whatever the run at 5 does.
    energy = lambda mu, t: mu**2 * (1 + 0 * t)  # noqa: E731
    truth = ensemble(mu=[1.5, 2.0], energy=energy)
    scores = compare(truth, truth, training=ensemble(mu=[5.0, 1.0, 2.0], energy=energy))
    np.testing.assert_allclose(
        score(scores, "electric_energy_error", "interpolation"), [0.25 / 2.25, 0.0], rtol=1e-12, atol=1e-12
    )


def test_interpolation_in_time_where_training_was_saved_elsewhere():
    energy = lambda mu, t: mu * (2 + np.sin(t))  # noqa: E731
    truth = ensemble(mu=[1.5], energy=energy)
    own_times = np.linspace(0.0, 4.0, 23)
    scores = compare(truth, truth, training=ensemble(mu=[1.0, 2.0], times=own_times, energy=energy))
    assert 0 < score(scores, "electric_energy_error", "interpolation") < 1e-3
    # Saved at the truth's times among others: exact.
    own_times = np.union1d(TIMES, [0.3, 0.7])
    scores = compare(truth, truth, training=ensemble(mu=[1.0, 2.0], times=own_times, energy=energy))
    assert score(scores, "electric_energy_error", "interpolation") == pytest.approx(0.0, abs=1e-12)


def test_interpolation_that_makes_no_sense_is_nan_with_the_reason():
    truth = ensemble(mu=[1.5, 2.5])
    scores = compare(truth, truth, training=ensemble(mu=[1.0, 2.0]))
    np.testing.assert_array_equal(np.isnan(score(scores, "mean_error", "interpolation")), [False, True])
    assert "run 1: mu=2.5 is outside the training runs' [1, 2]" in scores["mean_error"].attrs["interpolation_note"]

    short = ensemble(mu=[1.0, 2.0], times=TIMES[:5])
    scores = compare(truth.isel(run=[0]), truth.isel(run=[0]), training=short)
    assert "are outside the training ensemble's [0, 2]" in scores["mean_error"].attrs["interpolation_note"]

    line = [ds.assign_coords(nu=("run", nu)) for ds, nu in ((truth, [0.5, 0.1]), (ensemble(), [0.0, 1.0]))]
    scores = compare(line[0], line[0], training=line[1])
    np.testing.assert_array_equal(np.isnan(score(scores, "mean_error", "interpolation")), [False, True])
    line[0]["mu"] = "run", [1.5, 1.9]
    note = compare(line[0], line[0], training=line[1])["mean_error"].attrs["interpolation_note"]
    assert note == "run 1: mu=1.9, nu=0.1 is outside the hull of the training runs' parameters"

    scores = compare(truth, truth)
    assert scores["mean_error"].attrs["interpolation_note"] == "no training ensemble was given"

    scores = compare(truth, truth, training=ensemble(mu=[1.0, 3.0], energy=None))
    assert np.isfinite(score(scores, "mean_error", "interpolation")).all()
    assert "no 'electric_energy'" in scores["electric_energy_error"].attrs["interpolation_note"]


def test_interpolation_between_the_corners_of_a_grid_of_two_parameters():
    def runs(mu, nu, **options) -> xr.Dataset:
        ds = ensemble(mu=mu, **options)
        return ds.assign(electric_energy=ds["electric_energy"] + np.asarray(nu)[:, None]).assign_coords(nu=("run", nu))

    truth, training = runs([1.5, 1.2], [0.1, 0.45], seed=1), runs([1.0, 2.0, 1.0, 2.0], [0.0, 0.0, 0.5, 0.5])
    scores = compare(truth, truth, training=training)
    np.testing.assert_allclose(score(scores, "electric_energy_error", "interpolation"), 0.0, atol=1e-12)
    assert (score(scores, "mean_error", "interpolation") < 0.1).all()
    assert "interpolation_note" not in scores["mean_error"].attrs
    # Three of the corners are a triangle, with the first run inside and the second outside.
    scores = compare(truth, truth, training=training.isel(run=[0, 1, 2]))
    np.testing.assert_allclose(score(scores, "electric_energy_error", "interpolation"), [0.0, np.nan], atol=1e-9)
    note = scores["mean_error"].attrs["interpolation_note"]
    assert note == "run 1: mu=1.2, nu=0.45 is outside the hull of the training runs' parameters"


def test_interpolation_of_replicas():
    truth = ensemble(mu=[1.5, 1.5])
    scores = compare(truth, truth, training=ensemble(mu=[1.0, 2.0, 2.0, 1.0]))
    np.testing.assert_allclose(score(scores, "electric_energy_error", "interpolation"), 0.0, atol=1e-12)
    assert "mu = 1.5 (run 1)" in verdict_table(scores)
    without = truth.drop_vars("mu")
    scores = compare(without, without, training=without)
    note = "the runs have no parameters in which to interpolate"
    assert scores["mean_error"].attrs["interpolation_note"] == note
    assert f"no interpolation: {note}" in verdict_table(scores)
    assert "  run 1  " in verdict_table(scores)


def test_interpolation_in_time_of_late_runs_in_small_units():
    energy = lambda mu, t: mu * (2 + np.sin(t))  # noqa: E731
    truth = ensemble(mu=[1.5], energy=energy)
    training = ensemble(mu=[1.0, 2.0], times=np.linspace(0.0, 4.0, 23), energy=energy)
    own = score(compare(truth, truth, training=training), "electric_energy_error", "interpolation")
    late = [
        ds.assign(electric_energy=ds["electric_energy"] * 1e-48).assign_coords(time=1e6 + 1e-3 * ds["time"])
        for ds in (truth, training)
    ]
    scores = compare(late[0], late[0], training=late[1])
    np.testing.assert_allclose(score(scores, "electric_energy_error", "interpolation"), own, atol=1e-7)


def test_bootstrap_takes_samples_in_the_byte_order_of_a_file():
    truth = two_stream()
    swapped = truth.assign({name: truth[name].astype(">f4") for name in ("x", "v")})
    xr.testing.assert_equal(compare(swapped, truth), compare(truth, truth))


def test_noise_floor_against_a_second_truth():
    truth, second, other = ensemble(), ensemble(seed=1), ensemble(seed=2)
    second = second.assign(electric_energy=second["electric_energy"] * 1.1)
    scores = compare(truth, other, floor=second)
    direct = compare(truth, second)
    for name in scores:
        np.testing.assert_array_equal(score(scores, name, "noise_floor"), score(direct, name))
    assert scores.attrs["noise_floor"] == "a second truth ensemble"


def test_several_predictions_and_floors_give_means_with_their_spread():
    truth = ensemble()
    predictions = [scaled_energy(factor, seed) for seed, factor in ((1, 1.1), (2, 1.2), (3, 1.4))]
    floors = [ensemble(seed=seed) for seed in (4, 5)]
    scores = compare(truth, predictions, floor=floors)
    single = [compare(truth, ds, floor=floors[0]) for ds in predictions]
    for name in ("electric_energy_error", "histogram_l1", "sliced_wasserstein", "mean_error", "covariance_error"):
        values = np.stack([score(one, name) for one in single])
        np.testing.assert_allclose(score(scores, name), values.mean(axis=0))
        np.testing.assert_allclose(score(scores, f"{name}_spread"), values.std(axis=0, ddof=1))
        assert f"{name}_spread" not in single[0]
    np.testing.assert_allclose(score(scores, "electric_energy_error"), 0.7 / 3)
    other = compare(truth, predictions[0], floor=floors[1])
    floor_l1 = np.stack([score(one, "histogram_l1", "noise_floor") for one in (single[0], other)])
    np.testing.assert_allclose(score(scores, "histogram_l1_spread", "noise_floor"), floor_l1.std(axis=0, ddof=1))
    assert np.isnan(score(scores, "histogram_l1_spread", "frozen")).all()
    assert "0.233 ± 0.2" in verdict_table(scores)
    assert "spread" not in verdict_table(scores)


def test_no_prediction_at_all():
    with pytest.raises(ValueError, match=r"prediction=\[\] is empty"):
        compare(ensemble(), [])


def test_bootstrap_has_the_size_of_sampling_noise_and_is_reproducible():
    truth = ensemble(mu=[1.0], n_samples=4000)
    scores = compare(truth, truth)
    # The root mean square of the mean's bootstrap error is sqrt(trace(covariance) / (3 n)), here trace = 1 + 1/4.
    expected = math.sqrt(1.25 / 3 / 4000)
    assert score(scores, "mean_error", "bootstrap") == pytest.approx(expected, rel=0.5)
    assert "drawn again with replacement, no noise floor" in scores.attrs["bootstrap"]
    xr.testing.assert_equal(scores, compare(truth, truth))
    assert score(compare(truth, truth, seed=1), "mean_error", "bootstrap") != score(scores, "mean_error", "bootstrap")


def test_bootstrap_of_an_unknown_stepper_has_no_energy_and_says_why():
    truth = ensemble()
    scores = compare(truth, truth)
    assert np.isnan(score(scores, "electric_energy_error", "bootstrap")).all()
    assert "stepper" in scores["electric_energy_error"].attrs["bootstrap_note"]


@functools.cache
def two_stream() -> xr.Dataset:
    stepper = simulators.two_stream(n_cells=64, start="random", amplitude=0.5)
    return hoam.simulate(
        stepper, {"mu": [1.25]}, [0.0, 0.5, 1.0], key=jax.random.key(0), n_samples=4000, dt=0.1, progress=False
    )


def test_bootstrap_evaluates_the_energy_with_the_rebuilt_stepper():
    truth = two_stream()
    scores = compare(truth, truth)
    error = float(score(scores, "electric_energy_error", "bootstrap")[0])
    assert 0.0 < error < 1.0
    assert "bootstrap_note" not in scores["electric_energy_error"].attrs


def test_bootstrap_energy_of_unsuitable_samples_says_why():
    truth = two_stream()
    part = truth[["x", "electric_energy"]]
    note = compare(part, part)["electric_energy_error"].attrs["bootstrap_note"]
    assert "the truth has the variables ['x'], its stepper needs ['x', 'v']" in note
    double = truth.assign({name: truth[name].astype(np.float64) for name in ("x", "v")})
    assert "jax_enable_x64" in compare(double, double)["electric_energy_error"].attrs["bootstrap_note"]


# Sinkhorn, files, table.


@JAXOPT
def test_sinkhorn_on_demand():
    truth = ensemble(mu=[1.0], times=[0.0, 1.0])
    far = truth.assign(v=truth["v"] + np.float32(6.0))
    scores = compare(truth, far, sinkhorn=True)
    # A shift of 6 is 3 in units of the scale.
    assert score(scores, "sinkhorn_divergence") == pytest.approx(9.0, rel=0.05)
    assert score(scores, "sinkhorn_divergence", "bootstrap") < 0.2


def test_sinkhorn_without_the_extra_names_it(monkeypatch):
    def refuse(name, *args, _real=builtins.__import__, **kwargs):
        if name.startswith("ott"):
            raise ImportError(name)
        return _real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    distances.sinkhorn_solver.cache_clear()
    with pytest.raises(ImportError, match=re.escape("python -m pip install 'hoam-plugin[ot]'")):
        compare(ensemble(), ensemble(), sinkhorn=True)


def test_scores_survive_netcdf(tmp_path):
    truth = ensemble()
    scores = compare(truth, ensemble(seed=1), training=ensemble(mu=[1.0, 1.5]))
    scores.to_netcdf(tmp_path / "scores.nc", engine="netcdf4")
    with xr.open_dataset(tmp_path / "scores.nc") as read:
        xr.testing.assert_equal(read, scores)
        for name in scores:
            assert read[name].attrs == scores[name].attrs
            assert {"units", "long_name"} <= set(scores[name].attrs)


def test_verdict_table():
    truth = ensemble(mu=[1.25, 1.75])
    other = truth.assign(electric_energy=truth["electric_energy"] * 1.25)
    scores = compare(truth, other, floor=truth, training=ensemble(mu=[1.0, 2.0]))
    lines = verdict_table(scores).splitlines()
    assert lines[0].split() == ["score", "run", "surrogate", "noise", "floor", "interpolation", "frozen"]
    assert lines[2].split()[:8] == ["electric", "energy", "error", "mu", "=", "1.25", "0.25", "0"]
    assert lines[3].split()[:3] == ["mu", "=", "1.75"]
    assert lines[8].split()[:6] == ["histogram", "l1", "mu", "=", "1.25", "0"]
    below = " ".join(" ".join(lines[2 + 2 * 5 :]).split())
    assert below.startswith("interpolation of histogram l1, sliced wasserstein: not defined: only scalar curves")
    assert "floor" not in below


def test_verdict_table_without_a_floor_calls_the_bootstrap_by_its_name_and_says_what_it_is():
    truth = ensemble(mu=[1.25, 1.75])
    lines = verdict_table(compare(truth, truth, training=ensemble(mu=[1.5, 2.0]))).splitlines()
    assert lines[0].split() == ["score", "run", "surrogate", "bootstrap", "interpolation", "frozen"]
    below = " ".join(" ".join(lines[2 + 2 * 5 :]).split())
    for phrase in (
        "bootstrap: the truth's samples drawn again with replacement, no noise floor",
        "far too high for a quiet start",
        "--floor",
        "bootstrap of electric energy error: the truth's attributes do not name a stepper",
        "interpolation of electric energy error, mean error, covariance error: run 0: mu=1.25 is outside the training",
    ):
        assert phrase in below
    assert "no interpolation: no training ensemble was given" in verdict_table(compare(truth, truth))


def test_a_bootstrap_is_no_noise_floor():
    truth = ensemble()
    without, beside = compare(truth, truth), compare(truth, truth, floor=ensemble(seed=1))
    assert without["reference"].values.tolist() == ["surrogate", "bootstrap", "interpolation", "frozen"]
    assert beside["reference"].values.tolist() == ["surrogate", "noise_floor", "interpolation", "frozen"]
    with pytest.raises(KeyError):
        without.sel(reference="noise_floor")
    assert without.attrs["noise_floor"].startswith("none was given: pass floor=")
    assert "bootstrap" not in beside.attrs


def test_bootstrap_of_a_quiet_start_is_far_above_the_floor():
    stepper = simulators.two_stream(n_cells=64)
    run = functools.partial(hoam.simulate, stepper, {"mu": [1.4]}, [0.0, 0.5], n_samples=4000, dt=0.1, progress=False)
    truth, other = run(key=jax.random.key(0)), run(key=jax.random.key(1))
    name = "electric_energy_error"
    floor = score(compare(truth, other, floor=other), name, "noise_floor")
    bootstrap = score(compare(truth, other), name, "bootstrap")
    assert bootstrap > 5 * floor


# Errors: one sentence, before any work.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds[["x"]], r"prediction has the variables \['x'\] but truth has \['v', 'x'\]"),
        (lambda ds: ds.isel(run=[0]), r"prediction has mu=\[1.0\] but truth has \[1.0, 2.0\]"),
        (lambda ds: ds.assign_coords(mu=("run", [1.0, 2.5])), r"prediction has mu=\[1.0, 2.5\] but truth has"),
        (lambda ds: ds.rename(mu="nu"), r"prediction has the parameters \['nu'\] but truth has \['mu'\]"),
        (lambda ds: ds.isel(time=slice(5)), r"prediction has 5 saved times but truth has 9"),
        (lambda ds: ds.assign_coords(time=TIMES * 1.1), r"prediction has time\[8\]=4.4 but truth has 4"),
        (lambda ds: ds.isel(run=0), r"prediction: the ensemble lacks the dim 'run'"),
        (lambda ds: ds.assign(x=ds["x"].drop_attrs()), r"variable 'x' has period=None in prediction but 2.0 in truth"),
    ],
)
def test_mismatch_of_truth_and_prediction(change, message):
    truth = ensemble()
    with pytest.raises(ValueError, match=message) as error:
        compare(truth, change(truth))
    assert "\n" not in str(error.value)


def test_runs_without_parameters_must_be_equally_many():
    truth = ensemble().drop_vars("mu")
    with pytest.raises(ValueError, match="prediction has 1 runs but truth has 2"):
        compare(truth, truth.isel(run=[0]))


def test_one_training_run_cannot_be_interpolated():
    truth = ensemble()
    with pytest.raises(ValueError, match=r"training has one run only \(mu=1\)"):
        compare(truth, truth, training=truth.isel(run=[0]))


def test_floor_must_match_the_truth():
    truth = ensemble()
    with pytest.raises(ValueError, match="floor has 5 saved times but truth has 9"):
        compare(truth, truth, floor=truth.isel(time=slice(5)))


def test_one_saved_time_is_too_few():
    truth = ensemble().isel(time=[0])
    with pytest.raises(ValueError, match="truth has one saved time only"):
        compare(truth, truth)


def test_not_an_ensemble():
    with pytest.raises(TypeError, match=r"prediction: an ensemble must be an xarray\.Dataset"):
        valid("prediction", np.zeros(3))


def test_page_of_scores_runs_and_defines_every_score_and_reference():
    page = (ROOT / "docs" / "scores.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    for large, small in {
        "two_stream()": "two_stream(n_cells=64, dt=0.5)",
        "(0, 40, 129)": "(0, 4, 5)",
        "n_samples=25_000": "n_samples=64, progress=False",
    }.items():
        assert large in block
        block = block.replace(large, small)
    scope: dict = {}
    exec(compile(block, "scores.md", "exec"), scope)
    scores = scope["scores"]
    assert np.isfinite(scores["electric_energy_error"].sel(reference="interpolation")).all()
    for name in [*scores, *REFERENCES, "sinkhorn_divergence"]:
        assert f"| `{name}`" in page
