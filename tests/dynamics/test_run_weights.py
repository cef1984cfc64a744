"""Interpolation between runs: exact where it should be, the same as SciPy's, and differentiable."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import CubicSpline, RBFInterpolator

from hoam_plugin.dynamics import weights_of_runs


def weights_at(columns: dict[str, list[float]], **point: float) -> np.ndarray:
    arrays = {name: np.asarray(column, float) for name, column in columns.items()}
    n_runs = len(next(iter(arrays.values())))
    return np.asarray(weights_of_runs(arrays, n_runs)(point))


def test_one_parameter_is_a_cubic_spline_in_any_order_of_the_runs() -> None:
    mu = np.asarray([0.9, 0.3, 0.5, 0.4, 0.8, 0.7])
    order = np.argsort(mu)
    spline = CubicSpline(mu[order], np.eye(6)[order])
    for point in (0.3, 0.44, 0.6, 0.9):
        np.testing.assert_allclose(weights_at({"mu": mu.tolist()}, mu=point), spline(point), atol=2e-6)


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_few_runs_have_the_polynomial_through_them(degree: int) -> None:
    mu = np.linspace(1e6, 1e6 + 1, degree + 1)
    quantity = (mu - 1e6) ** degree
    own = weights_at({"mu": mu.tolist()}, mu=1e6 + 0.625)
    assert own @ quantity == pytest.approx(0.625**degree, abs=1e-5)


def test_several_parameters_are_radial_basis_functions_in_units_of_their_spread() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(-1, 1, (9, 2))
    places = (places - places.mean(axis=0)) / places.std(axis=0)
    small, large = 1e-20 * places[:, 0], 300 + 1e-2 * places[:, 1]
    point = np.asarray([0.2, -0.3])
    oracle = RBFInterpolator(places, np.eye(9), kernel="cubic", degree=1)(point[None])[0]
    own = weights_at({"kT": small.tolist(), "n": large.tolist()}, kT=1e-20 * point[0], n=300 + 1e-2 * point[1])
    # Cubes of distances do not care for a rotation, which the principal directions are.
    np.testing.assert_allclose(own, oracle, atol=2e-3)


def test_runs_on_a_line_in_two_parameters_are_interpolated_along_it() -> None:
    mu = np.linspace(0, 1, 5)
    own = weights_at({"mu": mu.tolist(), "nu": (3 - 2 * mu).tolist(), "fixed": [7.0] * 5}, mu=0.3, nu=2.4, fixed=7.0)
    np.testing.assert_allclose(own, CubicSpline(mu, np.eye(5))(0.3), atol=2e-6)


def test_equal_runs_count_as_one_and_no_parameters_give_the_mean() -> None:
    own = weights_at({"mu": [1.0, 2.0, 1.0 + 1e-9, 3.0]}, mu=1.0)
    np.testing.assert_allclose(own, [0.5, 0, 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(weights_at({"mu": [2.0, 2.0]}, mu=2.0), 0.5)
    np.testing.assert_allclose(weights_of_runs({}, 3)({}), 1 / 3)


def test_derivatives_by_the_parameters() -> None:
    mu = np.linspace(0, 1, 6)
    line = weights_of_runs({"mu": mu}, 6)
    slope = jax.grad(lambda value: line({"mu": value}) @ jnp.asarray(mu**3, jnp.float32))
    assert float(slope(0.35)) == pytest.approx(3 * 0.35**2, abs=1e-4)
    corners = {"mu": np.asarray([0.0, 1, 0, 1, 0.5]), "nu": np.asarray([0.0, 0, 1, 1, 0.5])}
    plane = weights_of_runs(corners, 5)
    # Also on a run itself, where a distance is 0.
    both = jax.grad(lambda a, b: plane({"mu": a, "nu": b}) @ jnp.asarray(corners["mu"], jnp.float32), (0, 1))(0.5, 0.5)
    np.testing.assert_allclose(both, (1, 0), atol=1e-5)
