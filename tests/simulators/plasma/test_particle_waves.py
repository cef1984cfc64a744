"""The particle-in-cell solver against linear theory."""

import jax
import numpy as np
import pytest
from scipy.optimize import fsolve
from scipy.special import wofz

from hoam_plugin.simulation.run import simulate
from hoam_plugin.simulators import VlasovPoissonPIC, bump_on_tail, two_stream

pytestmark = pytest.mark.long

KEY = jax.random.key(0)


def dielectric(omega, k, beams):
    """1 + sum_b w_b (1 + zeta Z(zeta)) / (k s_b)^2, k in units of 1/mu, of Maxwellians (weight, drift, width)."""
    total = 1.0 + 0.0j
    for weight, drift, width in beams:
        zeta = (omega / k - drift) / (np.sqrt(2) * width)
        total += weight * (1 + zeta * 1j * np.sqrt(np.pi) * wofz(zeta)) / (k * width) ** 2
    return total


def root(k, beams, guess):
    def equations(z):
        value = dielectric(complex(*z), k, beams)
        return value.real, value.imag

    return complex(*fsolve(equations, (guess.real, guess.imag), xtol=1e-10))


def growth_rate(mu, mode, beams, guess, length=50.0):
    """Growth rate of `mu^2 phi'' = n - 1`: plasma frequency 1/mu, and k enters as k mu."""
    # With t = mu tau and v = u / mu, x = y: the equations are those of mu = 1 for velocities mu v.
    scaled = [(weight, mu * drift, mu * width) for weight, drift, width in beams]
    return root(2 * np.pi * mode / length, scaled, guess * mu).imag / mu


TWO_STREAM = [(0.5, -3.0, 1.0), (0.5, 3.0, 1.0)]


BUMP_ON_TAIL = [(0.9, 0.0, 1.0), (0.1, 4.0, 0.5)]


@pytest.mark.parametrize(
    ("k", "beams", "guess", "expected"),
    [
        (0.5, [(1.0, 0.0, 1.0)], 1.4 - 0.15j, 1.415662 - 0.153359j),
        (0.2, TWO_STREAM, 0.28j, 0.28451j),
        (0.2, [(0.5, -2.4, 1.0), (0.5, 2.4, 1.0)], 0.22j, 0.22584j),
        (0.3, [(0.9, 0.0, 1.0), (0.1, 4.5, 0.5)], 1.0 + 0.2j, 1.00122 + 0.19810j),
    ],
)
def test_the_reference_dispersion_relation_has_the_published_roots(k, beams, guess, expected):
    assert root(k, beams, guess) == pytest.approx(expected, abs=1e-5)


def test_the_reference_growth_rates_of_the_two_problems():
    assert growth_rate(1.25, 1, TWO_STREAM, 0.2j) == pytest.approx(0.21485, abs=1e-5)
    assert growth_rate(1.35, 1, BUMP_ON_TAIL, 0.5 + 0.1j) == pytest.approx(0.0982, abs=1e-4)
    assert growth_rate(1.35, 2, BUMP_ON_TAIL, 0.9 + 0.12j) == pytest.approx(0.1275, abs=1e-4)


def mode_amplitude(ds, mode=1):
    return np.abs(np.fft.rfft(ds["electric_field"].values, axis=-1)[..., mode])


def fitted_rate(ds, start, end, mode=1):
    window = (ds["time"].values >= start) & (ds["time"].values <= end)
    return np.polyfit(ds["time"].values[window], np.log(mode_amplitude(ds, mode)[window]), 1)[0]


@pytest.fixture(scope="module")
def linear_two_stream():
    mus = [1.25, 1.25, 1.4, 1.6]  # the first twice: rows have keys of their own
    stepper = two_stream(amplitude=1e-4, n_cells=512, dt=0.1)
    return simulate(stepper, {"mu": mus}, np.linspace(0, 40, 161), key=KEY, n_samples=100_000, progress=False)


@pytest.mark.parametrize("run", range(4))
def test_two_stream_grows_as_linear_theory_says(linear_two_stream, run):
    ds = linear_two_stream.isel(run=run)
    expected = growth_rate(float(ds["mu"]), 1, TWO_STREAM, 0.2j)
    assert fitted_rate(ds, 26, 40) == pytest.approx(expected, rel=0.03)


def test_two_stream_grows_as_linear_theory_says_where_little_of_the_start_is_in_the_unstable_wave():
    stepper = two_stream(amplitude=1e-3, n_cells=512, dt=0.1)
    ds = simulate(stepper, {"mu": [1.9]}, np.linspace(26, 40, 57), key=KEY, n_samples=100_000, progress=False)
    assert fitted_rate(ds.isel(run=0), 26, 40) == pytest.approx(growth_rate(1.9, 1, TWO_STREAM, 0.15j), rel=0.03)


def test_bump_on_tail_grows_as_linear_theory_says():
    stepper = bump_on_tail(amplitude=1e-3, mode=2, n_cells=512, dt=0.1)
    ds = simulate(stepper, {"mu": [1.35]}, np.linspace(0, 40, 161), key=KEY, n_samples=100_000, progress=False).isel(
        run=0
    )
    assert fitted_rate(ds, 15, 35, mode=2) == pytest.approx(growth_rate(1.35, 2, BUMP_ON_TAIL, 0.9 + 0.12j), rel=0.03)


def test_landau_damping_has_the_frequency_and_rate_of_linear_theory():
    stepper = VlasovPoissonPIC(amplitude=0.02, n_cells=64, dt=0.05)
    ds = simulate(stepper, {"mu": [1.0]}, np.linspace(0, 12, 241), key=KEY, n_samples=200_000, progress=False).isel(
        run=0
    )
    energy, times = np.log(ds["field_energy"].values), ds["time"].values
    peaks = np.flatnonzero((energy[1:-1] > energy[:-2]) & (energy[1:-1] > energy[2:])) + 1
    # The field energy peaks twice per oscillation.
    assert np.pi / np.diff(times[peaks]).mean() == pytest.approx(1.415662, rel=0.02)
    assert np.polyfit(times[peaks], energy[peaks], 1)[0] / 2 == pytest.approx(-0.153359, rel=0.05)
