"""Field diagnostics: signals and samples of which the answer is known, and a small particle-in-cell run."""

import functools

import jax
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.plasma import diagnostics, dispersion

KEY = jax.random.key(0)
TIMES = np.linspace(0, 20, 121)


def signal(*waves, times=TIMES, noise=0.0, seed=0) -> xr.DataArray:
    """A sum of (weight, omega) plus complex noise."""
    rng = np.random.default_rng(seed)
    values = sum(weight * np.exp(-1j * omega * times) for weight, omega in waves)
    values = values + noise * (rng.standard_normal(len(times)) + 1j * rng.standard_normal(len(times))) / np.sqrt(2)
    return xr.DataArray(values, {"time": times}, ("time",))


def ensemble(x, v=None, period=2.0, **more) -> xr.Dataset:
    """Given samples of shape (run, time, sample), with times 0, 1, ..."""
    x = np.asarray(x, np.float32)
    dims = ("run", "time", "sample")
    data = {"x": (dims, x, {"period": period, "long_name": "position"})}
    if v is not None:
        data["v"] = (dims, np.asarray(v, np.float32), {"velocity_of": "x", "bounds_low": -4.0, "bounds_high": 4.0})
    return xr.Dataset(data | more, {"time": np.arange(x.shape[1]) * 1.0, "mu": ("run", np.arange(len(x)) + 1.0)})


# Growth rates


@pytest.mark.parametrize(
    "omega",
    [0.3j, 0.2j + 1.0, -0.15j + 1.4, 0.1j - 2.0, -0.4j],
    ids=["growth", "growing to the right", "damped", "growing to the left", "decay"],
)
@pytest.mark.parametrize("spacing", ["even", "Gauss nodes"])
def test_one_wave_without_noise_is_found_exactly(omega, spacing):
    times = TIMES if spacing == "even" else 10 + 10 * np.polynomial.legendre.leggauss(80)[0]
    fit = diagnostics.growth_rate(signal((0.1 + 0.2j, omega), times=times))
    assert float(fit["rate"]) == pytest.approx(omega.imag, abs=1e-6)
    assert float(fit["frequency"]) == pytest.approx(omega.real, abs=1e-6)
    assert float(fit["rate_error"]) < 1e-6
    assert float(fit["residual"]) < 1e-6
    assert int(fit["n_waves"]) == 1


def test_a_standing_damped_wave_has_two_halves_and_a_positive_frequency():
    landau = dispersion.least_damped(0.5, [(1.0, 0.0, 1.0)])
    fit = diagnostics.growth_rate(signal((1.0, landau), (0.8, -landau.conjugate()), noise=2e-3))
    assert int(fit["n_waves"]) == 2
    assert float(fit["frequency"]) == pytest.approx(landau.real, abs=4 * float(fit["frequency_error"]))
    assert float(fit["rate"]) == pytest.approx(landau.imag, abs=4 * float(fit["rate_error"]))
    assert float(fit["rate_error"]) < 2e-3


def test_real_signals_are_taken_too():
    real = signal((1.0, 1.4 - 0.15j)).real
    fit = diagnostics.growth_rate(real)
    assert float(fit["frequency"]) == pytest.approx(1.4, abs=1e-6)
    assert float(fit["rate"]) == pytest.approx(-0.15, abs=1e-6)


def test_damped_companions_do_not_bias_a_growing_wave():
    # At the start the damped pair is ten times larger than what grows.
    growing = signal((1e-3, 0.35j), (5e-3, 1.1 - 0.1j), (5e-3, -1.1 - 0.1j), (1e-3, -0.35j), noise=1e-5)
    fit = diagnostics.growth_rate(growing)
    assert float(fit["rate"]) == pytest.approx(0.35, abs=max(4 * float(fit["rate_error"]), 1e-4))
    assert float(fit["rate_error"]) < 5e-3


