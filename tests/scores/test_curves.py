"""Which recorded curves are scored, and beside what."""

import jax
import numpy as np
import pytest
import xarray as xr
from scored import TIMES, ensemble, score

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.scores import compare, verdict_table

LENGTH_OF_RUN = TIMES[-1]


def with_heat(ds: xr.Dataset, factor: float = 1.0) -> xr.Dataset:
    """With a second curve, linear in mu."""
    return ds.assign(heat=factor * ds["mu"] * (2 + ds["time"]))


def test_any_scalar_diagnostic_is_scored_like_the_energy():
    truth, prediction = with_heat(ensemble()), with_heat(ensemble(seed=1), 1.1)
    scores = compare(truth, prediction, curves=("heat", "electric_energy"))
    assert list(scores)[:4] == ["heat_error", "electric_energy_error", "mean_error", "covariance_error"]
    np.testing.assert_allclose(score(scores, "heat_error"), 0.1)
    assert scores["heat_error"].attrs["long_name"] == "relative error of the heat, mean over saved times"
    # h = mu (2 + t): |h - h(0)| / |h| = t / (2 + t).
    frozen = np.mean(TIMES[1:] / (2 + TIMES[1:]))
    np.testing.assert_allclose(score(scores, "heat_error", "frozen"), frozen)
    late = compare(truth, prediction, curves=("heat",), from_time=LENGTH_OF_RUN)
    np.testing.assert_allclose(score(late, "heat_error", "frozen"), LENGTH_OF_RUN / (2 + LENGTH_OF_RUN))
    assert "heat error" in verdict_table(scores)


def test_other_curves_change_no_score():
    truth, prediction = with_heat(ensemble()), with_heat(ensemble(seed=1))
    alone, beside = compare(truth, prediction), compare(truth, prediction, curves=("electric_energy", "heat"))
    assert "heat_error" not in alone
    for name in alone:
        np.testing.assert_array_equal(alone[name], beside[name])
    none = compare(truth, prediction, curves=())
    assert list(none) == [name for name in alone if name != "electric_energy_error"]


def test_the_order_and_repetition_of_curves_do_not_matter_and_one_may_come_alone():
    truth, prediction = with_heat(ensemble()), with_heat(ensemble(seed=1), 1.1)
    one, again = compare(truth, prediction, curves="heat"), compare(truth, prediction, curves=["heat", "heat"])
    for name in one:
        np.testing.assert_array_equal(one[name], again[name])


def test_curves_stand_beside_a_floor_and_interpolation():
    truth, prediction = with_heat(ensemble(mu=[1.25])), with_heat(ensemble(mu=[1.25], seed=1), 1.1)
    floor, training = with_heat(ensemble(mu=[1.25], seed=2), 1.05), with_heat(ensemble(mu=[1.0, 2.0]))
    scores = compare(truth, prediction, floor=floor, training=training, curves=("heat",))
    np.testing.assert_allclose(score(scores, "heat_error", "noise_floor"), 0.05)
    np.testing.assert_allclose(score(scores, "heat_error", "interpolation"), 0.0, atol=1e-12)
    lacking = compare(truth, prediction, floor=ensemble(mu=[1.25]), training=ensemble(), curves=("heat",))
    assert np.isnan(score(lacking, "heat_error", "noise_floor")).all()
    assert lacking["heat_error"].attrs["noise_floor_note"] == "floor has no 'heat'"
    assert np.isnan(score(lacking, "heat_error", "interpolation")).all()
    assert lacking["heat_error"].attrs["interpolation_note"] == "training has no 'heat'"


def test_the_bootstrap_has_the_curves_that_the_stepper_computes():
    stepper = simulators.two_stream(n_cells=64, start="random", amplitude=0.5)
    times = [0.0, 0.5, 1.0]
    truth = hoam.simulate(stepper, {"mu": [1.25]}, times, key=jax.random.key(0), n_samples=4000, dt=0.1, progress=False)
    truth = with_heat(truth)
    scores = compare(truth, truth, curves=("electric_energy", "kinetic_energy", "heat"))
    for name in ("electric_energy_error", "kinetic_energy_error"):
        assert "bootstrap_note" not in scores[name].attrs
        assert 0.0 < float(score(scores, name, "bootstrap")[0]) < 1.0
    alone = compare(truth, truth)
    assert score(alone, "electric_energy_error", "bootstrap") == pytest.approx(
        score(scores, "electric_energy_error", "bootstrap"), rel=1e-5
    )
    assert np.isnan(score(scores, "heat_error", "bootstrap")).all()
    note = scores["heat_error"].attrs["bootstrap_note"]
    assert note == "the stepper VlasovPoissonPIC has no diagnostic 'heat'"


def test_unknown_curves_are_named():
    truth = with_heat(ensemble())
    with pytest.raises(ValueError, match=r"curves=\('heatt',\) has 'heatt', which truth does not .* mean 'heat'\?"):
        compare(truth, truth, curves=("heatt",))
    with pytest.raises(ValueError, match="'heat', which prediction does not hold as one number per run and time"):
        compare(truth, ensemble(seed=1), curves=("heat",))
    with pytest.raises(ValueError, match="'x', which truth does not hold as one number per run and time"):
        compare(truth, truth, curves=("x",))
    with pytest.raises(ValueError, match="has 'mean', but 'mean_error' is another score; rename it"):
        compare(truth, truth, curves=("mean",))
    # Only plasmas have the default, and need not.
    assert "electric_energy_error" not in compare(ensemble(energy=None), ensemble(energy=None, seed=1))


def test_energy_and_pressure_of_particles_are_scored_where_both_have_them():
    truth = ensemble(energy=None)
    times = truth["time"]
    wave = (np.sin(times) + xr.zeros_like(truth["mu"])).transpose("run", "time")
    truth = truth.assign(potential_energy=wave, pressure=2 * wave)
    other = truth.assign(potential_energy=wave + 0.3, pressure=2 * wave)
    scores = compare(truth, other)
    # A curve that passes through zero: relative to its root mean square.
    rms = float(np.sqrt(np.mean(np.sin(times.values[1:]) ** 2)))
    np.testing.assert_allclose(score(scores, "potential_energy_error"), 0.3 / rms, rtol=1e-12)
    np.testing.assert_allclose(score(scores, "pressure_error"), 0.0, atol=0)
    assert scores["pressure_error"].attrs["long_name"].endswith("relative to the truth's root mean square")
    assert "electric_energy_error" not in scores
    assert "pressure_error" not in compare(truth, other.drop_vars("pressure"))
    # Units, however small their squares.
    tiny = [ds.assign(potential_energy=ds["potential_energy"] * 1e-200) for ds in (truth, other)]
    np.testing.assert_allclose(score(compare(*tiny), "potential_energy_error"), 0.3 / rms, rtol=1e-12)


def test_particles_drawn_twice_at_one_place_have_no_energy():
    stepper = simulators.yukawa_quench(n_particles=32)
    parameters = {"kT": [0.1], "screening_length": [0.5]}
    truth = hoam.simulate(stepper, parameters, [0.0, 0.1], key=jax.random.key(0), n_samples=64, progress=False)
    scores = compare(truth, truth)
    assert score(scores, "potential_energy_error") == 0.0
    assert np.isnan(score(scores, "potential_energy_error", "bootstrap")).all()
    assert "finds no finite value" in scores["potential_energy_error"].attrs["bootstrap_note"]
    assert score(scores, "potential_energy_error", "frozen") > 0
