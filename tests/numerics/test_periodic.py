"""Coordinates on a torus: host and device, both precisions and all variants agree, and nothing leaves the period."""

from collections.abc import Callable

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.numerics import periodic

LENGTHS = [1.0, 2 * np.pi, 10.26, 1e-9, 3e5]
DTYPES = [np.float32, np.float64]
# In periods; whole ones and their neighbours are where rounding goes wrong.
PLACES = st.one_of(
    st.floats(-50, 50),
    st.integers(-50, 50).map(float),
    st.integers(-50, 50).map(lambda n: float(np.nextafter(np.float32(n), np.float32(np.inf)))),
    st.integers(-50, 50).map(lambda n: float(np.nextafter(np.float32(n), np.float32(-np.inf)))),
    st.sampled_from([-1e-30, 1e-30, -1e-8, 0.5, -0.5]),
)
VALUES = st.lists(PLACES, min_size=1, max_size=8)
ON_DEVICE = [periodic.wrapped, periodic.wrapped_closed, periodic.wrapped_by_product]
ON_HOST = [periodic.wrapped_on_host, periodic.wrapped_closed_on_host]


def padded(values: list[float], length: float, dtype: type) -> np.ndarray:
    """Values in units of the length; of one shape, so that it is compiled once."""
    return np.resize(np.asarray(values) * length, 8).astype(dtype)


def apart(a: np.ndarray, b: np.ndarray, length: float) -> np.ndarray:
    """Distance on the circle, in double precision."""
    difference = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return np.abs(difference - length * np.round(difference / length))


def on_device(function: Callable[..., jax.Array], x: np.ndarray, length: float, *, compiled: bool) -> np.ndarray:
    # The compiler may fuse the product and the difference into one rounding.
    called = jax.jit(function, static_argnums=1) if compiled else function
    return np.asarray(called(jnp.asarray(x), length))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
@hypothesis.given(values=VALUES)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_wrapped_values_lie_in_the_period(x64: None, dtype: type, length: float, values: list[float]) -> None:
    x = padded(values, length, dtype)
    for found in (
        on_device(periodic.wrapped, x, length, compiled=False),
        on_device(periodic.wrapped, x, length, compiled=True),
        periodic.wrapped_on_host(x, length),
    ):
        assert found.dtype == dtype
        assert (found >= 0).all()
        assert (found < np.asarray(length, dtype)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
@hypothesis.given(values=VALUES)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_all_variants_agree_on_the_circle(x64: None, dtype: type, length: float, values: list[float]) -> None:
    x = padded(values, length, dtype)
    slack = 4 * np.finfo(dtype).eps * (np.abs(x.astype(np.float64)) + length)
    found = [on_device(function, x, length, compiled=compiled) for function in ON_DEVICE for compiled in (False, True)]
    for result in [*found, *(function(x, length) for function in ON_HOST)]:
        assert result.dtype == dtype
        assert (apart(result, x, length) <= slack).all()
        assert (result >= -slack).all()
        assert (result <= length + slack).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", LENGTHS)
@hypothesis.given(values=VALUES)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_nearest_images_are_the_short_way(x64: None, dtype: type, length: float, values: list[float]) -> None:
    x = padded(values, length, dtype)
    slack = 4 * np.finfo(dtype).eps * (np.abs(x.astype(np.float64)) + length)
    device = [periodic.nearest_image, periodic.nearest_image_by_product]
    found = [on_device(function, x, length, compiled=compiled) for function in device for compiled in (False, True)]
    for result in [*found, periodic.nearest_image_on_host(x, length)]:
        assert result.dtype == dtype
        assert (apart(result, x, length) <= slack).all()
        assert (np.abs(result) <= length / 2 + slack).all()


def test_what_is_no_number_stays_so() -> None:
    x = np.array([np.nan, np.inf, 1.5], np.float32)
    assert np.isnan(np.asarray(periodic.wrapped(jnp.asarray(x), 1.0))).tolist() == [True, True, False]
    with np.errstate(invalid="ignore"):
        assert np.isnan(periodic.wrapped_on_host(x, 1.0)).tolist() == [True, True, False]


def test_the_length_may_be_traced_and_derivatives_are_those_of_the_coordinate() -> None:
    slopes = jax.vmap(jax.jit(jax.grad(lambda x, length: periodic.wrapped(x, length))), in_axes=(0, None))
    np.testing.assert_array_equal(slopes(jnp.asarray([0.25, 1.25, -0.5]), jnp.float32(1.0)), 1)
