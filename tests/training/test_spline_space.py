"""Densities on a grid, moments and energies of splines, against dense sums over all cells in the coordinates' order."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.interpolate import BSpline

from hoam_plugin.numerics.uniform_splines import Axis
from hoam_plugin.training import spline_space
from hoam_plugin.training.spline_space import SplineSpace

RANGE, SHORT = Axis(-1.3, 2.1, 9, periodic=False), Axis(-0.5, 1.0, 7, periodic=False)
LOOP, TIGHT = Axis(0.0, 2.5, 8, periodic=True), Axis(0.4, 3.9, 7, periodic=True)
SPACES = {
    "range": (RANGE,),
    "loop": (LOOP,),
    "ranges": (RANGE, SHORT),
    "ranges, the other way": (SHORT, RANGE),
    "range and loop": (SHORT, LOOP),
    "loop and range": (LOOP, SHORT),
    "loops": (LOOP, TIGHT),
    "loops, the other way": (TIGHT, LOOP),
}
ALL = pytest.mark.parametrize("axes", SPACES.values(), ids=SPACES)


# A naive formulation: dense, in the order of the coordinates, with the splines of scipy


def cells_of(axis: Axis) -> np.ndarray:
    """Centres of four cells per cell of the splines."""
    edges = np.linspace(axis.low, axis.high, 4 * axis.n_cells + 1)
    return (edges[1:] + edges[:-1]) / 2


def splines_of(axis: Axis, order: int) -> np.ndarray:
    """(cell, spline): derivatives at the centres."""
    n = axis.n_cells + 3
    knots = axis.low + axis.spacing * (np.arange(n + 4) - 3)
    return BSpline(knots, np.eye(axis.n)[np.arange(n) % axis.n], 3)(cells_of(axis), order)


def dense_splines(axes: Sequence[Axis], orders: Sequence[int]) -> np.ndarray:
    """(cells of all coordinates, all splines): products of derivatives."""
    result = np.ones((1, 1))
    for axis, order in zip(axes, orders, strict=True):
        result = np.kron(result, splines_of(axis, order))
    return result


def dense_matrix(
    axes: Sequence[Axis], density: np.ndarray, all_orders: Sequence[Sequence[int]], factors: Sequence[float] = (1, 1)
) -> np.ndarray:
    """Sum over cells of share times products of two splines, differentiated in the coordinates that are listed.

    Each product is multiplied by the factors of these coordinates.
    """
    n = int(np.prod([axis.n for axis in axes]))
    total = np.zeros((n, n))
    for listed in all_orders:
        at_cells = dense_splines(axes, [list(listed).count(d) for d in range(len(axes))])
        at_cells = at_cells * np.prod([factors[d] for d in listed]) ** 0.5
        for share, row in zip(density.reshape(-1), at_cells, strict=True):
            total += share * np.outer(row, row)
    return total


def dense_density(axes: Sequence[Axis], z: np.ndarray) -> np.ndarray:
    """Every sample by hat functions about the centres, one after the other."""
    total = np.zeros([4 * axis.n_cells for axis in axes])
    for sample in z:
        shares = np.ones(())
        for axis, x in zip(axes, sample, strict=True):
            centres, width = cells_of(axis), axis.spacing / 4
            if axis.periodic:
                period = axis.high - axis.low
                away = x - centres - period * np.round((x - centres) / period)
            else:
                away = np.clip(x, centres[0], centres[-1]) - centres
            shares = np.multiply.outer(shares, np.maximum(0, 1 - np.abs(away) / width))
        total += shares / len(z)
    return total


def by_the_space(space: SplineSpace, density: np.ndarray) -> np.ndarray:
    """A density in the order of the coordinates as the space has it."""
    outer_first = space.axes == space.coordinates
    return (density if outer_first else density.T).reshape(space.shape)


def samples(axes: Sequence[Axis], n: int = 60, seed: int = 0) -> np.ndarray:
    """Somewhere, some of them beyond the range or in other periods."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.normal((a.low + a.high) / 2, (a.high - a.low) / 3, n) for a in axes], axis=1)


def random_density(axes: Sequence[Axis], seed: int) -> np.ndarray:
    density = np.random.default_rng(seed).uniform(0.1, 1, [4 * axis.n_cells for axis in axes])
    return density / density.sum()


# Tests


@ALL
def test_the_density_is_that_of_hats_about_the_centres(axes: tuple[Axis, ...]) -> None:
    space, z = SplineSpace(axes), samples(axes)
    found = space.density(z)
    assert found.shape == space.shape
    assert found.sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(found, by_the_space(space, dense_density(axes, z)), atol=1e-12)
    np.testing.assert_allclose(space.density(z.astype(np.float32)), found, atol=1e-5)


