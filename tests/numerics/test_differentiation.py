"""Derivatives of what is known at given nodes only."""

import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.numerics.differentiation import differentiation_matrix


def derivative(nodes: np.ndarray, values: np.ndarray, width: int = 5) -> np.ndarray:
    indices, coefficients = differentiation_matrix(nodes, width)
    return np.sum(coefficients * values[indices], axis=1)


@pytest.mark.parametrize("width", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_polynomials_are_exact(width: int, offset: float) -> None:
    """On uneven nodes, those of Gauss and Legendre with both ends, at any width; constants to round-off."""
    nodes = np.concatenate([[0.0], hoam.quadrature.gauss_legendre(12).nodes_and_weights()[0], [1.0]])
    moved = nodes + offset
    for degree in range(width):
        expected = degree * nodes ** max(degree - 1, 0)
        np.testing.assert_allclose(derivative(moved, nodes**degree, width), expected, atol=1e-11 * (1 + 10 * offset))
    assert np.abs(derivative(moved, nodes**width, width) - width * nodes ** (width - 1)).max() > 1e-7


def test_the_error_falls_with_the_order() -> None:
    """Four times the nodes of equal distance make it 4^(width - 1) times smaller."""
    errors = {}
    for n in (41, 161):
        t = np.linspace(0, 2, n)
        errors[n] = np.abs(derivative(t, np.sin(3 * t)) - 3 * np.cos(3 * t)).max()
    assert 4**3.5 < errors[41] / errors[161] < 4**4.5


def test_units_and_few_nodes() -> None:
    nodes = np.asarray([0.0, 1e-14, 3e-14])
    np.testing.assert_allclose(derivative(nodes, nodes**2), 2 * nodes, atol=1e-27)
    indices, coefficients = differentiation_matrix(nodes[:2] * 1e20)
    np.testing.assert_array_equal(indices, [[0, 1], [0, 1]])
    np.testing.assert_allclose(coefficients, np.tile([-1e-6, 1e-6], (2, 1)), rtol=1e-12)


@pytest.mark.parametrize("nodes", [[0.0], [0.0, 1.0, 1.0], [1.0, 0.0]])
def test_nodes_that_do_not_increase_are_refused(nodes: list[float]) -> None:
    with pytest.raises(ValueError, match="at least two increasing numbers"):
        differentiation_matrix(np.asarray(nodes))
    with pytest.raises(ValueError, match="width=1 must be a whole number of at least 2"):
        differentiation_matrix(np.asarray([0.0, 1.0]), 1)
