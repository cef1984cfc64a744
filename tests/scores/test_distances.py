"""Distances against analytic values."""

import math

import numpy as np
import pytest
from scored import LENGTH

from hoam_plugin.scores import Coordinate, distances


def line(scale: float = 1.0, low: float = -4.0, high: float = 4.0) -> Coordinate:
    return Coordinate("v", None, scale, low, high)


def circle() -> Coordinate:
    return Coordinate("x", LENGTH, 1.0, 0.0, LENGTH)


def sliced(a: np.ndarray, b: np.ndarray, *coordinates: Coordinate) -> float:
    projections = [distances.sorted_projections(distances.embedded(x, coordinates)) for x in (a, b)]
    return distances.sliced_wasserstein(*projections)


def test_wasserstein_of_a_shift_is_the_shift():
    a = np.random.default_rng(0).standard_normal((500, 1))
    assert sliced(a, a + 0.7, line()) == pytest.approx(0.7, rel=1e-12)
    assert sliced(a, a + 0.7, line(scale=2.0)) == pytest.approx(0.35, rel=1e-12)


def test_wasserstein_of_two_gaussians():
    # W2^2 of N(0, 1) and N(m, s^2) is m^2 + (s - 1)^2.
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((40_000, 1)), 1.0 + 2.0 * rng.standard_normal((40_000, 1))
    assert sliced(a, b, line()) == pytest.approx(math.sqrt(2.0), rel=0.02)


def test_sliced_wasserstein_of_a_shift_in_the_plane_is_the_mean_over_directions():
    # E |<theta, d>|^2 = |d|^2 / 2 for unit directions in the plane; 32 directions make 16 orthogonal pairs: exact.
    a = np.random.default_rng(2).standard_normal((300, 2))
    assert sliced(a, a + np.array([0.3, -0.4]), line(), line()) == pytest.approx(0.5 / math.sqrt(2), rel=1e-12)


def test_wasserstein_of_unequal_sample_counts_is_exact():
    # {0, 1} against {0, 0, 3}: pieces of the quantile functions on [0, 1/2, 2/3, 1].
    a, b = np.array([[0.0], [1.0]]), np.array([[0.0], [0.0], [3.0]])
    assert sliced(a, b, line()) == pytest.approx(math.sqrt(1 / 6 + 4 / 3), rel=1e-12)
    points = np.random.default_rng(3).standard_normal((7, 1))
    assert sliced(points, np.repeat(points, 3, axis=0), line()) == pytest.approx(0.0, abs=1e-12)


def test_opposite_points_of_the_circle_are_one_diameter_apart():
    a, b = np.zeros((4, 1)), np.full((4, 1), LENGTH / 2)
    assert sliced(a, b, circle()) == pytest.approx(2.0 / math.sqrt(2), rel=1e-12)
    assert sliced(np.full((4, 1), 1e-6), np.full((4, 1), LENGTH - 1e-6), circle()) < 1e-5


def test_histogram_l1_of_disjoint_and_of_equal_sets():
    a, b = np.full((10, 2), -2.0), np.full((10, 2), 2.0)
    bins = [distances.histograms(x, (line(), line())) for x in (a, b)]
    assert distances.histogram_l1(*bins) == pytest.approx(2.0)
    assert distances.histogram_l1(bins[0], bins[0]) == 0.0


def test_histogram_counts_samples_outside_nowhere_and_the_upper_end_in_the_last_bin():
    x = np.array([[-4.1], [-4.0], [4.0], [4.1]])
    (fractions,) = distances.histograms(x, (line(),))
    assert fractions[0] == fractions[-1] == 0.25
    assert fractions.sum() == 0.5


def test_histogram_agrees_with_numpy_in_two_dimensions_and_pairs_consecutive_coordinates():
    x = np.random.default_rng(4).standard_normal((1000, 3))
    pairs = distances.histograms(x, (line(),) * 3)
    for pair, columns in zip(pairs, ([0, 1], [1, 2]), strict=True):
        expected, _, _ = np.histogram2d(*x[:, columns].T, bins=32, range=[(-4, 4), (-4, 4)])
        np.testing.assert_array_equal(pair, expected.ravel() / 1000)


def test_moments_of_the_embedding():
    features = distances.embedded(np.array([[0.0, 1.0], [LENGTH / 2, 3.0]]), (circle(), line(scale=2.0)))
    mean, covariance = distances.moments(features)
    np.testing.assert_allclose(mean, [0.0, 0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(covariance, [[1, 0, -0.5], [0, 0, 0], [-0.5, 0, 0.25]], atol=1e-12)


def test_relative_errors_of_nothing_are_none():
    off, size = np.array([0.0, 0.0, 1.0, 3.0]), np.array([0.0, 2.0, 0.0, 2.0])
    assert distances.relative(off, size).tolist() == [0.0, 0.0, math.inf, 1.5]
    flat = np.zeros((2, 3, 3))
    assert distances.covariance_distance(flat, flat).tolist() == [0.0, 0.0]