@ALL
def test_the_density_is_linear_in_where_samples_are(axes: tuple[Axis, ...]) -> None:
    space = SplineSpace(axes)
    # Between two neighbouring centres of each coordinate.
    low = np.asarray([[cells_of(a)[5] for a in axes]])
    step = np.asarray([a.spacing / 4 for a in axes])
    for d in range(len(axes)):
        along = np.eye(len(axes))[d] * step
        start, end = space.density(low + 0.3 * step), space.density(low + 0.3 * step + 0.6 * along)
        middle = space.density(low + 0.3 * step + 0.2 * along)
        np.testing.assert_allclose(middle, 2 / 3 * start + 1 / 3 * end, atol=1e-12)
        assert np.abs(end - start).max() > 0.1


@ALL
def test_the_density_has_the_mean_of_the_samples_and_periods(axes: tuple[Axis, ...]) -> None:
    space, z = SplineSpace(axes), samples(axes)
    shift = np.asarray([3 * (a.high - a.low) if a.periodic else 0.0 for a in axes])
    np.testing.assert_allclose(space.density(z + shift), space.density(z), atol=1e-12)
    inside = np.stack([np.random.default_rng(1).uniform(cells_of(a)[0], cells_of(a)[-1], 50) for a in axes], axis=1)
    found = space.density(inside)
    for d, axis in enumerate(axes):
        place = space.axes.index(axis)
        marginal = found.sum(axis=1 - place)
        assert marginal @ cells_of(axis) == pytest.approx(inside[:, d].mean(), rel=1e-12)


@ALL
def test_the_even_density_is_that_of_a_sample_in_every_cell(axes: tuple[Axis, ...]) -> None:
    space = SplineSpace(axes)
    everywhere = np.asarray(list(itertools.product(*(cells_of(axis) for axis in axes))))
    np.testing.assert_allclose(space.uniform(), space.density(everywhere), rtol=1e-9)


@ALL
def test_moments_are_means_over_the_cells(axes: tuple[Axis, ...]) -> None:
    space, density = SplineSpace(axes), random_density(axes, 2)
    wanted = dense_splines(axes, [0] * len(axes)).T @ density.reshape(-1)
    found = space.moments(by_the_space(space, density))
    assert found.shape == (space.n,)
    np.testing.assert_allclose(space.by_coordinate(found), wanted, atol=1e-14)
    # The splines are a partition of unity.
    assert found.sum() == pytest.approx(1, rel=1e-12)


def test_the_order_of_the_coordinates() -> None:
    assert SplineSpace((LOOP, SHORT)).axes == (SHORT, LOOP)
    assert SplineSpace((SHORT, RANGE)).axes == (RANGE, SHORT)
    for axes in ((SHORT, LOOP), (LOOP, SHORT), (LOOP,)):
        space = SplineSpace(axes)
        inside = np.arange(float(space.n)).reshape([axis.n for axis in space.axes])
        wanted = inside if len(axes) == 1 or space.axes == axes else inside.T
        np.testing.assert_array_equal(space.by_coordinate(inside.reshape(-1)), wanted.reshape(-1))


def solved(matrix: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The solution of mean 0 of a system whose null space is the constant."""
    values, vectors = np.linalg.eigh(matrix)
    assert values[1] > 1e-8 * values[-1]
    assert abs(values[0]) < 1e-12 * values[-1]
    c = vectors[:, 1:] @ ((vectors[:, 1:].T @ right) / values[1:])
    return c - c.mean()


FIRST = {1: [(0,)], 2: [(0,), (1,)]}
SECOND = {1: [(0, 0)], 2: [(0, 0), (0, 1), (1, 0), (1, 1)]}


@ALL
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_energies_and_roughness_are_dense_sums_over_the_cells(axes: tuple[Axis, ...], share: float) -> None:
    """A solution tells two matrices apart, which need no common layout for that."""
    space, density = SplineSpace(axes), random_density(axes, 3)
    even = np.full_like(density, 1 / density.size)
    factors = [spline_space._AROUND if axis.periodic else 1.0 for axis in axes]
    # The roughness alone has more than the constant in its null space.
    floor = 0.5
    bands = (
        (1 - share) * space.energies(by_the_space(space, density))
        + share * space.roughness()
        + floor * space.energies(space.uniform())
    )
    matrix = (
        (1 - share) * dense_matrix(axes, density, FIRST[len(axes)])
        + share * dense_matrix(axes, even, SECOND[len(axes)], factors)
        + floor * dense_matrix(axes, even, FIRST[len(axes)])
    )
    for seed in (4, 5):
        change = random_density(axes, seed) - density
        right = space.moments(by_the_space(space, change))
        wanted = solved(matrix, dense_splines(axes, [0] * len(axes)).T @ change.reshape(-1))
        found = space.solve(bands, right)
        np.testing.assert_allclose(found, wanted, atol=1e-6 * np.abs(wanted).max())
        assert abs(found.mean()) < 1e-10 * np.abs(found).max()


@ALL
def test_what_is_given_is_left_as_it_was(axes: tuple[Axis, ...]) -> None:
    space = SplineSpace(axes)
    bands, right = space.energies(space.uniform()), space.moments(space.density(samples(axes)) - space.uniform())
    before = bands.copy(), right.copy()
    first, second = space.solve(bands, right), space.solve(bands, right)
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(bands, before[0])
    np.testing.assert_array_equal(right, before[1])
