"""Weights of the training runs around a point of parameter space."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoam_plugin.scores.interpolation import interpolation_weights


def columns(table, names="abc") -> dict[str, np.ndarray]:
    return dict(zip(names, np.asarray(table, float).T, strict=False))


def as_array(weights: dict[int, float], n_runs: int) -> np.ndarray:
    return np.array([weights.get(run, 0.0) for run in range(n_runs)])


@pytest.mark.parametrize("scale", [1.0, 1e-24, 1e6])
@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_two_neighbours_in_one_parameter(scale, shift):
    runs = {"mu": (np.array([5.0, 1.0, 2.0]) + shift) * scale}
    for value, expected in ((1.25, [0, 0.75, 0.25]), (2.0, [0, 0, 1]), (3.5, [0.5, 0, 0.5])):
        weights = interpolation_weights(runs, {"mu": (value + shift) * scale})
        np.testing.assert_allclose(as_array(weights, 3), expected, atol=1e-8)
    for value in (0.99, 5.01):
        with pytest.raises(ValueError, match=r"^mu=\S+ is outside the training runs' \[\S+, \S+\]$"):
            interpolation_weights(runs, {"mu": (value + shift) * scale})


def test_a_grid_is_interpolated_in_every_parameter():
    runs = columns([[a, b] for a in (1.0, 2.0, 4.0) for b in (1e-24, 3e-24)])
    weights = as_array(interpolation_weights(runs, {"a": 2.5, "b": 1.5e-24}), 6)
    np.testing.assert_allclose(weights, [0, 0, 0.5625, 0.1875, 0.1875, 0.0625])


@given(st.integers(0, 10_000), st.integers(2, 3), st.integers(5, 12))
def test_scattered_runs_reproduce_linear_functions_from_the_corners_of_a_small_simplex(seed, n_parameters, n_runs):
    rng = np.random.default_rng(seed)
    unit = rng.uniform(size=(n_runs, n_parameters))
    share = rng.dirichlet(np.ones(n_runs))
    scale, shift = np.array([1e-24, 1.0, 1e6])[:n_parameters], np.array([0.0, 1e3, -5.0])[:n_parameters]
    point = dict(zip("abc", (share @ unit + shift) * scale, strict=False))
    weights = as_array(interpolation_weights(columns((unit + shift) * scale), point), n_runs)
    np.testing.assert_allclose(weights.sum(), 1.0)
    assert (weights >= 0).all()
    assert np.count_nonzero(weights) <= n_parameters + 1
    np.testing.assert_allclose(weights @ unit, share @ unit, atol=1e-6)


def test_scattered_runs_use_their_delaunay_simplex():
    from scipy.interpolate import LinearNDInterpolator

    rng = np.random.default_rng(3)
    table, values = rng.uniform(size=(20, 2)), rng.standard_normal(20)
    scaled = (table - table.min(axis=0)) / np.ptp(table, axis=0)
    own = LinearNDInterpolator(scaled, values)
    for share in rng.dirichlet(np.ones(20), size=10):
        weights = interpolation_weights(columns(table), dict(zip("ab", share @ table, strict=True)))
        assert as_array(weights, 20) @ values == pytest.approx(float(own(share @ scaled)[0]), abs=1e-6)


def test_runs_along_a_line_and_constant_parameters():
    t = np.linspace(0.0, 1.0, 5)
    line = {"a": 1e6 + 10 * t, "b": 3e-24 * t, "c": np.full(5, 0.1)}
    weights = interpolation_weights(line, {"a": 1e6 + 3.5, "b": 0.35 * 3e-24, "c": float(np.float32(0.1))})
    np.testing.assert_allclose(as_array(weights, 5), [0, 0.6, 0.4, 0, 0], atol=1e-6)
    with pytest.raises(ValueError, match=r"a=1000003.5, b=1.5e-24, c=0.1 is outside the hull"):
        interpolation_weights(line, {"a": 1e6 + 3.5, "b": 1.5e-24, "c": 0.1})
    with pytest.raises(ValueError, match=r"c=0.2 is outside the training runs' \[0.1, 0.1\]"):
        interpolation_weights(line, {"a": 1e6 + 3.5, "b": 0.35 * 3e-24, "c": 0.2})


def test_replicas_count_as_their_mean():
    weights = interpolation_weights({"mu": np.array([1.0, 2.0, 2.0, 1.0, 1.0])}, {"mu": 1.25})
    np.testing.assert_allclose(as_array(weights, 5), [0.25, 0.125, 0.125, 0.25, 0.25])
    scattered = columns([[0, 0], [1, 0], [0, 1], [1, 0]])
    weights = interpolation_weights(scattered, {"a": 0.5, "b": 0.25})
    np.testing.assert_allclose(as_array(weights, 4), [0.25, 0.25, 0.25, 0.25])


def test_a_hull_ends_where_its_runs_do():
    triangle = columns([[0, 0], [1, 0], [0, 1]])
    edge = as_array(interpolation_weights(triangle, {"a": 0.5, "b": 0.5}), 3)
    np.testing.assert_allclose(edge, [0, 0.5, 0.5], atol=1e-6)
    with pytest.raises(ValueError, match=r"a=0.8, b=0.8 is outside the hull of the training runs' parameters"):
        interpolation_weights(triangle, {"a": 0.8, "b": 0.8})
    with pytest.raises(ValueError, match="no parameters in which to interpolate"):
        interpolation_weights({}, {})
