"""Anybody's own SDE: laws against analytic ones, for every kind of noise, solver and adaptive step."""

import dataclasses

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.simulators import DiffraxStepper

KEY = jax.random.key(0)


N = 20_000


# Largest of some hundred standard normal variates; the keys are fixed.
ERROR_BARS = 4.5


def relaxation(time, x, parameters):
    return -parameters["theta"] * x


def around_one(key, n_samples, parameters):
    return 1 + 0.3 * jax.random.normal(key, (n_samples, 2))


def ornstein_uhlenbeck(**options) -> DiffraxStepper:
    """dx = -theta x dt + noise in two dimensions, from N(1, 0.3^2)."""
    arguments = {"diffusion": (0.5, 0.2), "initial": around_one, "parameters": ("theta",), "dt": 0.1}
    return DiffraxStepper(relaxation, **(arguments | options))


def at_points(stepper, x, time=0.0, parameters=None):
    """A state of `stepper` that holds given samples."""
    state = stepper.init(KEY, len(x), parameters or {})
    return dataclasses.replace(state, x=jnp.asarray(x, state.x.dtype), time=jnp.asarray(time, state.x.dtype))


def run(stepper, state, n_steps, parameters, dt, key=KEY):
    """`n_steps` equal steps, compiled, with the stepper as an argument."""

    @jax.jit
    def loop(stepper, state, parameters, key):
        def body(i, state):
            return stepper.step(state, dt, parameters, key=jax.random.fold_in(key, i))

        return jax.lax.fori_loop(0, n_steps, body, state)

    return loop(stepper, state, parameters, key)


def moments(x):
    wide = np.asarray(x, np.float64)
    return wide.mean(0), np.cov(wide.T)


# The laws


def test_full_constant_noise_gives_the_analytic_law_at_all_saved_times():
    rows = ((0.5, 0.0, 0.1), (0.4, 0.2, 0.0))
    stepper = ornstein_uhlenbeck(diffusion=rows, solver="Heun", dt=0.02)
    times, theta = np.asarray([0.0, 0.3, 1.0, 2.0]), 1.5
    ds = hoam.simulate(stepper, {"theta": [theta]}, times, key=KEY, n_samples=N, progress=False)
    assert ds["x"].dims == ("run", "time", "sample", "axis")
    sources = np.asarray(rows) @ np.asarray(rows).T
    for i, t in enumerate(times):
        decay = np.exp(-2 * theta * t)
        covariance = 0.09 * np.eye(2) * decay + sources * (1 - decay) / (2 * theta)
        mean, measured = moments(ds["x"].values[0, i])
        scale = np.sqrt(np.diag(covariance))
        assert (np.abs(mean - np.exp(-theta * t)) < ERROR_BARS * scale / np.sqrt(N)).all()
        assert (np.abs(measured - covariance) < ERROR_BARS * np.sqrt(2 / N) * np.outer(scale, scale)).all()


@pytest.mark.parametrize("solver", ["Euler", "ItoMilstein"])
def test_noise_that_grows_with_the_state_is_taken_in_the_sense_of_ito(solver):
    def start(key, n, parameters):
        return jnp.ones((n, 1))

    stepper = DiffraxStepper(lambda t, x, p: p["r"] * x, lambda t, x, p: 0.5 * x, start, ("r",), solver=solver)
    state = run(stepper, stepper.init(KEY, N, {"r": 0.3}), 200, {"r": 0.3}, 0.005)
    mean, variance = moments(state.x)
    expected = np.exp(2 * 0.3) * (np.exp(0.25) - 1)
    # In the sense of Stratonovich the mean would be 13 % larger, some 30 standard errors.
    assert abs(mean[0] - np.exp(0.3)) < ERROR_BARS * np.sqrt(expected / N)
    # The fourth moment of this log-normal law makes the error bar of the variance 2.6 times that of a normal law.
    assert abs(variance / expected - 1) < ERROR_BARS * 2.6 * np.sqrt(2 / N)


def test_noise_as_a_matrix_that_depends_on_state_time_and_parameters():
    def diffusion(time, x, parameters):
        return jnp.stack([jnp.stack([x[0], time, parameters["s"]]), jnp.stack([x[1], x[0], jnp.zeros_like(time)])])

    stepper = DiffraxStepper(lambda t, x, p: jnp.zeros_like(x), diffusion, around_one, ("s",))
    point, dt = np.asarray([0.5, -2.0]), 0.25
    state = at_points(stepper, np.tile(point, (N, 1)), time=3.0, parameters={"s": 1.0})
    mean, covariance = moments(stepper.step(state, dt, {"s": 1.0}, key=KEY).x)
    rows = np.asarray([[0.5, 3.0, 1.0], [-2.0, 0.5, 0.0]])
    expected = dt * rows @ rows.T
    scale = np.sqrt(np.diag(expected))
    assert (np.abs(mean - point) < ERROR_BARS * scale / np.sqrt(N)).all()
    assert (np.abs(covariance - expected) < ERROR_BARS * np.sqrt(2 / N) * np.outer(scale, scale)).all()