@pytest.mark.long
def test_the_standard_errors_cover_the_truth():
    deviations = {"rate": [], "frequency": []}
    for seed in range(60):
        noisy = signal((1.0, 1.4 - 0.15j), (1.0, -1.4 - 0.15j), noise=0.05, seed=seed)
        fit = diagnostics.growth_rate(noisy, window=(0.0, 12.0))
        for name, truth in (("rate", -0.15), ("frequency", 1.4)):
            deviations[name].append((float(fit[name]) - truth) / float(fit[f"{name}_error"]))
    for name, values in deviations.items():
        # Of unit variance within the scatter of 60 draws; not far too wide either.
        assert 0.7 < np.std(values) < 1.3, name
        assert abs(np.mean(values)) < 0.5, name


def test_correlated_residuals_widen_the_errors():
    rng = np.random.default_rng(0)
    white = rng.standard_normal(len(TIMES)) + 1j * rng.standard_normal(len(TIMES))
    smooth = np.convolve(white, np.ones(8) / 8, mode="same")
    errors = [
        float(
            diagnostics.growth_rate(signal((1.0, 0.1j)) + 0.02 * noise / np.std(noise), window=(0.0, 20.0))[
                "rate_error"
            ]
        )
        for noise in (white, smooth)
    ]
    assert errors[1] > 1.5 * errors[0]


def test_the_window_of_a_saturating_instability_ends_before_saturation():
    amplitude = 1e-3 * np.exp(0.6 * TIMES)
    saturated = xr.DataArray(amplitude / (1 + amplitude), {"time": TIMES}, ("time",))
    fit = diagnostics.growth_rate(saturated)
    largest = float(saturated.max())
    edges = [float(saturated.sel(time=fit[name])) / largest for name in ("window_start", "window_end")]
    assert 0.03 < edges[0] < 0.035
    assert 0.3 < edges[1] < 0.35
    # The logistic curve is a sum of exponentials, of which the first is the linear instability.
    assert float(fit["rate"]) == pytest.approx(0.6, rel=0.02)


def test_the_window_of_a_damped_wave_ends_at_noise_and_at_a_revival():
    damped = signal((1.0, 1.4 - 0.5j), (1.0, -1.4 - 0.5j), noise=1e-3)
    fit = diagnostics.growth_rate(damped)
    assert np.log(2 / 0.06) / 0.5 - 2.5 < float(fit["window_end"]) < np.log(2 / 0.06) / 0.5 + 0.5
    assert float(fit["rate"]) == pytest.approx(-0.5, abs=4 * float(fit["rate_error"]))
    # A copy that comes back at t = 18 with a fifth of the amplitude, as recurrence does.
    revival = 0.4 * np.exp(-(((TIMES - 18) / 1.0) ** 2)) * np.cos(1.4 * TIMES)
    again = diagnostics.growth_rate(damped + revival)
    assert float(again["window_end"]) < np.log(2 / 0.4) / 0.5 + 2.5
    assert float(again["rate"]) == pytest.approx(-0.5, abs=4 * float(again["rate_error"]))


def test_a_given_window_is_used_as_given():
    broken = signal((1.0, 0.3j)).where(TIMES < 10, 5.0)
    fit = diagnostics.growth_rate(broken, window=(2.0, 8.0))
    assert float(fit["rate"]) == pytest.approx(0.3, abs=1e-6)
    assert (float(fit["window_start"]), float(fit["window_end"])) == (2.0, 8.0)


def test_signals_too_short_for_the_rule_give_nan():
    silent = xr.DataArray(np.zeros((2, len(TIMES))), {"time": TIMES}, ("mode", "time"))
    fit = diagnostics.growth_rate(silent)
    assert np.isnan(fit["rate"]).all()
    assert (fit["n_waves"] == 0).all()
    assert fit["rate"].dims == ("mode",)


@pytest.mark.parametrize("scale", [1e-24, 1e12])
@pytest.mark.parametrize(("second", "start"), [(1e-12, 0.0), (1.0, 1e6), (1e9, -3e12)])
def test_rates_do_not_depend_on_units_and_origins(scale, second, start):
    near = signal((1.0, 0.2j + 1.0), (0.5, -0.1j - 0.7), noise=1e-3)
    own = diagnostics.growth_rate(near)
    far = (near * scale).assign_coords(time=start + second * TIMES)
    fit = diagnostics.growth_rate(far)
    for name, unit in {"rate": 1 / second, "rate_error": 1 / second, "frequency": 1 / second, "residual": 1.0}.items():
        assert float(fit[name]) == pytest.approx(float(own[name]) * unit, rel=1e-4)
    assert int(fit["n_waves"]) == int(own["n_waves"])
    assert float(fit["window_end"]) == pytest.approx(start + second * float(own["window_end"]), rel=1e-12)


