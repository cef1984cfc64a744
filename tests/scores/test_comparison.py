"""Scores of two ensembles, and which can be compared."""

import builtins
import math
import re

import numpy as np
import pytest
import xarray as xr
from scored import LENGTH, TIMES, V, ensemble, score

from hoam_plugin.scores import compare, distances, valid, verdict_table
from hoam_plugin.scores.comparison import REFERENCES


def test_equal_ensembles_score_zero_in_every_run():
    truth = ensemble()
    scores = compare(truth, truth)
    assert scores.sizes == {"reference": 5, "run": 2}
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


# ott-jax imports jaxopt, which announces its own end.
JAXOPT = pytest.mark.filterwarnings("ignore:JAXopt:DeprecationWarning")


@pytest.mark.long
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
