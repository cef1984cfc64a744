"""What scores stand beside: frozen samples, interpolation between runs, floors and the bootstrap."""

import functools
import math

import jax
import numpy as np
import pytest
import xarray as xr
from scored import TIMES, ensemble, score

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.scores import compare, verdict_table


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


def test_a_bootstrap_is_no_noise_floor():
    truth = ensemble()
    without, beside = compare(truth, truth), compare(truth, truth, floor=ensemble(seed=1))
    assert without["reference"].values.tolist() == ["surrogate", "bootstrap", "interpolation", "gaussian", "frozen"]
    assert beside["reference"].values.tolist() == ["surrogate", "noise_floor", "interpolation", "gaussian", "frozen"]
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