def test_a_window_may_be_rounded():
    given = (float(np.float32(TIMES[7])), float(np.float32(TIMES[16])))
    fit = diagnostics.growth_rate(signal((1.0, 0.1j)), window=given)
    assert [float(fit["window_start"]), float(fit["window_end"])] == [TIMES[7], TIMES[16]]


def test_wrong_signals_and_windows_are_named():
    with pytest.raises(ValueError, match=r"window=\(0.0, 1.0\) holds 7 saved times"):
        diagnostics.growth_rate(signal((1.0, 0.3j)), window=(0.0, 1.0))
    with pytest.raises(ValueError, match=r"window=\(5.0, 1.0\) holds 0 saved times"):
        diagnostics.growth_rate(signal((1.0, 0.3j)), window=(5.0, 1.0))
    with pytest.raises(ValueError, match="non-finite"):
        diagnostics.growth_rate(signal((np.nan, 0.3j)))
    with pytest.raises(TypeError, match="what field_spectrum returns"):
        diagnostics.growth_rate(xr.Dataset())


# Spectra and energies


def test_modes_of_a_known_density():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 2, (2, 3, 40_000))
    keep = rng.uniform(0, 1.5, x.shape) < 1 + 0.5 * np.cos(2 * np.pi * x - 0.7)
    n = keep.sum(-1).min()
    x = np.stack([np.stack([row[k][:n] for row, k in zip(*rows, strict=True)]) for rows in zip(x, keep, strict=True)])
    ds = ensemble(x)
    spectrum = diagnostics.field_spectrum(ds, [1, 2], quantity="density")
    bars = 5 / np.sqrt(n)
    np.testing.assert_allclose(spectrum["amplitude"].sel(mode=2), 0.5, atol=2 * bars)
    np.testing.assert_allclose(spectrum["phase"].sel(mode=2), -0.7, atol=4 * bars)
    assert (spectrum["amplitude"].sel(mode=1) < 2 * bars).all()
    np.testing.assert_allclose(spectrum["wavenumber"], [np.pi, 2 * np.pi])
    # mu^2 E' = 1 - n: E = -0.5 sin(k x - 0.7) / (mu^2 k).
    field = diagnostics.field_spectrum(ds, [2], mu=ds["mu"])
    np.testing.assert_allclose(field["amplitude"][0] / field["amplitude"][1], 4, rtol=0.1)
    np.testing.assert_allclose(field["amplitude"][0], 0.5 / (2 * np.pi), atol=bars)
    np.testing.assert_allclose(field["phase"], np.pi / 2 - 0.7, atol=4 * bars)
    energy = diagnostics.electric_energy(ds)
    assert energy.dims == ("run", "time")
    np.testing.assert_allclose(energy, (0.25 / (2 * np.pi)) ** 2, rtol=0.1)


def test_modes_of_a_recorded_field():
    at = (np.arange(32) + 0.5) / 16
    field = 0.3 * np.cos(np.pi * at + 0.4) + 0.1 * np.cos(3 * np.pi * at - 1.0) + 7.0
    recorded = {"electric_field": (("run", "time", "cell"), np.broadcast_to(field, (1, 2, 32)))}
    ds = ensemble(np.zeros((1, 2, 4)), **recorded).assign_coords(cell=at)
    spectrum = diagnostics.field_spectrum(ds, [1, 2, 3])
    np.testing.assert_allclose(spectrum["amplitude"][0, 0], [0.3, 0, 0.1], atol=1e-12)
    np.testing.assert_allclose(spectrum["phase"][0, 1, [0, 2]], [0.4, -1.0], atol=1e-12)
    assert spectrum.attrs["source"] == "recorded field"
    with pytest.raises(ValueError, match="the 32 cells of 'electric_field' resolve modes up to 15"):
        diagnostics.field_spectrum(ds, [16])
    with pytest.raises(ValueError, match=r"evenly spaced by 0\.0625"):
        diagnostics.field_spectrum(ds.assign_coords(cell=at**2))


