"""Motions of mean and covariance against normal populations whose moments are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.dynamics import MomentMotion, moment_drift, moment_motion, whitened
from hoam_plugin.dynamics.moments import symmetric_exponential
from hoam_plugin.steppers import Variable

TIMES = np.linspace(2.0, 4.0, 17)


def moments(t: float, mu: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance at a fraction of the horizon: turning and stretching axes, faster for larger mu."""
    angle = 0.8 * mu * t
    turn = np.asarray([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    variances = np.asarray([np.exp(2 * mu * t), 0.3 * np.exp(-t)])
    return np.asarray([np.sin(2 * t) + mu, mu * t**2]), (turn * variances) @ turn.T


def population(mu: list[float], n: int = 40, times: np.ndarray = TIMES, unit: float = 1.0) -> xr.Dataset:
    """Samples with just these moments; "y" is a variable of two components, "x" lies on a circle."""
    e = whitened(np.random.default_rng(0).standard_normal((n, 2)))
    y = np.empty((len(mu), len(times), n, 2))
    for run, value in enumerate(mu):
        for i, t in enumerate((times - times[0]) / (times[-1] - times[0])):
            mean, covariance = moments(t, value)
            y[run, i] = mean + e @ scipy.linalg.sqrtm(covariance).real
    variables = (Variable("x", period=1.0), Variable("y", dims=("axis",)))
    x = np.random.default_rng(1).uniform(0, 1, y.shape[:3])
    return ensembles.build(ensembles.frame(times, {"mu": mu}), variables, {"x": x, "y": unit * y})


def motion_of(ds: xr.Dataset, unit: float = 1.0) -> MomentMotion:
    shift, scale = np.asarray([0.0, 0.5 * unit, -unit]), np.asarray([0.3, 2.0 * unit, 0.5 * unit])
    return moment_motion(ds, shift, scale, [True, False, False])


def normalised(mean: np.ndarray, covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.asarray([2.0, 0.5])
    return (mean - [0.5, -1.0]) / scale, covariance / np.outer(scale, scale)


@pytest.mark.parametrize("unit", [1.0, 1e-12])
def test_moments_between_saved_times_and_runs(unit: float) -> None:
    motion = motion_of(population([0.4, 0.6, 0.8, 1.0, 1.2], unit=unit), unit)
    assert motion.columns == (1, 2)
    for t, mu, close in ((0.0, 0.8, 1e-5), (1.0, 1.2, 1e-5), (0.47, 0.8, 1e-4), (0.47, 0.9, 1e-3)):
        mean, covariance = normalised(*moments(t, mu))
        np.testing.assert_allclose(motion.mean(t, {"mu": mu}), mean, atol=close)
        found = motion.covariance(t, {"mu": mu})
        np.testing.assert_allclose(found, covariance, atol=close * np.abs(covariance).max())
        root = motion.covariance(t, {"mu": mu}, 0.5)
        np.testing.assert_allclose(root @ root, found, rtol=1e-4, atol=1e-5)


def test_the_drift_moves_a_population_as_its_moments_move() -> None:
    motion = motion_of(population([0.4, 0.6, 0.8, 1.0, 1.2]))
    drift, parameters = moment_drift(motion), {"mu": 0.9}
    e = jnp.asarray(whitened(np.random.default_rng(2).standard_normal((30, 2))), jnp.float32)
    start = motion.mean(0.0, parameters)[None, :] + e @ motion.covariance(0.0, parameters, 0.5)
    z = jnp.concatenate([jnp.full((30, 1), 0.25), start], axis=1)

    def step(z: jax.Array, i: jax.Array) -> tuple[jax.Array, None]:
        t, dt = i / 200, jnp.float32(1 / 200)
        middle = z + dt / 2 * drift.drift(z, t, parameters)
        return z + dt * drift.drift(middle, t + dt / 2, parameters), None

    end = np.asarray(jax.lax.scan(step, z, jnp.arange(200, dtype=jnp.float32))[0], np.float64)
    mean, covariance = normalised(*moments(1.0, 0.9))
    np.testing.assert_allclose(end[:, 1:].mean(axis=0), mean, atol=2e-3)
    np.testing.assert_allclose(np.cov(end[:, 1:], rowvar=False, ddof=0), covariance, atol=4e-3 * covariance.max())
    np.testing.assert_array_equal(end[:, 0], 0.25)


@pytest.mark.long
def test_the_drift_is_a_gradient_and_solves_the_equation_of_lyapunov() -> None:
    motion = motion_of(population([0.7, 0.9]))
    drift, parameters, t = moment_drift(motion), {"mu": 0.7}, float(np.float32(6 / 16))
    jacobian = jax.jacobian(lambda x: drift.drift(x[None], t, parameters)[0])(jnp.zeros(3))
    np.testing.assert_allclose(jacobian, jacobian.T, atol=1e-6)
    ends = [normalised(*moments(t + h, 0.7))[1] for h in (1e-4, -1e-4)]
    oracle = scipy.linalg.solve_sylvester(*[normalised(*moments(t, 0.7))[1]] * 2, (ends[0] - ends[1]) / 2e-4)
    np.testing.assert_allclose(jacobian[1:, 1:], oracle, atol=2e-3)


def test_no_spread_and_few_samples_stay_finite() -> None:
    ds = population([0.4, 0.6, 0.8])
    ds["y"][:, 0] = np.asarray([1.0, 2.0])
    motion = motion_of(ds)
    assert np.isfinite(motion.covariance(0.0, {"mu": 0.5})).all()
    assert float(jnp.abs(motion.covariance(0.0, {"mu": 0.4})).max()) < 1e-8
    few = motion_of(population([0.4, 0.6, 0.8], n=40).isel(sample=slice(2)))
    values = np.linalg.eigvalsh(few.covariance(0.5, {"mu": 0.5}))
    assert values.min() > 0
    assert np.isfinite(jax.tree.leaves(moment_drift(few))[-1]).all()
    x = np.tile([1.0, 2.0], (5, 1))
    np.testing.assert_array_equal(whitened(x), 0.0)


def test_whitened_samples_of_correlated_ones() -> None:
    x = np.random.default_rng(0).standard_normal((50, 3)) @ [[1, 2, 0], [0, 1, 0], [5, 0, 1e-3]] + [1e3, 0, 1]
    e = whitened(x)
    np.testing.assert_allclose(e.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(e.T @ e / 50, np.eye(3), atol=1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("n_dims", [1, 2])
def test_samples_are_left_as_they_were(n_dims: int, order: str, dtype: type) -> None:
    z = np.asarray(np.random.default_rng(0).normal(3.0, 2.0, (50, n_dims)), dtype, order=order)
    before = z.copy()
    whitened(z)
    np.testing.assert_array_equal(z, before)
    array = ("run", "time", "sample"), np.asarray(z[:, 0]).reshape(1, 5, 10)
    ds = xr.Dataset({"x": array}, {"time": np.linspace(0, 1, 5)})
    moment_motion(ds, np.zeros(1), np.ones(1), [False])
    np.testing.assert_array_equal(ds["x"].values.ravel(), before[:, 0])


def test_derivative_of_the_exponential_at_equal_eigenvalues() -> None:
    rng = np.random.default_rng(0)
    for matrix in (np.zeros((3, 3)), np.diag([1.0, 1.0, -2.0]), np.diag([0.0, 8.0, -8.0])):
        direction = rng.standard_normal((3, 3))
        direction = direction + direction.T
        value, rate = jax.jvp(
            symmetric_exponential, (jnp.asarray(matrix, jnp.float32),), (jnp.asarray(direction, jnp.float32),)
        )
        exact = scipy.linalg.expm_frechet(matrix, direction)
        np.testing.assert_allclose(value, exact[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(rate, exact[1], rtol=1e-4, atol=1e-4 * np.abs(exact[1]).max())


def test_gradients_through_moments() -> None:
    motion = motion_of(population([0.4, 0.6, 0.8, 1.0]))
    of = jax.jit(lambda t, mu: jnp.sum(motion.covariance(t, {"mu": mu}, 0.5)) + jnp.sum(motion.mean(t, {"mu": mu})))
    by_time, by_mu = jax.grad(of, (0, 1))(0.4, 0.7)
    assert float(by_time) == pytest.approx(float(of(0.41, 0.7) - of(0.39, 0.7)) / 0.02, rel=2e-2)
    assert float(by_mu) == pytest.approx(float(of(0.4, 0.71) - of(0.4, 0.69)) / 0.02, rel=2e-2)


def test_one_saved_time_does_not_move() -> None:
    with pytest.raises(ValueError, match="one saved time only"):
        motion_of(population([0.4, 0.6]).isel(time=[0]))
