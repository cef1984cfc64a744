"""Functions of a distance: against SciPy's B-splines and automatic differentiation, and beyond their range."""

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.interpolate import BSpline

from hoam_plugin.potentials import (
    RadialAxis,
    core_and_power,
    radial_polynomials,
    radial_slope,
    radial_splines,
    radial_value,
)

pytestmark = pytest.mark.usefixtures("x64")

AXES = {
    "everywhere": RadialAxis(0.0, 2.0, 7, False),
    "cutoff": RadialAxis(0.0, 2.0, 7, True),
    "core": RadialAxis(0.5, 2.0, 7, True),
    "soft core": RadialAxis(0.5, 2.0, 7, True, power=2),
}
ALL = pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
INSIDE = np.linspace(0.55, 1.95, 23)
DISTANCES = np.concatenate([np.linspace(0.31, 0.49, 4), INSIDE, np.linspace(2.05, 3.0, 5)])


def coefficients(axis: RadialAxis, n: int = 1) -> np.ndarray:
    return np.squeeze(np.random.default_rng(0).standard_normal((n, axis.n)))


def spline(axis: RadialAxis, c: np.ndarray) -> BSpline:
    """The same function by SciPy, inside of the range."""
    knots = axis.core + axis.spacing * np.arange(-3, axis.n_cells + 4)
    return BSpline(knots, np.pad(c, (0, axis.n_cells + 3 - axis.n)), 3)


@hypothesis.given(start=st.floats(1e-3, 1e3), share=st.floats(0, 1))
def test_of_no_pair_that_was_seen_is_the_slope_more_than_three_times_that_at_the_core(
    start: float, share: float
) -> None:
    closest = share * start
    core, power = core_and_power(start, closest)
    assert 1 <= power <= 12
    assert core <= start
    if core > closest > 0:
        assert (core / closest) ** (power + 1) <= 3 * (1 + 1e-12)
        # No softer and no nearer than that.
        assert power == 12 or core < start or (core / closest) ** (power + 2) >= 3 * (1 - 1e-12)


@ALL
def test_inside_they_are_b_splines(axis: RadialAxis) -> None:
    c = coefficients(axis)
    expected, table, r = spline(axis, c), radial_polynomials(axis, jnp.asarray(c)), jnp.asarray(INSIDE)
    np.testing.assert_allclose(radial_value(axis, table, r), expected(INSIDE), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(radial_slope(axis, table, r), expected.derivative()(INSIDE), rtol=1e-11, atol=1e-12)
    all_of_them = radial_splines(axis, r)
    for values, order in zip(all_of_them, (0, 1, 2), strict=True):
        np.testing.assert_allclose(values @ c, expected.derivative(order)(INSIDE), rtol=1e-10, atol=1e-11)


@pytest.mark.long
@ALL
def test_derivatives_are_those_of_the_function_everywhere(axis: RadialAxis) -> None:
    c = jnp.asarray(coefficients(axis))

    def value(r: jax.Array) -> jax.Array:
        return radial_splines(axis, r).value @ c

    r, all_of_them = jnp.asarray(DISTANCES), radial_splines(axis, jnp.asarray(DISTANCES))
    first, second = jax.vmap(jax.grad(value))(r), jax.vmap(jax.grad(jax.grad(value)))(r)
    np.testing.assert_allclose(all_of_them.slope @ c, first, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(all_of_them.bend @ c, second, rtol=1e-9, atol=1e-10)
    table = radial_polynomials(axis, c)
    np.testing.assert_allclose(radial_value(axis, table, r), value(r), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(radial_slope(axis, table, r), first, rtol=1e-10, atol=1e-12)


@pytest.mark.long
@ALL
def test_the_written_derivative_is_that_of_distance_and_coefficients(axis: RadialAxis) -> None:
    c, r = jnp.asarray(coefficients(axis)), jnp.asarray(DISTANCES)

    def total(c: jax.Array, r: jax.Array) -> jax.Array:
        return jnp.sum(radial_value(axis, radial_polynomials(axis, c), r) ** 2)

    def naive(c: jax.Array, r: jax.Array) -> jax.Array:
        return jnp.sum((radial_splines(axis, r).value @ c) ** 2)

    for own, other in zip(jax.grad(total, (0, 1))(c, r), jax.grad(naive, (0, 1))(c, r), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-10)


def test_at_the_cutoff_they_vanish_with_two_derivatives() -> None:
    axis = AXES["core"]
    for values in radial_splines(axis, jnp.asarray([2.0, 2.5])):
        np.testing.assert_array_equal(values, np.zeros((2, axis.n)))


def test_without_a_cutoff_they_go_on_as_straight_lines() -> None:
    axis = AXES["everywhere"]
    table = radial_polynomials(axis, jnp.asarray(coefficients(axis)))
    end, further = radial_value(axis, table, jnp.asarray([2.0, 2.7]))
    slope = radial_slope(axis, table, jnp.asarray([2.0, 2.7]))
    np.testing.assert_allclose(further - end, 0.7 * slope[0], rtol=1e-12)
    np.testing.assert_allclose(slope[1], slope[0], rtol=1e-12)


def test_below_the_core_a_repulsion_grows_as_a_power() -> None:
    axis = AXES["core"]
    table = radial_polynomials(axis, jnp.asarray(coefficients(axis)))
    at, half = radial_slope(axis, table, jnp.asarray([0.5, 0.25]))
    np.testing.assert_allclose(half, at * 2**13, rtol=1e-12)


def test_several_functions_are_taken_pair_by_pair() -> None:
    axis = AXES["core"]
    c = coefficients(axis, 3)
    tables, r = radial_polynomials(axis, jnp.asarray(c)), jnp.asarray(INSIDE)
    kind = jnp.asarray(np.arange(len(INSIDE)) % 3, jnp.int32)
    for function in (radial_value, radial_slope):
        expected = np.stack([function(axis, tables[i], r) for i in range(3)])[np.asarray(kind), np.arange(len(INSIDE))]
        np.testing.assert_allclose(function(axis, tables, r, kind), expected, rtol=1e-12)