@pytest.mark.parametrize("metre", [1e-24, 2.0**20])
def test_spectra_do_not_depend_on_units_and_origins(metre):
    rng = np.random.default_rng(0)
    x = np.round(rng.uniform(0, 2, (1, 3, 300)) * 64) / 64
    field = np.cos(np.pi * (np.arange(40) + 0.5) / 20)[None, None] * np.ones((1, 3, 1))

    def moved(unit: float, turns: int) -> xr.Dataset:
        cells = unit * (np.arange(40) + 0.5) / 20
        more = {"electric_field": (("run", "time", "cell"), field * 1e-24)}
        return ensemble(unit * (x + 2 * turns), period=2 * unit, **more).assign_coords(cell=cells)

    plain, far = moved(1.0, 0), moved(metre, 0 if metre < 1 else 50_000)
    for quantity in ("density", "electric_field"):
        one, other = (diagnostics.field_spectrum(ds, [1, 2], quantity=quantity) for ds in (plain, far))
        np.testing.assert_allclose(other["amplitude"], one["amplitude"], rtol=1e-4, atol=1e-30)
        np.testing.assert_allclose(other["wavenumber"] * metre, one["wavenumber"])
    energies = [diagnostics.electric_energy(ds, n_modes=4) for ds in (plain, far)]
    np.testing.assert_allclose(energies[1] / metre**2, energies[0], rtol=1e-4)
    uneven = far.assign_coords(cell=far["cell"].values * np.linspace(0.9, 1.1, 40))
    with pytest.raises(ValueError, match="evenly spaced by"):
        diagnostics.field_spectrum(uneven, [1])


def test_wrong_spectra_are_named(as_installed):
    ds = ensemble(np.zeros((1, 2, 4)))
    with pytest.raises(ValueError, match="records no 'electric_field'; pass mu"):
        diagnostics.field_spectrum(ds)
    with pytest.raises(ValueError, match=r"mu=-1\.0 must be a number above 0"):
        diagnostics.field_spectrum(ds, mu=-1.0)
    with pytest.raises(ValueError, match="quantity='charge' must be"):
        diagnostics.field_spectrum(ds, quantity="charge")
    with pytest.raises(ValueError, match="modes=0 must be a whole number"):
        diagnostics.field_spectrum(ds, [0], quantity="density")
    with pytest.raises(ValueError, match="has no variable 'y'"):
        diagnostics.field_spectrum(ds, quantity="density", position="y")
    ds["x"].attrs.pop("period")
    with pytest.raises(ValueError, match="variable 'x' has no period"):
        diagnostics.electric_energy(ds)
    vectors = xr.Dataset({"x": (("run", "time", "sample", "axis"), np.zeros((1, 1, 2, 2)), {"period": 1.0})})
    with pytest.raises(ValueError, match=r"select one: ds.isel\(axis=0\)"):
        diagnostics.electric_energy(vectors.assign_coords(time=[0.0]))


# A particle-in-cell run


@functools.cache
def landau_run() -> xr.Dataset:
    stepper = simulators.VlasovPoissonPIC(amplitude=0.02, n_cells=64, dt=0.1)
    return hoam.simulate(stepper, {"mu": [1.0]}, np.linspace(0, 12, 61), key=KEY, n_samples=65_536, progress=False)


@pytest.mark.long
def test_landau_damping_of_a_run_follows_linear_theory():
    ds = landau_run()
    expected = dispersion.least_damped(0.5, simulators.VlasovPoissonPIC().beams)
    recorded = diagnostics.field_spectrum(ds, [1])
    fit = diagnostics.growth_rate(recorded)
    assert fit["rate"].dims == ("run", "mode")
    assert fit["frequency"].item() == pytest.approx(expected.real, rel=0.01)
    assert fit["rate"].item() == pytest.approx(expected.imag, rel=0.05)
    # Grid and direct sums see the same field.
    summed = diagnostics.field_spectrum(ds.drop_vars("electric_field"), [1], mu=ds["mu"])
    np.testing.assert_allclose(
        summed["amplitude"], recorded["amplitude"], atol=0.01 * float(recorded["amplitude"].max())
    )
    assert summed.attrs["source"] == "sums over the samples"


