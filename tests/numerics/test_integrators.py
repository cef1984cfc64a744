"""Integrators and schedules of a rollout."""

from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from hoam_plugin.numerics import rollout


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
            x = rollout.runge_kutta_4(rotation, x, i / n, 1 / n)
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
            return float(rollout.stochastic_heun(lambda t: lambda y: -rate * y, x, 0.0, h, dw)[0, 0])

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
            x = rollout.euler(rotation, x, i / n, 1 / n, jnp.zeros((1, 2)))
        return float(np.abs(np.asarray(x) - np.asarray([[np.cos(1.5), np.sin(1.5)]])).max())

    assert 0.8 < np.log2(error(200) / error(400)) < 1.2
    step = rollout.euler(rotation, jnp.ones((1, 2)), 0.0, 0.0, jnp.full((1, 2), 0.25))
    np.testing.assert_array_equal(step, np.full((1, 2), 1.25))


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 70_000])
def test_sorting_order_is_a_stable_argsort(n: int) -> None:
    code = jax.random.bits(jax.random.key(0), (n,), jnp.uint32)
    for values in (code, code >> 24, code * 0):
        expected = np.argsort(np.asarray(values), kind="stable")
        np.testing.assert_array_equal(jax.jit(rollout._sorting_order)(values), expected)


@hypothesis.given(
    gaps=st.sampled_from([1, 6]).flatmap(lambda n: st.lists(st.floats(0.01, 3.0), min_size=n, max_size=n)),
    wait=st.sampled_from([0.0, 0.7]),
    dt=st.floats(0.05, 1.0),
)
@hypothesis.settings(max_examples=12)
def test_schedule_lands_on_every_saved_time(gaps: list[float], wait: float, dt: float) -> None:
    times = (2.0 + wait + np.concatenate([[0.0], np.cumsum(gaps)])).astype(np.float32)
    n_steps = rollout.most_steps(float(times[-1]) - 2.0, len(times), dt)
    # One length for all examples, so that they share compiled code.
    starts, sizes, real, done = rollout.schedule(jnp.float32(2.0), jnp.asarray(times), dt, 512)
    assert bool((sizes <= dt * (1 + 1e-4)).all())
    assert bool((sizes[~real] == 0).all())
    assert int(done[-1]) == int(real.sum()) <= n_steps
    reached = np.concatenate([[2.0], 2.0 + np.cumsum(np.asarray(sizes, np.float64))])[np.asarray(done)]
    np.testing.assert_allclose(reached, times, atol=2e-5)
    np.testing.assert_allclose(starts[0], 2.0)
    known = rollout.known_schedule(2.0, times.astype(np.float64), dt)
    assert known.sizes.max() <= dt * (1 + 1e-3)
    assert known.done[-1] == known.real.sum() <= n_steps
    reached = np.concatenate([[2.0], 2.0 + np.cumsum(known.sizes)])[known.done]
    np.testing.assert_allclose(reached, times, rtol=1e-12)


def test_traced_times_get_an_upper_bound_of_steps() -> None:
    horizon, dt = (0.0, 10.0), 0.3
    bounds = []

    @jax.jit
    def lay_out(times: Any) -> Any:
        bounds.append(rollout.most_steps(horizon[1] - horizon[0], len(times), dt))
        return rollout.schedule(jnp.float32(0), times, dt, bounds[-1])[3]

    for times in ([0.0, 1.0, 10.0], [9.8, 9.9, 10.0], [0.1, 0.2, 0.3]):
        assert int(lay_out(jnp.asarray(times))[-1]) <= bounds[0]
    assert len(bounds) == 1


@pytest.mark.parametrize("kind", sorted(rollout.NORMALS))
@pytest.mark.parametrize("n_dims", [1, 2, 6])
def test_noise_of_every_sample_is_standard_normal(kind: str, n_dims: int) -> None:
    """The law of one fixed sample's variates over many keys, against the normal distribution."""
    z = jax.random.normal(jax.random.key(0), (33, n_dims))
    draw = jax.jit(jax.vmap(lambda key: rollout.NORMALS[kind](key, z)))
    variates = np.asarray(draw(jax.random.split(jax.random.key(1), 4000)))
    assert np.isfinite(variates).all()
    for sample in (0, 17, 32):
        for d in range(n_dims):
            assert scipy.stats.kstest(variates[:, sample, d], "norm").pvalue > 1e-4
        np.testing.assert_allclose(np.cov(variates[:, sample].T), np.eye(n_dims).squeeze(), atol=0.08)


def test_stratified_noise_hardly_moves_averages_over_the_population() -> None:
    z = jax.random.uniform(jax.random.key(0), (4096, 2))

    def change(kind: str, key: Any) -> Any:
        """First-order change of a density mode by the noise."""
        return jnp.mean(-jnp.sin(2 * jnp.pi * z[:, 0]) * rollout.NORMALS[kind](key, z)[:, 0])

    keys = jax.random.split(jax.random.key(1), 50)
    spread = {kind: float(jnp.std(jax.vmap(lambda k, kind=kind: change(kind, k))(keys))) for kind in rollout.NORMALS}
    assert spread["stratified"] < spread["independent"] / 8


def test_stratified_noise_is_finite_at_both_ends_of_its_range() -> None:
    z = jnp.linspace(0.0, 1.0, 100_001)[:, None]
    normals = jax.jit(rollout.stratified_normals)
    extremes = [jnp.abs(normals(jax.random.key(k), z)).max() for k in range(20)]
    assert 4.0 < max(extremes) < 6.0