@pytest.mark.parametrize("solver", ["Euler", "Heun", "SEA", "SRA1", diffrax.ShARK()])
def test_a_large_step_has_the_law_that_the_scheme_has_on_paper(solver):
    h = 0.8
    factors = {  # of x, and variance of the noise over that of W, for dx = -x dt + dW
        "Euler": (1 - h, 1.0),
        "Heun": (1 - h + h**2 / 2, (1 - h / 2) ** 2),
        "SEA": (1 - h, (1 - h / 2) ** 2 + h**2 / 12),
        "SRA1": (1 - h + h**2 / 2, (1 - h / 2) ** 2 + h**2 / 12),
        "ShARK": (1 - h + h**2 / 2, (1 - h / 2) ** 2 * (1 + h**2 / 12)),
    }
    stepper = ornstein_uhlenbeck(diffusion=0.7, solver=solver)
    state = at_points(stepper, np.tile([1.0, -2.0], (N, 1)), parameters={"theta": 1.0})
    mean, covariance = moments(stepper.step(state, h, {"theta": 1.0}, key=KEY).x)
    factor, share = factors[solver if isinstance(solver, str) else "ShARK"]
    variance = 0.49 * h * share
    assert (np.abs(mean - factor * np.asarray([1.0, -2.0])) < ERROR_BARS * np.sqrt(variance / N)).all()
    assert (np.abs(covariance / variance - np.eye(2)) < ERROR_BARS * np.sqrt(2 / N)).all()


def test_coordinates_without_noise_move_exactly_and_the_others_independently():
    stepper = ornstein_uhlenbeck(diffusion=(0.0, 0.4))
    state = stepper.init(KEY, N, {"theta": 1.0})
    after = stepper.step(state, 0.1, {"theta": 1.0}, key=KEY)
    np.testing.assert_allclose(after.x[:, 0], 0.9 * state.x[:, 0], rtol=1e-6)
    kicks = np.asarray(after.x[:, 1] - 0.9 * state.x[:, 1], np.float64) / (0.4 * np.sqrt(0.1))
    assert abs(kicks.mean()) < ERROR_BARS / np.sqrt(N)
    assert abs(kicks.var() - 1) < ERROR_BARS * np.sqrt(2 / N)
    assert abs(np.mean(kicks[1:] * kicks[:-1])) < ERROR_BARS / np.sqrt(N)


def test_a_late_step_in_single_precision_is_as_long_as_an_early_one():
    stepper = DiffraxStepper(lambda t, x, p: jnp.ones_like(x), None, around_one, solver="Heun")
    early, late = (at_points(stepper, np.zeros((1, 2)), time=time) for time in (0.0, 4096.0))
    for state in (early, late):
        np.testing.assert_allclose(stepper.step(state, 1e-3, {}).x, 1e-3, rtol=1e-6)


def test_time_enters_the_drift():
    stepper = DiffraxStepper(lambda t, x, p: jnp.full_like(x, 3 * t**2), None, around_one, solver="Tsit5", dt=0.5)
    state = at_points(stepper, np.zeros((1, 2)), time=1.0)
    np.testing.assert_allclose(stepper.step(state, 0.5, {}).x, 1.5**3 - 1, rtol=1e-5)
    assert float(stepper.step(state, 0.5, {}).time) == 1.5


def test_without_noise_a_solver_of_higher_order_is_that_much_better(x64):
    errors = {}
    for solver in ("Euler", "Heun", "Tsit5"):
        stepper = ornstein_uhlenbeck(diffusion=None, solver=solver)
        state = stepper.init(KEY, 4, {"theta": 1.0})
        for n_steps in (16, 32):
            after = run(stepper, state, n_steps, {"theta": 1.0}, 1 / n_steps)
            errors[solver, n_steps] = float(jnp.abs(after.x - state.x * np.exp(-1.0)).max())
    for solver, order in (("Euler", 1), ("Heun", 2), ("Tsit5", 5)):
        assert np.log2(errors[solver, 16] / errors[solver, 32]) == pytest.approx(order, abs=0.35)


# Adaptive steps


def test_adaptive_steps_reach_a_tolerance_that_one_fixed_step_misses():
    def stiff_then_slow(time, x, parameters):
        return -50 * (x - jnp.cos(time))

    fixed = DiffraxStepper(stiff_then_slow, None, around_one, solver="Tsit5")
    adaptive = dataclasses.replace(fixed, stepsize_controller=(1e-5, 1e-6))
    state = fixed.init(KEY, 16, {})
    exact = (2500 * np.cos(1.0) + 50 * np.sin(1.0)) / 2501
    np.testing.assert_allclose(jax.jit(adaptive.step)(state, 1.0, {}).x, exact, rtol=2e-4)
    assert np.abs(fixed.step(state, 1.0, {}).x - exact).max() > 1


@pytest.mark.long
def test_adaptive_steps_with_noise_have_the_analytic_law():
    n, theta, t = 4000, 2.0, 0.5
    stepper = ornstein_uhlenbeck(diffusion=0.5, solver="Heun", stepsize_controller=(1e-2, 1e-2), dt=0.5)
    ds = hoam.simulate(stepper, {"theta": [theta]}, [0.0, t, 2 * t], key=KEY, n_samples=n, progress=False)
    for i in (1, 2):
        decay = np.exp(-2 * theta * t * i)
        variance = 0.09 * decay + 0.25 * (1 - decay) / (2 * theta)
        mean, covariance = moments(ds["x"].values[0, i])
        assert (np.abs(mean - np.exp(-theta * t * i)) < ERROR_BARS * np.sqrt(variance / n)).all()
        assert (np.abs(covariance / variance - np.eye(2)) < ERROR_BARS * np.sqrt(2 / n)).all()


def test_a_sample_whose_adaptive_solve_fails_is_reported():
    stepper = DiffraxStepper(
        lambda t, x, p: x**2, None, lambda key, n, p: jnp.ones((n, 1)), solver="Tsit5", stepsize_controller=(1e-3, 1e-3)
    )
    with pytest.raises(FloatingPointError, match="variable 'x' became non-finite at time 2"):
        hoam.simulate(stepper, {}, [0.0, 2.0], dt=2.0, key=KEY, n_samples=2, progress=False)