def test_the_electric_energy_of_the_samples_is_the_recorded_one():
    ds = landau_run()
    np.testing.assert_array_equal(diagnostics.electric_energy(ds), ds["electric_energy"])
    summed = diagnostics.electric_energy(ds.drop_vars("electric_energy"))
    first = float(ds["electric_energy"][0, 0])
    np.testing.assert_allclose(summed, ds["electric_energy"], atol=0.01 * first)


def test_invariants_of_a_run():
    ds = landau_run()
    kept = diagnostics.invariants(ds)
    assert {"momentum", "momentum_drift", "total_energy", "total_energy_drift"} <= set(kept.data_vars)
    assert float(np.abs(kept["total_energy_drift"]).max()) < 1e-3
    assert float(np.abs(kept["momentum_drift"]).max()) < 1e-4
    np.testing.assert_array_equal(kept["total_energy_drift"][:, 0], 0)
    # The same from samples and field energy.
    sums = diagnostics.invariants(ds.drop_vars(["momentum", "total_energy"]))
    np.testing.assert_allclose(sums["total_energy"], kept["total_energy"], rtol=1e-5)
    np.testing.assert_allclose(sums["momentum"], kept["momentum"], atol=1e-5)


def test_a_drift_is_seen():
    n = 1000
    v = np.random.default_rng(0).standard_normal((1, 2, n))
    v[:, 1] = v[:, 0] + 0.1
    unit = np.sqrt((v[0, 0] ** 2).mean())
    ds = ensemble(np.zeros((1, 2, n)), v, mass=(("run", "time"), [[2.0, 2.2]]))
    kept = diagnostics.invariants(ds)
    assert float(kept["mass_drift"][0, 1]) == pytest.approx(0.1)
    assert float(kept["momentum_drift"][0, 1]) == pytest.approx(0.1 / unit, rel=1e-4)
    assert "total_energy" not in kept
    with pytest.raises(ValueError, match="is a velocity"):
        diagnostics.invariants(ensemble(np.zeros((1, 2, n))))


# Phase space


def test_phase_space_density_of_a_known_distribution():
    rng = np.random.default_rng(2)
    x, v = rng.uniform(-2, 6, (1, 2, 400_000)), rng.standard_normal((1, 2, 400_000))
    f = diagnostics.phase_space_density(ensemble(x, v), bins=(4, 16))
    assert f["f"].dims == ("run", "time", "x", "v")
    np.testing.assert_allclose(f["x"], [0.25, 0.75, 1.25, 1.75])
    expected = np.exp(-(f["v"].values ** 2) / 2) / np.sqrt(2 * np.pi)
    # A bin is wide: the mean over it, not the value at its centre.
    np.testing.assert_allclose(f["f"][0, 0], np.broadcast_to(expected, (4, 16)), atol=0.012)
    density = f["f"].sum("v") * 0.5
    np.testing.assert_allclose(density.mean("x"), 1 - f["outside"], rtol=1e-12)
    np.testing.assert_allclose(f["outside"], 6.3e-5, atol=5e-5)


def test_phase_space_density_in_given_ranges():
    ds = ensemble([[[0.5, 1.5, 1.9, 2.1]]], [[[0.0, 0.1, 3.0, -0.1]]])
    f = diagnostics.phase_space_density(ds, bins=(2, 2), position_range=(0.0, 2.0), velocity_range=(-1.0, 1.0))
    # Three of four samples, in bins of area 1 of a box of length 2; x = 2.1 wraps to 0.1.
    np.testing.assert_allclose(f["f"][0, 0], [[0.5, 0.5], [0.0, 0.5]])
    assert float(f["outside"][0, 0]) == 0.25
    with pytest.raises(ValueError, match=r"velocity_range=\(1.0, -1.0\) of variable 'v'"):
        diagnostics.phase_space_density(ds, velocity_range=(1.0, -1.0))
    with pytest.raises(ValueError, match="bins=0 must be a whole number"):
        diagnostics.phase_space_density(ds, bins=(0, 4))
