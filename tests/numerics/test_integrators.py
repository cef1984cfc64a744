"""Integrators of a rollout."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.numerics import integrators


def rotation(t: Any) -> Any:
    """A field that turns points at the rate 1 + t."""
    return lambda x: (1 + t) * jnp.stack([-x[:, 1], x[:, 0]], axis=-1)


@pytest.mark.usefixtures("x64")
def test_runge_kutta_is_of_fourth_order() -> None:
    start, angle = jnp.asarray([[1.0, 0.0]]), 1.5
    exact = np.asarray([[np.cos(angle), np.sin(angle)]])

    def error(n: int) -> float:
        x = start
        for i in range(n):
            x = integrators.runge_kutta_4(rotation, x, i / n, 1 / n)
        return float(np.abs(np.asarray(x) - exact).max())

    order = np.log2(error(20) / error(40))
    assert 3.8 < order < 4.2


@pytest.mark.usefixtures("x64")
def test_stochastic_heun_is_of_second_weak_order() -> None:
    """Ornstein-Uhlenbeck: mean and variance follow linear recursions, read off from single steps without sampling."""
    rate, sigma, duration = 2.0, 0.7, 1.0

    def moments(n: int) -> tuple[float, float]:
        h = duration / n
        one, zero = jnp.ones((1, 1)), jnp.zeros((1, 1))

        def step(x: Any, dw: Any) -> float:
            return float(integrators.stochastic_heun(lambda t: lambda y: -rate * y, x, 0.0, h, dw)[0, 0])

        growth, gain = step(one, zero), step(zero, one)
        mean, variance = 1.0, 0.0
        for _ in range(n):
            mean, variance = growth * mean, growth**2 * variance + gain**2 * sigma**2 * h
        return mean, variance

    exact = np.exp(-rate * duration), sigma**2 * (1 - np.exp(-2 * rate * duration)) / (2 * rate)
    coarse, fine = (np.abs(np.subtract(moments(n), exact)) for n in (20, 40))
    orders = np.log2(coarse / fine)
    assert (orders > 1.8).all()


@pytest.mark.usefixtures("x64")
def test_euler_is_of_first_order() -> None:
    def error(n: int) -> float:
        x = jnp.asarray([[1.0, 0.0]])
        for i in range(n):
            x = integrators.euler(rotation, x, i / n, 1 / n, jnp.zeros((1, 2)))
        return float(np.abs(np.asarray(x) - np.asarray([[np.cos(1.5), np.sin(1.5)]])).max())

    assert 0.8 < np.log2(error(200) / error(400)) < 1.2
    step = integrators.euler(rotation, jnp.ones((1, 2)), 0.0, 0.0, jnp.full((1, 2), 0.25))
    np.testing.assert_array_equal(step, np.full((1, 2), 1.25))
