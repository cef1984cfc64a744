"""The grid solver against dispersion relations and published rates of growth and decay."""

import dataclasses
import math

import jax
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.plasma import diagnostics, dispersion
from hoam_plugin.simulators import Beam, Species, VlasovPoissonGrid, strong_landau

MAXWELLIAN = (Beam(1.0, 0.0, 1.0),)


TWO_STREAM = (Beam(0.5, -3.0, 1.0), Beam(0.5, 3.0, 1.0))


def run(stepper, mu, times, n_samples=8, **options):
    """One run, with its diagnostics."""
    options = {"key": jax.random.key(0), "progress": False} | options
    return hoam.simulate(stepper, {"mu": [mu]}, times, n_samples=n_samples, **options)


def wave(ds, window):
    """Fit of the first mode of the field."""
    return diagnostics.growth_rate(
        diagnostics.field_spectrum(ds, modes=[1]), window=(float(window[0]), float(window[1]))
    ).isel(run=0, mode=0)


@pytest.mark.parametrize(
    ("k", "drift", "advection"),
    [(0.5, 0.0, "spline"), (0.5, 0.0, "fourier"), (0.35, 0.0, "spline"), (0.7, 0.3, "spline")],
)
def test_landau_damping(k, drift, advection, x64):
    beams = (Beam(1.0, drift, 1.0),)
    stepper = VlasovPoissonGrid(beams, length=2 * np.pi / k, amplitude=1e-4, n_x=16, n_v=128, advection_v=advection)
    fit = wave(run(stepper, 1.0, np.linspace(0, 25, 251), dt=0.05), (6, 25))
    exact = dispersion.least_damped(k, MAXWELLIAN)
    assert abs(fit["rate"] / exact.imag - 1) < 0.005
    # Both waves of a plasma that drifts are carried along.
    assert min(abs(abs(fit["frequency"]) / abs(sign * exact.real + k * drift) - 1) for sign in (1, -1)) < 0.005
    if (k, drift) == (0.5, 0.0):
        assert abs(exact - (1.415662 - 0.153359j)) < 1e-6


@pytest.mark.parametrize(
    ("beams", "k", "growth", "window"),
    [
        (TWO_STREAM, 0.2, 0.28451, (20, 40)),
        ((Beam(0.5, -2.4, 1.0), Beam(0.5, 2.4, 1.0)), 0.2, 0.22584, (20, 45)),
        ((Beam(0.9, 0.0, 1.0), Beam(0.1, 4.5, 0.5)), 0.3, 0.19810, (20, 45)),
    ],
)
def test_growth_rates(beams, k, growth, window, x64):
    stepper = VlasovPoissonGrid(beams, length=2 * np.pi / k, amplitude=1e-8, n_x=16, n_v=192)
    fit = wave(run(stepper, 1.0, np.linspace(0, 45, 181), dt=0.125), window)
    assert abs(fit["rate"] / growth - 1) < 0.01
    assert abs(dispersion.growth_rate(k, beams) - growth) < 1e-5


def test_two_species_oscillate_at_their_common_plasma_frequency(x64):
    # Cold electrons and positrons: omega^2 = 2, with a thermal correction 3 k^2 <v^2>.
    cold, k, times = 0.05, 0.5, np.linspace(0, 12, 121)
    pair = (Species("electron", beams=((1, 0, cold),)), Species("positron", 1.0, beams=((1, 0, cold),)))
    stepper = VlasovPoissonGrid(species=pair, length=2 * np.pi / k, amplitude=1e-3, n_x=16, n_v=64)
    omega = abs(float(wave(run(stepper, 1.0, times, dt=0.05), (0, 12))["frequency"]))
    assert abs(omega / math.sqrt(2 + 3 * (k * cold) ** 2) - 1) < 2e-3
    # An ion of infinite mass does not take part.
    heavy = (pair[0], Species("ion", 1.0, 1e9, beams=((1, 0, cold),)))
    slow = wave(run(dataclasses.replace(stepper, species=heavy), 1.0, times, dt=0.05), (0, 12))
    assert abs(abs(float(slow["frequency"])) - 1) < 2e-3


def test_strong_landau_damping_decays_and_grows_at_the_published_rates():
    stepper = strong_landau(dimensions=1, solver="grid", n_x=32, n_v=256, advection_v="spline")
    ds = run(stepper, 1.0, np.linspace(0, 40, 321), dt=0.125)
    at, height = toy.maxima(ds["time"].values, np.sqrt(ds["field_energy"].values[0].astype(np.float64)))
    top = np.log(height)
    # The first two maxima, and those from t = 20 until the growth saturates.
    assert -0.30 <= np.polyfit(at[at < 5], top[at < 5], 1)[0] <= -0.27
    later = (at > 20) & (at < 40)
    assert 0.075 <= np.polyfit(at[later], top[later], 1)[0] <= 0.090
