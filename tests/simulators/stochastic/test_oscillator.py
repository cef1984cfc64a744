"""The noisy oscillator against its analytic law; an ensemble of vectors on its way through files and the registry."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import registry
from hoam_plugin.simulators import Oscillator, oscillator
from hoam_plugin.steppers import abilities_of

KEY = jax.random.key(0)
N = 40_000
# Largest of some hundred standard normal variates; the keys are fixed.
ERROR_BARS = 4.5


def simulated(stepper: Oscillator, times, n_samples: int = N, **options) -> xr.Dataset:
    return hoam.simulate(stepper, {}, times, key=KEY, n_samples=n_samples, progress=False, **options)


def covariance_of_noise(omega: float, sigma: float, dt: float) -> np.ndarray:
    """Of (x, v) after `dt` from one point: sigma^2 int r r^T ds with r = (sin ws / w, cos ws), by quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    s, weights = dt * (nodes + 1) / 2, weights * dt / 2
    response = np.stack([np.sin(omega * s) / omega, np.cos(omega * s)])
    return sigma**2 * (response * weights) @ response.T


def test_mean_and_variance_follow_the_analytic_solution():
    times = np.linspace(0, 1, 21)
    ds = simulated(oscillator(), times)
    phase = 8 * times
    mean = -np.cos(phase)
    variance = 0.01 * (np.cos(phase) ** 2 + np.sin(phase) ** 2 / 64) + (0.05**2 / 64) * (
        times / 2 - np.sin(2 * phase) / 32
    )
    x = ds["x"].values[0].astype(np.float64)
    assert (np.abs(x.mean(1) - mean[:, None]) < ERROR_BARS * np.sqrt(variance / N)[:, None]).all()
    assert (np.abs(x.var(1) / variance[:, None] - 1) < ERROR_BARS * np.sqrt(2 / N)).all()


def test_where_noise_dominates_the_law_is_still_exact():
    stepper = oscillator(omega=3.0, sigma=2.0, width=0.05)
    times = np.linspace(0, 4, 9)
    ds = simulated(stepper, times, dt=10.0)
    mean, variance = stepper.exact_mean(times), stepper.exact_variance(times)
    for name in ("x", "v"):
        samples = ds[name].values[0].astype(np.float64)
        bars = ERROR_BARS * np.sqrt(variance[name] / N)[:, None]
        assert (np.abs(samples.mean(1) - mean[name]) < bars).all()
        assert (np.abs(samples.var(1) / variance[name][:, None] - 1) < ERROR_BARS * np.sqrt(2 / N)).all()


def test_the_analytic_moments_are_those_of_the_linear_equations():
    stepper = oscillator(omega=2.5, sigma=0.7, position=(1.0, -2.0, 0.5), width=0.3, horizon=(1.0, 3.0))
    times = np.linspace(1, 3, 5)
    mean, variance = stepper.exact_mean(times), stepper.exact_variance(times)
    for i, elapsed in enumerate(times - 1):
        c, s = np.cos(2.5 * elapsed), np.sin(2.5 * elapsed)
        rotation = np.asarray([[c, s / 2.5], [-2.5 * s, c]])
        covariance = 0.09 * rotation @ rotation.T + covariance_of_noise(2.5, 0.7, elapsed)
        np.testing.assert_allclose([variance["x"][i], variance["v"][i]], np.diag(covariance), rtol=1e-12)
        expected = rotation @ np.asarray([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]])
        np.testing.assert_allclose([mean["x"][i], mean["v"][i]], expected, atol=1e-12)


