"""Derivatives at the nodes of a rule."""

import numpy as np
import pytest

from hoam_plugin import quadrature
from hoam_plugin.numerics.differentiation import differentiation_matrix
from hoam_plugin.numerics.summation_by_parts import derivatives_by_parts, differences_of_pairs
from hoam_plugin.quadrature import trapezoid_weights


def gauss(n):
    nodes, weights = quadrature.gauss_legendre(n).nodes_and_weights()
    return np.r_[0, nodes, 1], np.r_[0, weights, 0]


def uneven(n):
    nodes = np.r_[0, np.sort(np.random.default_rng(0).uniform(size=n - 2)), 1]
    return nodes, trapezoid_weights(nodes)


def equal(n):
    return np.linspace(0, 1, n), trapezoid_weights(np.linspace(0, 1, n))


def dense(indices, coefficients):
    matrix = np.zeros((len(indices), len(indices)))
    np.put_along_axis(matrix, indices, coefficients, axis=1)
    return matrix


GRIDS = {"Gauss 16": gauss(16), "Gauss 256": gauss(256), "equal": equal(60), "uneven": uneven(40), "three": equal(3)}


@pytest.mark.parametrize("grid", GRIDS)
def test_quadratic_functions_are_differentiated_exactly(grid):
    t, w = GRIDS[grid]
    matrix = dense(*derivatives_by_parts(t, w))
    used = w > 0
    for f, rate in ((np.ones_like(t), 0 * t), (t, 1 + 0 * t), (t**2, 2 * t)):
        np.testing.assert_allclose((matrix @ f)[used], rate[used], atol=1e-13 * np.abs(matrix).max())
    np.testing.assert_array_equal(matrix[~used], 0)


@pytest.mark.parametrize("n", [16, 64, 256])
def test_on_gauss_nodes_it_is_as_accurate_as_five_point_lagrange_differentiation(n):
    t, w = gauss(n)
    frequency = n / 2
    wave = np.exp(1j * frequency * t)
    ours, lagrange = (
        w @ np.abs(dense(*d) @ wave / frequency - 1j * wave)
        for d in (derivatives_by_parts(t, w), differentiation_matrix(t))
    )
    assert ours < 1.4 * lagrange < 0.02


@pytest.mark.parametrize(("grid", "error"), [("Gauss 16", 0.03), ("Gauss 256", 0.06), ("equal", 0.3)])
def test_sums_over_nodes_are_integrated_by_parts(grid, error):
    """Where 1 meets the derivative, only the ends are left; Lagrange differentiation is far from that."""
    t, w = GRIDS[grid]
    ends = np.zeros(len(t))
    ends[[0, -1]] = -1, 1
    ours, lagrange = (
        np.linalg.norm(w @ dense(*d) - ends) for d in (derivatives_by_parts(t, w), differentiation_matrix(t))
    )
    assert ours < error
    assert lagrange > 1
    f, g = np.cos(3 * t), np.exp(t)
    left = w @ (g * (dense(*derivatives_by_parts(t, w)) @ f))
    np.testing.assert_allclose(left, g[-1] * f[-1] - g[0] * f[0] - w @ (f * g), atol=2e-3)


def test_on_uneven_nodes_fluctuations_are_far_smaller_than_those_of_lagrange_differentiation():
    t, w = GRIDS["uneven"]
    noise = np.random.default_rng(1).standard_normal((200, len(t)))
    ours, lagrange = (np.std(noise @ (w @ dense(*d))) for d in (derivatives_by_parts(t, w), differentiation_matrix(t)))
    assert ours < lagrange / 10


def test_two_nodes_have_a_slope():
    np.testing.assert_allclose(dense(*derivatives_by_parts(*equal(2))), [[-1, 1], [-1, 1]], atol=1e-12)


def test_differences_of_pairs_are_those_of_the_discrete_inverse_continuity_equation():
    """sum_j (c_j + c_{j+1}) (m_{j+1} - m_j) / 2, whatever the nodes."""
    rng = np.random.default_rng(0)
    nodes = np.sort(rng.uniform(0, 1, 9))
    weights = (np.diff(nodes, append=nodes[-1]) + np.diff(nodes, prepend=nodes[0])) / 2
    c, m = rng.standard_normal((2, 9))
    indices, coefficients = differences_of_pairs(nodes, weights)
    found = np.sum(weights * c * np.sum(m[indices] * coefficients, axis=1))
    np.testing.assert_allclose(found, np.sum((c[:-1] + c[1:]) * np.diff(m)) / 2, rtol=1e-12)
    np.testing.assert_allclose(np.sum(3 * nodes[indices] * coefficients, axis=1), 3, rtol=1e-12)
