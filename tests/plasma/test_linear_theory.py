"""What linear theory says of an ensemble: against the linear equation integrated in time, and where it is silent."""

import json

import numpy as np
import pytest
import xarray as xr

from hoam_plugin import ensembles, simulators
from hoam_plugin.plasma import units_of, waves_of
from hoam_plugin.plasma.linear_theory import excited_wave

TIMES = np.linspace(0.0, 40.0, 81)
TWO_STREAM = ((0.5, -3.0, 1.0), (0.5, 3.0, 1.0))
MAXWELLIAN = ((1.0, 0.0, 1.0),)


def integrated(k, beams, mu, amplitude, end, n=2000):
    """Times, and the energy by the linear Vlasov equation as an integral equation for the density."""
    times = np.linspace(0, end, n + 1)
    kernel = sum(w * np.exp(-1j * k * u * times - (k * s * times) ** 2 / 2) for w, u, s in beams)
    density = amplitude / 2 * kernel
    memory = -times * kernel / mu**2 * (times[1] - times[0])
    for i in range(1, n + 1):
        density[i] += memory[i] * density[0] / 2 + memory[1:i][::-1] @ density[1:i]
    return times, np.abs(density / k) ** 2


def of(stepper, mu=(1.25, 1.85)) -> xr.Dataset:
    """An ensemble that the stepper might have made."""
    name, arguments = stepper.describe()
    attributes = {"stepper": json.dumps({"name": name, "arguments": arguments})}
    frame = ensembles.frame(TIMES, {"mu": mu}, attributes=attributes)
    samples = {v.name: np.zeros((len(mu), len(TIMES), 2), np.float32) for v in stepper.variables}
    return ensembles.build(frame, stepper.variables, samples)


def test_a_growing_wave_is_what_is_left_of_the_start() -> None:
    k = 2 * np.pi / 50
    for mu, rate in ((1.25, 0.21485), (1.85, 0.15220)):
        times, energy = integrated(k, TWO_STREAM, mu, 1e-3, 60.0)
        found, start = excited_wave(k, TWO_STREAM, mu, 1e-3)
        assert found == pytest.approx(2 * rate, abs=2e-5)
        late = times > 50
        np.testing.assert_allclose(start * np.exp(found * times[late]), energy[late], rtol=0.02)


def test_a_standing_wave_lies_below_the_sum_of_both_that_travel() -> None:
    times, energy = integrated(0.5, MAXWELLIAN, 1.0, 1e-3, 20.0)
    rate, start = excited_wave(0.5, MAXWELLIAN, 1.0, 1e-3)
    assert rate == pytest.approx(-2 * 0.153359, abs=1e-5)
    ratio = (energy / (start * np.exp(rate * times)))[times > 3]
    assert ratio.max() == pytest.approx(1.0, abs=0.01)
    assert ratio.min() < 0.01


def test_lines_end_where_the_recorded_energy_ends_to_grow_or_fall() -> None:
    rate, start = excited_wave(2 * np.pi / 50, TWO_STREAM, 1.25, 0.05)
    saturated = np.minimum(start * np.exp(rate * TIMES), 0.6)
    wave, other = waves_of(of(simulators.two_stream()), np.stack([saturated, np.full(TIMES.shape, np.nan)]))
    assert wave.rate == pytest.approx(rate)
    np.testing.assert_allclose(wave.energy, start * np.exp(rate * wave.times))
    assert wave.energy[-1] <= 0.6 < wave.energy[-1] * np.exp(rate * 0.5)
    assert other is None
    damped = np.maximum(np.exp(-0.3 * TIMES), 1e-4)
    wave = waves_of(of(simulators.landau_damping(), mu=(1.0,)), damped[None])[0]
    assert wave.rate == pytest.approx(-2 * 0.153359, abs=1e-5)
    assert 10 < wave.times[-1] < 30


@pytest.mark.parametrize(
    "stepper",
    [
        simulators.strong_landau(),
        simulators.VlasovPoissonPIC(beams=lambda v: np.exp(-(v**2) / 2)),
        simulators.VlasovPoissonPIC(collision_frequency=0.1),
        simulators.VlasovPoissonPIC(initial_density=lambda x: 1 + 0 * x),
        simulators.VlasovPoissonPIC(species=(simulators.Species("electron"),)),
    ],
)
def test_elsewhere_it_says_nothing(stepper) -> None:
    ds = of(stepper)
    assert waves_of(ds, np.ones((2, len(TIMES)))) == [None, None]


def test_units_of_plasmas_and_of_nothing_else() -> None:
    length, time = r"$\lambda_D$ at $\mu$ = 1", r"$1/\omega_p$ at $\mu$ = 1"
    assert units_of(of(simulators.two_stream())) == {"x": length, "v": "$v_{th}$", "time": time}
    assert units_of(of(simulators.strong_landau()))["x3"] == length
    assert units_of(of(simulators.VlasovPoissonPIC(beams=((1.0, 0.0, 0.5),)))) == {}
    assert units_of(of(simulators.VlasovPoissonPIC(beams=lambda v: np.exp(-(v**2) / 2)))) == {}
    for text in ("", "my code, version 3", "[1]", '{"name": "lorenz9"}'):
        assert units_of(of(simulators.two_stream()).assign_attrs(stepper=text)) == {}