@pytest.mark.parametrize("dt", [1e-5, 1e-3, 0.1, 0.126, 0.5, 3.0])
def test_the_noise_of_a_step_has_the_covariance_of_the_equation_in_float32(dt):
    to_v, to_x, alone = map(float, oscillator()._noise_factors(jnp.float32(dt)))
    factor = np.asarray([[to_x, alone], [to_v, 0.0]])
    expected = covariance_of_noise(8.0, 0.05, float(np.float32(dt)))
    np.testing.assert_allclose(
        factor @ factor.T, expected, rtol=2e-6, atol=1e-7 * np.sqrt(expected[0, 0] * expected[1, 1])
    )
    # The determinant is what cancellation would spoil first.
    determinant = np.linalg.det(expected) if dt > 0.01 else 0.05**4 * float(np.float32(dt)) ** 4 / 12
    assert (to_v * alone) ** 2 == pytest.approx(determinant, rel=1e-3 if dt < 0.01 else 1e-5)


def test_one_large_step_equals_many_small_ones_in_law():
    stepper = oscillator(sigma=1.0)
    large = simulated(stepper, [0.0, 0.7], dt=1.0)
    small = simulated(stepper, [0.0, 0.7], dt=0.007)
    samples = [
        np.concatenate([ds[n].values[0, -1] for n in ("x", "v")], axis=-1).astype(np.float64) for ds in (large, small)
    ]
    scale = np.sqrt(np.diag(np.cov(samples[0].T)))
    means, covariances = [s.mean(0) / scale for s in samples], [np.cov((s / scale).T) for s in samples]
    assert np.abs(means[0] - means[1]).max() < ERROR_BARS * np.sqrt(2 / N)
    assert np.abs(covariances[0] - covariances[1]).max() < ERROR_BARS * np.sqrt(4 / N)


def test_a_step_of_no_length_changes_nothing():
    stepper = oscillator()
    state = stepper.init(KEY, 8, {})
    after = stepper.step(state, 0.0, {}, key=KEY)
    np.testing.assert_array_equal(after.x, state.x)
    np.testing.assert_array_equal(after.v, state.v)


def test_without_noise_it_is_a_rotation_and_runs_backwards():
    stepper = oscillator(sigma=0.0)
    state = stepper.init(KEY, 64, {})
    energy = 64 * state.x**2 + state.v**2
    after = stepper.step(state, 0.37, {})
    np.testing.assert_allclose(64 * after.x**2 + after.v**2, energy, rtol=1e-5)
    np.testing.assert_allclose(stepper.step(after, -0.37, {}).x, state.x, atol=1e-5)
    assert float(after.time) == pytest.approx(0.37)


def test_the_rates_are_the_drift_without_noise():
    stepper = oscillator()
    state = stepper.init(KEY, 64, {})
    rates = stepper.rates(state, {})
    quiet = dataclasses.replace(stepper, sigma=0.0)
    forward, backward = (quiet.step(state, dt, {}) for dt in (1e-2, -1e-2))
    for name in ("x", "v"):
        difference = (getattr(forward, name) - getattr(backward, name)) / 2e-2
        np.testing.assert_allclose(rates[name], difference, rtol=2e-3, atol=2e-2)
    np.testing.assert_allclose(rates["v"], -64 * state.x)
    assert stepper.noise(state, {}) == {"v": 0.05}
    assert abilities_of(stepper).known_drift is None


def test_simulate_records_the_rates_of_vectors():
    ds = simulated(oscillator(), [0.0, 0.5, 1.0], n_samples=32, rates=True)
    assert ds["v_rate"].dims == ("run", "time", "sample", "axis")
    np.testing.assert_allclose(ds["v_rate"], -64 * ds["x"], rtol=1e-6)
    np.testing.assert_array_equal(ds["x_rate"], ds["v"])
    assert hoam.ensemble.variable_names(ds) == ["x", "v"]
    assert [v.velocity_of for v in hoam.ensemble.variables(ds)] == [None, "x"]


