"""Duffing, Lorenz-9 and trap: equations against loops in NumPy, laws, fine steps, gradients, descriptions, errors."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin import registry
from hoam_plugin.simulators import Duffing, Lorenz9, Trap, duffing, lorenz9, trap

KEY = jax.random.key(0)
# Largest of some hundred standard normal variates; the keys are fixed.
ERROR_BARS = 4.5

PROBLEMS = {"duffing": (duffing, {"mu": 0.2}), "lorenz9": (lorenz9, {"r": 13.65}), "trap": (trap, {"mu": 0.6})}


# The equations


def lorenz9_by_hand(c, r, a=0.5, s=0.5):
    """Reiterer et al. 1998, mode by mode; c[1] to c[9]."""
    b1, b2 = 4 * (1 + a**2) / (1 + 2 * a**2), (1 + 2 * a**2) / (2 * (1 + a**2))
    b3, b4 = 2 * (1 - a**2) / (1 + a**2), a**2 / (1 + a**2)
    b5, b6 = 8 * a**2 / (1 + 2 * a**2), 4 / (1 + 2 * a**2)
    linear = {1: -s * b1, 2: -s, 3: -s * b1, 4: -s, 5: -s * b5, 6: -b6, 7: -b1, 8: -b1, 9: -1.0}
    couplings = {
        1: [(-s * b2, 7)],
        2: [(-s / 2, 9)],
        3: [(s * b2, 8)],
        4: [(s / 2, 9)],
        5: [],
        6: [],
        7: [(-r, 1)],
        8: [(r, 3)],
        9: [(-r, 2), (r, 4)],
    }
    products = {
        1: [(-1, 2, 4), (b4, 4, 4), (b3, 3, 5)],
        2: [(1, 1, 4), (-1, 2, 5), (1, 4, 5)],
        3: [(1, 2, 4), (-b4, 2, 2), (-b3, 1, 5)],
        4: [(-1, 2, 3), (-1, 2, 5), (1, 4, 5)],
        5: [(1 / 2, 2, 2), (-1 / 2, 4, 4)],
        6: [(1, 2, 9), (-1, 4, 9)],
        7: [(2, 5, 8), (-1, 4, 9)],
        8: [(-2, 5, 7), (1, 2, 9)],
        9: [(-2, 2, 6), (2, 4, 6), (1, 4, 7), (-1, 2, 8)],
    }
    rates = []
    for i in range(1, 10):
        rate = linear[i] * c[i]
        rate += sum(factor * c[j] for factor, j in couplings[i])
        rate += sum(factor * c[j] * c[k] for factor, j, k in products[i])
        rates.append(rate)
    return rates


def trap_by_hand(z, time, mu, alpha=-0.25):
    """The sum over all pairs, particle by particle and axis by axis."""
    n_particles, n_axes = z.shape
    centre = 5 / 4 * (math.sin(math.pi * time) + 3 / 2) + mu * math.cos(2 * math.pi * time)
    rates = np.zeros_like(z)
    for i in range(n_particles):
        for axis in range(n_axes):
            pull = sum(alpha / n_particles * (z[j, axis] - z[i, axis]) for j in range(n_particles))
            rates[i, axis] = (centre - z[i, axis]) ** 3 + pull
    return rates


def some_state(stepper, parameters, n_samples, time):
    """Samples spread well beyond the start, at a later time."""
    state = stepper.init(KEY, n_samples, parameters)
    rng = np.random.default_rng(0)
    spread = {v.name: jnp.asarray(2 * rng.standard_normal(getattr(state, v.name).shape)) for v in stepper.variables}
    return dataclasses.replace(state, time=jnp.asarray(time), **spread)


def test_the_duffing_drift_is_that_of_the_equation(x64):
    state = some_state(duffing(), {"mu": 0.2}, 20, 3.0)
    rates = duffing().rates(state, {"mu": 0.2})
    for i in range(20):
        x1, x2 = float(state.x[i]), float(state.v[i])
        assert float(rates["x"][i]) == pytest.approx(x2, rel=1e-12)
        assert float(rates["v"][i]) == pytest.approx(-2 * 0.2 * 1 * x2 + x1 - 0.2 * x1**3, rel=1e-12)
    np.testing.assert_allclose(duffing().known_drift(state, {"mu": 0.2})["v"], -0.4 * state.v)
    other = duffing(xi=0.5, omega=3.0).rates(state, {"mu": 0.2})["v"]
    np.testing.assert_allclose(other, -3 * state.v + 9 * state.x - 1.8 * state.x**3)


@pytest.mark.parametrize("constants", [{}, {"wave_number": 0.8, "prandtl": 3.0}])
def test_the_lorenz9_drift_is_that_of_the_equation(x64, constants):
    stepper = lorenz9(**constants)
    state = some_state(stepper, {"r": 13.65}, 20, 3.0)
    rates = stepper.rates(state, {"r": 13.65})["x"]
    for sample, rate in zip(np.asarray(state.x), np.asarray(rates), strict=True):
        expected = lorenz9_by_hand([math.nan, *sample], 13.65, *constants.values())
        np.testing.assert_allclose(rate, expected, rtol=1e-12, atol=1e-12)


def test_convection_sets_in_where_the_reduced_rayleigh_number_is_one(x64):
    growth = []
    for r in (0.99, 1.0, 1.01):
        jacobian = jax.jacfwd(lambda x, r=r: lorenz9().drift(0.0, x, {"r": r}))(jnp.zeros(9))
        growth.append(np.linalg.eigvals(np.asarray(jacobian)).real.max())
    assert growth[0] < -1e-3
    assert abs(growth[1]) < 1e-12
    assert growth[2] > 1e-3


def test_the_trap_drift_is_that_of_the_equation(x64):
    for time in (0.0, 0.3, 1.7):
        state = some_state(trap(n_particles=7), {"mu": 0.6}, 3, time)
        rates = trap(n_particles=7).rates(state, {"mu": 0.6})["x"]
        for sample, rate in zip(np.asarray(state.x), np.asarray(rates), strict=True):
            np.testing.assert_allclose(rate, trap_by_hand(sample, time, 0.6), rtol=1e-12, atol=1e-12)


# The laws


def moments(ds, name):
    """Mean and variance of every coordinate over time, and their squared standard errors."""
    x = ds[name].values[0].astype(np.float64)
    x = x.reshape(*x.shape[:2], -1)
    mean, variance = x.mean(1), x.var(1)
    fourth = ((x - mean[:, None]) ** 4).mean(1)
    return np.stack([mean, variance]), np.stack([variance, fourth - variance**2]) / x.shape[1]


def test_the_start_is_that_of_the_problem():
    n = 20_000
    state = duffing().init(KEY, n, {"mu": 0.2})
    for samples, mean in ((state.x, 0.0), (state.v, -10.0)):
        assert abs(float(samples.mean()) - mean) < ERROR_BARS * 0.5 / np.sqrt(n)
        assert abs(float(samples.std()) / 0.5 - 1) < ERROR_BARS / np.sqrt(2 * n)
    modes = lorenz9().init(KEY, n, {"r": 14.0}).x
    assert modes.shape == (n, 9)
    assert np.abs(modes.mean(0)).max() < ERROR_BARS * 0.02 / np.sqrt(n)
    assert np.abs(modes.std(0) / 0.02 - 1).max() < ERROR_BARS / np.sqrt(2 * n)
    positions = trap().init(KEY, 5000, {"mu": 0.6}).x
    assert positions.shape == (5000, 50, 2)
    expected = np.linspace(0.9, 3.0, 50)[:, None]
    assert np.abs(positions.mean(0) - expected).max() < ERROR_BARS * 0.1 / np.sqrt(5000)
    assert np.abs(positions.std(0) / 0.1 - 1).max() < ERROR_BARS / np.sqrt(2 * 5000)


@pytest.mark.long
@pytest.mark.parametrize("mu", [pytest.param(0.1, marks=pytest.mark.slow), 0.3])
def test_the_long_run_of_duffing_has_the_stationary_density(mu):
    n, stepper = 20_000, duffing(velocity=0.0, width=1.0)
    ds = hoam.simulate(stepper, {"mu": [mu]}, [0.0, 60.0], key=KEY, n_samples=n, progress=False)
    rng = np.random.default_rng(0)
    grid = np.linspace(-8, 8, 4001)
    density = np.exp(np.asarray(stepper.log_stationary_density(grid, 0.0, {"mu": mu}), np.float64))
    distribution = np.cumsum(density) / density.sum()

    def exact():
        x = np.interp(rng.uniform(size=n), distribution, grid)
        # exp(-2 xi omega v^2) with xi = 0.2, omega = 1
        return np.stack([x, rng.normal(0, np.sqrt(1 / 0.8), n)], axis=-1)

    def histogram(samples):
        return np.histogramdd(samples, bins=[np.linspace(-6, 6, 33), np.linspace(-6, 6, 33)])[0] / n

    first, second = histogram(exact()), histogram(exact())
    long_run = histogram(np.stack([ds["x"].values[0, 1], ds["v"].values[0, 1]], axis=-1).astype(np.float64))
    floor = np.abs(first - second).sum()
    assert np.abs(long_run - first).sum() < 1.15 * floor
    assert np.abs(histogram(exact() * [1.05, 1]) - first).sum() > 1.15 * floor


def test_the_two_wells_lie_where_the_density_says():
    x = np.linspace(0.5, 5, 4501)
    density = duffing().log_stationary_density(x, 0.0, {"mu": 0.2})
    assert x[int(np.argmax(density))] == pytest.approx(0.2**-0.5, abs=2e-3)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "n_samples", "times"),
    [
        ("duffing", 4000, [0.0, 3.0, 12.0]),
        pytest.param("lorenz9", 2000, [0.0, 8.0, 20.0], marks=pytest.mark.slow),
        ("trap", 200, [0.0, 0.5, 2.0]),
    ],
)
def test_a_tenth_of_the_step_has_the_same_moments(name, n_samples, times):
    factory, parameters = PROBLEMS[name]
    runs = [
        hoam.simulate(
            factory(),
            {k: [v] for k, v in parameters.items()},
            times,
            key=key,
            n_samples=n_samples,
            dt=dt,
            progress=False,
        )
        for key, dt in ((KEY, factory().dt), (jax.random.key(1), factory().dt / 10))
    ]
    for v in factory().variables:
        (coarse, coarse_error), (fine, fine_error) = (moments(ds, v.name) for ds in runs)
        assert (np.abs(coarse - fine) < ERROR_BARS * np.sqrt(coarse_error + fine_error)).all()


def test_the_noise_of_duffing_kicks_the_velocity_alone():
    stepper = duffing(solver="Euler")
    state = stepper.init(KEY, 100, {"mu": 0.2})
    after = stepper.step(state, 0.01, {"mu": 0.2}, key=KEY)
    np.testing.assert_allclose(after.x, state.x + 0.01 * state.v, rtol=1e-5, atol=1e-6)
    assert float(jnp.std(after.v - state.v - 0.01 * stepper.rates(state, {"mu": 0.2})["v"])) == pytest.approx(
        0.1, rel=0.3
    )
    noise = stepper.noise(state, {"mu": 0.2})
    np.testing.assert_array_equal(noise["x"], np.zeros(100))
    np.testing.assert_array_equal(noise["v"], np.ones(100))


# The contract


@pytest.mark.parametrize("name", list(PROBLEMS))
def test_gradients_equal_central_differences(x64, name):
    factory, parameters = PROBLEMS[name]
    stepper = factory(n_particles=4) if name == "trap" else factory()
    (parameter,) = stepper.parameters
    start = stepper.init(KEY, 3, parameters)
    variable = stepper.variables[-1].name

    @jax.jit
    @jax.value_and_grad
    def outcome(inputs):
        state = dataclasses.replace(start, **{variable: getattr(start, variable) + inputs[1]})

        def body(state, key):
            return stepper.step(state, 0.05, {parameter: inputs[0]}, key=key), None

        state, _ = jax.lax.scan(body, state, jax.random.split(KEY, 4))
        return sum(jnp.sum(jnp.sin(getattr(state, v.name))) for v in stepper.variables)

    inputs, h = jnp.asarray([parameters[parameter], 0.3]), 1e-5
    differences = [(outcome(inputs + h * e)[0] - outcome(inputs - h * e)[0]) / (2 * h) for e in np.eye(2)]
    assert np.abs(differences).min() > 1e-4
    np.testing.assert_allclose(outcome(inputs)[1], differences, rtol=1e-6)


@pytest.mark.parametrize(
    "stepper",
    [
        duffing(sigma=0.5, horizon=(0.0, 3.0)),
        lorenz9(dt=0.01, stepsize_controller=(1e-3, 1e-4)),
        trap(n_particles=3, n_axes=1, gamma=0.1),
    ],
)
def test_the_stepper_is_rebuilt_from_its_description(stepper):
    name, arguments = stepper.describe()
    again = registry.rebuild_from_attribute(json.dumps({"name": name, "arguments": arguments}))
    assert again == stepper
    assert hash(jax.tree.structure(again)) == hash(jax.tree.structure(stepper))
    assert registry.stepper(name) == PROBLEMS[name][0]()


def test_an_ensemble_names_dimensions_and_stepper(tmp_path):
    stepper = trap(n_particles=3)
    ds = hoam.simulate(stepper, {"mu": [0.3, 0.6]}, [0.0, 0.1], key=KEY, n_samples=4, progress=False)
    assert ds["x"].dims == ("run", "time", "sample", "particle", "axis")
    assert ds["x"].shape == (2, 2, 4, 3, 2)
    np.testing.assert_array_equal(ds["particle"], [0, 1, 2])
    back = hoam.ensemble.load(hoam.ensemble.save(ds, tmp_path / "ds.zarr"))
    assert registry.rebuild_stepper(back) == stepper


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:the 8 saved times do not resolve")
def test_a_kinetic_surrogate_of_duffing_knows_friction_and_noise():
    ds = hoam.simulate(
        duffing(), {"mu": [0.2, 0.3]}, hoam.quadrature.gauss_legendre(8), key=KEY, n_samples=64, progress=False
    )
    training = hoam.Training(iterations=4, n_samples=32, block=2)
    network = hoam.VectorField(width=8, depth=2)
    learned = hoam.fit(ds, structure="kinetic", potential=network, training=training, progress=False, key=KEY)
    assert learned.learned.replaces == duffing()
    assert learned.learned.known_noise
    assert learned.learned.known_drift


# Errors


@pytest.mark.parametrize(
    ("problem", "wrong", "says"),
    [
        (Duffing, {"omega": 0.0}, "omega=0.0 must be a finite number above 0"),
        (Duffing, {"xi": -0.1}, "xi=-0.1 must be a finite number of at least 0"),
        (Duffing, {"velocity": math.inf}, "velocity=inf must be a finite number"),
        (Duffing, {"solver": "Tsit5"}, "solver='Tsit5' does not converge"),
        (Lorenz9, {"sigma": math.nan}, "sigma=nan must be a finite number of at least 0"),
        (Lorenz9, {"prandtl": -1.0}, "prandtl=-1.0 must be a finite number above 0"),
        (Lorenz9, {"horizon": (0.0, math.inf)}, r"horizon=\(0.0, inf\) must be increasing and finite"),
        (Trap, {"n_particles": 0}, "n_particles=0 must be a whole number of at least 1"),
        (Trap, {"gamma": -1.0}, "gamma=-1.0 must be a finite number of at least 0"),
        (Trap, {"dt": math.nan}, "dt=nan must be a finite number above 0"),
    ],
)
def test_wrong_arguments_are_named(as_installed, problem, wrong, says):
    with pytest.raises(ValueError, match=says):
        problem(**wrong)


def test_wrong_parameters_are_named():
    with pytest.raises(ValueError, match=r"parameters\['mu'\] holds -0.1; the double well needs mu > 0"):
        hoam.simulate(duffing(), {"mu": [0.2, -0.1]}, [0.0, 1.0], key=KEY, n_samples=4, progress=False)
    for name, (factory, parameters) in PROBLEMS.items():
        (parameter,) = parameters
        with pytest.raises(ValueError, match=rf"parameters\['{parameter}'\].* must be a"):
            hoam.simulate(factory(), {parameter: [math.nan]}, [0.0, 1.0], key=KEY, n_samples=4, progress=False)
        with pytest.raises(ValueError, match=rf"parameters\['{parameter}'\]=inf must be a finite number"):
            factory().init(KEY, 4, {parameter: math.inf})
        assert registry.stepper(name).parameters == (parameter,)
    with pytest.raises(ValueError, match=r"sigma=0.0 and xi=0.2: a stationary density needs noise"):
        duffing(sigma=0.0).log_stationary_density(0.0, 0.0, {"mu": 0.2})
