"""Uniform cubic B-splines against those of scipy, and what they reproduce exactly."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.interpolate import BSpline, CubicSpline

from hoam_plugin.numerics import uniform_splines
from hoam_plugin.numerics.uniform_splines import Axis

AXES = {
    "range": Axis(-1.3, 2.1, 11, periodic=False),
    "one cell": Axis(-1.0, 1.0, 4, periodic=False),
    "loop": Axis(0.4, 2.9, 8, periodic=True),
    "narrowest loop": Axis(0.0, 2.5, uniform_splines.LEAST_AROUND, periodic=True),
}
BOTH = pytest.mark.parametrize("dtype", [np.float32, np.float64])
ALL = pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
RANGES = pytest.mark.parametrize("axis", [AXES["range"], AXES["one cell"]], ids=["range", "one cell"])


def reference(axis: Axis, x: np.ndarray) -> np.ndarray:
    """Values and two derivatives of all splines at points inside, by scipy."""
    n = axis.n_cells + 3
    knots = axis.low + axis.spacing * (np.arange(n + 4) - 3)
    each = np.eye(axis.n)[np.arange(n) % axis.n]
    return np.stack([BSpline(knots, each, 3)(x, nu) for nu in range(3)])


def slack(axis: Axis, dtype: type, order: int) -> float:
    """Of a derivative, from the rounding of a place among the cells."""
    return 20 * float(np.finfo(dtype).eps) * axis.n_cells / axis.spacing**order


# Of one shape, so that what is compiled for an axis serves all tests.
N = 64
_compiled = jax.jit(uniform_splines.taps, static_argnums=0)


def on_device(axis: Axis, x: np.ndarray) -> uniform_splines.Taps:
    """The taps at up to N points, in their precision."""
    at = _compiled(axis, jnp.asarray(np.resize(x, N).astype(x.dtype)))
    return uniform_splines.Taps(*(np.asarray(a)[: len(x)] for a in at))


def all_of(axis: Axis, x: np.ndarray) -> np.ndarray:
    """The same as dense matrices."""
    at = on_device(axis, x)
    result = np.zeros((3, len(x), axis.n))
    for i, row in enumerate(at.which):
        for order in range(3):
            np.add.at(result[order, i], row, at[1 + order][i])
    return result


@pytest.mark.usefixtures("x64")
@BOTH
@ALL
def test_inside_they_are_those_of_scipy(axis: Axis, dtype: type) -> None:
    # Knots among the points, where pieces meet; not the ends, beside which rounding decides on the side.
    knots = axis.low + axis.spacing * np.arange(1, axis.n_cells)
    x = np.concatenate([np.random.default_rng(0).uniform(axis.low, axis.high, 50), knots]).astype(dtype)
    found, wanted = all_of(axis, x), reference(axis, x.astype(np.float64))
    for order in range(3):
        np.testing.assert_allclose(found[order], wanted[order], atol=slack(axis, dtype, order))


@ALL
def test_on_the_host_they_are_the_same_in_double_precision(axis: Axis) -> None:
    x = np.random.default_rng(0).uniform(axis.low, axis.high, 50)
    found = uniform_splines.matrices(axis, x)
    assert found.dtype == np.float64
    assert found.shape == (3, 50, axis.n)
    for order, wanted in enumerate(reference(axis, x)):
        np.testing.assert_allclose(found[order], wanted, atol=slack(axis, np.float64, order))
    wide = np.linspace(axis.low - 2, axis.high + 2, 50).astype(np.float32)
    for order, wanted in enumerate(all_of(axis, wide)):
        found = uniform_splines.matrices(axis, wide)
        np.testing.assert_allclose(found[order], wanted, atol=10 * slack(axis, np.float32, order))


@ALL
def test_at_the_ends_they_are_those_of_scipy(axis: Axis) -> None:
    ends = np.asarray([axis.low, axis.high])
    found, wanted = uniform_splines.matrices(axis, ends), reference(axis, ends)
    # Of a range, rounding may put an end outside, where lines do not bend.
    for order in range(3 if axis.periodic else 2):
        np.testing.assert_allclose(found[order], wanted[order], atol=slack(axis, np.float64, order))


@pytest.mark.usefixtures("x64")
@BOTH
@RANGES
def test_beyond_a_range_they_go_on_as_straight_lines(axis: Axis, dtype: type) -> None:
    far = np.asarray([0.01, 0.7, 5.0]) * (axis.high - axis.low)
    at_ends = reference(axis, np.asarray([axis.low, axis.high]))
    for end, x in ((0, axis.low - far), (1, axis.high + far)):
        x = x.astype(dtype)
        values, slopes, bends = all_of(axis, x)
        away = x.astype(np.float64) - (axis.low, axis.high)[end]
        wanted = at_ends[0, end][None] + at_ends[1, end][None] * away[:, None]
        np.testing.assert_allclose(values, wanted, atol=10 * slack(axis, dtype, 0))
        np.testing.assert_allclose(slopes, np.broadcast_to(at_ends[1, end], slopes.shape), atol=slack(axis, dtype, 1))
        np.testing.assert_array_equal(bends, 0)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("axis", [AXES["loop"], AXES["narrowest loop"]], ids=["loop", "narrowest loop"])
def test_around_a_period_they_come_again(axis: Axis) -> None:
    period = axis.high - axis.low
    x = np.concatenate([np.linspace(axis.low, axis.high, 17), axis.low + np.asarray([-1e-9, 1e-9])])
    once = all_of(axis, x)
    for turns in (-3, 1, 2):
        for order, found in enumerate(all_of(axis, x + turns * period)):
            np.testing.assert_allclose(found, once[order], atol=1e-12 / axis.spacing**order)
    # Across the seam all goes on: values and two derivatives differ by no more than the next one allows.
    for order, found in enumerate(once):
        np.testing.assert_allclose(found[-2], found[-1], atol=1e-8 / axis.spacing ** (order + 1))


PLACES = st.lists(
    st.one_of(
        st.floats(-3, 4),
        st.integers(-3, 4).map(float),
        st.integers(-20, 20).map(lambda n: n / 5),
        st.sampled_from([-1e-30, 1e-30, 1 - 1e-7, 1 + 1e-7]),
    ),
    min_size=1,
    max_size=8,
)


@BOTH
@ALL
@hypothesis.given(places=PLACES)
@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_their_sum_is_one_everywhere(x64: None, axis: Axis, dtype: type, places: list[float]) -> None:
    # In units of the range.
    x = (axis.low + np.asarray(places) * (axis.high - axis.low)).astype(dtype)
    at = on_device(axis, x)
    assert ((at.which >= 0) & (at.which < axis.n)).all()
    assert all(len(set(row)) == uniform_splines.TAPS for row in at.which.tolist())
    for order, (values, total) in enumerate(zip(at[1:], (1, 0, 0), strict=True)):
        assert values.dtype == dtype
        found = np.sum(values, axis=1, dtype=np.float64)
        np.testing.assert_allclose(found, total, atol=4 * slack(axis, dtype, order))
    inside = (x >= axis.low) & (x <= axis.high)
    assert (at.value[inside | axis.periodic] >= -slack(axis, dtype, 0)).all()


@BOTH
@RANGES
@hypothesis.given(places=PLACES)
@hypothesis.settings(max_examples=25, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_straight_lines_are_reproduced_everywhere(x64: None, axis: Axis, dtype: type, places: list[float]) -> None:
    x = (axis.low + np.asarray(places) * (axis.high - axis.low)).astype(dtype)
    at = on_device(axis, x)
    # The coefficients of the coordinate itself are the middles of the splines.
    middles = axis.low + axis.spacing * (np.arange(axis.n) - 1)
    value, slope, bend = (np.sum(a.astype(np.float64) * middles[at.which], axis=1) for a in at[1:])
    span = axis.high - axis.low
    np.testing.assert_allclose(value, x, atol=8 * span * slack(axis, dtype, 0))
    np.testing.assert_allclose(slope, 1, atol=8 * span * slack(axis, dtype, 1))
    np.testing.assert_allclose(bend, 0, atol=8 * span * slack(axis, dtype, 2))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("axis", [AXES["range"], AXES["loop"]], ids=["range", "loop"])
def test_the_derivatives_are_those_of_jax(axis: Axis) -> None:
    c = jax.random.normal(jax.random.key(0), (axis.n,))
    x = jnp.linspace(axis.low - 1, axis.high + 1, 23)

    def curve(x: jax.Array, order: int) -> jax.Array:
        at = uniform_splines.taps(axis, x[None])
        return jnp.sum(c[at.which] * at[1 + order])

    @jax.jit
    @jax.vmap
    def both(x: jax.Array) -> jax.Array:
        own = [curve(x, order) for order in (1, 2)]
        return jnp.stack([*own, *(jax.grad(curve)(x, order) for order in (0, 1))])

    slope, bend, slope_by_jax, bend_by_jax = both(x).T
    np.testing.assert_allclose(slope, slope_by_jax, atol=1e-10)
    np.testing.assert_allclose(bend, bend_by_jax, atol=1e-10)


@ALL
def test_what_is_no_number_stays_so(axis: Axis) -> None:
    at = on_device(axis, np.asarray([np.nan, 0.5], np.float32))
    assert np.isnan(at.value).all(axis=1).tolist() == [True, False]
    assert ((at.which >= 0) & (at.which < axis.n)).all()


@pytest.mark.parametrize("m", [2, 3, 4, 9])
def test_a_natural_spline_through_values(m: int) -> None:
    values = np.random.default_rng(m).standard_normal((m, 2, 3))
    coefficients = uniform_splines.interpolating(values)
    assert coefficients.shape == (m + 2, 2, 3)
    axis, knots = Axis(-1.0, 1.0, m + 2, periodic=False), np.linspace(-1, 1, m)
    np.testing.assert_allclose(curve_of(axis, coefficients, knots), values, atol=1e-12)
    between = np.linspace(-1, 1, 41)
    wanted = CubicSpline(knots, values, bc_type="natural")(between)
    np.testing.assert_allclose(curve_of(axis, coefficients, between), wanted, atol=1e-12)


def curve_of(axis: Axis, coefficients: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.tensordot(uniform_splines.matrices(axis, x)[0], coefficients, 1)


def test_values_of_less_precision_are_interpolated_in_double_precision() -> None:
    coefficients = uniform_splines.interpolating(np.asarray([1.0, 2.0, 4.0], np.float32))
    assert coefficients.dtype == np.float64
    # By hand: 1/6 + 4 c / 6 + 4/6 = 2 between the values 1 and 4 at the ends.
    np.testing.assert_allclose(coefficients, [1 - (1.75 - 1), 1.0, 1.75, 4.0, 8 - 1.75], rtol=1e-14)


@ALL
@pytest.mark.parametrize("per_cell", [1, 4])
def test_centres_are_the_middles_of_equal_parts(axis: Axis, per_cell: int) -> None:
    edges = np.linspace(axis.low, axis.high, axis.n_cells * per_cell + 1)
    np.testing.assert_allclose(uniform_splines.centres(axis, per_cell), (edges[1:] + edges[:-1]) / 2, rtol=1e-12)


def test_cells_of_an_axis() -> None:
    around, along = AXES["loop"], AXES["range"]
    assert (around.n_cells, along.n_cells) == (8, 8)
    assert around.spacing == pytest.approx(2.5 / 8)
    assert along.spacing == pytest.approx(3.4 / 8)