def test_an_ensemble_of_vectors_goes_through_files_and_names_its_stepper(tmp_path):
    stepper = oscillator(omega=5.0, position=(0.5, 1.0, 2.0))
    ds = simulated(stepper, hoam.quadrature.gauss_legendre(4), n_samples=16)
    assert ds["x"].shape == (1, 6, 16, 3)
    for name in ("ds.zarr", "ds.nc"):
        back = hoam.ensemble.load(hoam.ensemble.save(ds, tmp_path / name))
        xr.testing.assert_equal(back, ds)
        assert registry.rebuild_stepper(back) == stepper
    assert hash(registry.rebuild_stepper(ds)) == hash(stepper)
    name, arguments = stepper.describe()
    assert registry.rebuild_from_attribute(json.dumps({"name": name, "arguments": arguments})) == stepper
    assert registry.stepper("oscillator") == oscillator()


def test_streaming_gives_the_same_ensemble(tmp_path):
    in_memory = simulated(oscillator(), [0.0, 0.5], n_samples=16)
    streamed = simulated(oscillator(), [0.0, 0.5], n_samples=16, store=tmp_path / "ds.zarr")
    for name in ("x", "v"):
        np.testing.assert_array_equal(streamed[name], in_memory[name])


@pytest.mark.filterwarnings("ignore:the 8 saved times do not resolve")
@pytest.mark.parametrize("structure", [pytest.param("gradient", marks=pytest.mark.slow), "kinetic"])
def test_it_can_be_learned_and_the_surrogate_takes_its_place(structure):
    ds = simulated(oscillator(), hoam.quadrature.gauss_legendre(8), n_samples=256)
    network = hoam.VectorField(width=8, depth=2) if structure == "kinetic" else hoam.CoLoRA(width=8, depth=2)
    options = {"training": hoam.Training(iterations=4, n_samples=32, block=2), "progress": False, "key": KEY}
    learned = hoam.fit(ds if structure == "kinetic" else ds[["x"]], structure=structure, potential=network, **options)
    assert learned.learned.replaces == oscillator()
    assert learned.learned.known_noise == (structure == "kinetic")
    names = ["x", "v"] if structure == "kinetic" else ["x"]
    out = hoam.simulate(learned, {}, [0.0, 1.0], key=KEY, n_samples=64, initial=ds[names], progress=False)
    assert hoam.ensemble.variable_names(out) == names
    assert out["x"].shape == (1, 2, 64, 2)
    scores = hoam.compare(ds[names].isel(time=[0, -1]).drop_vars("quadrature_weight", errors="ignore"), out)
    assert np.isfinite(scores["sliced_wasserstein"].sel(reference="surrogate")).all()


def test_double_precision_stays(x64):
    ds = simulated(oscillator(), [0.0, 0.3, 1.0], n_samples=16)
    assert ds["x"].dtype == np.float64
    to_v, to_x, alone = map(float, oscillator()._noise_factors(jnp.asarray(0.11)))
    expected = covariance_of_noise(8.0, 0.05, 0.11)
    np.testing.assert_allclose([to_v**2, to_v * to_x, to_x**2 + alone**2], expected[[1, 0, 0], [1, 1, 0]], rtol=1e-12)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"omega": 0.0}, "omega=0.0 must be a positive number"),
        ({"dt": float("nan")}, "dt=nan must be a positive number"),
        ({"sigma": -1.0}, "sigma=-1.0 must be a finite number of at least 0"),
        ({"width": -0.1}, "width=-0.1 must be a finite number of at least 0"),
        ({"position": ()}, r"position=\(\) must be one finite number per axis"),
        ({"horizon": (1.0, 1.0)}, r"horizon=\(1.0, 1.0\) must be increasing"),
    ],
)
def test_wrong_arguments_are_named(as_installed, wrong, says):
    with pytest.raises(ValueError, match=says):
        oscillator(**wrong)


def test_noise_needs_a_key():
    stepper = oscillator()
    state = stepper.init(KEY, 8, {})
    with pytest.raises(ValueError, match=r"key=None: sigma=0.05 needs random numbers"):
        stepper.step(state, 0.1, {})
