"""Deposit, gather and the Poisson solve against naive loops and analytic fields."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.simulators import two_stream
from hoam_plugin.simulators.plasma.particles import mesh

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=1)
def begin(stepper, n_samples, mu):
    return stepper.init(KEY, n_samples, {"mu": mu})


def naive_deposit(x, length, n_cells):
    density = np.zeros(n_cells)
    for position in x:
        scaled = position / length * n_cells
        cell = int(np.floor(scaled))
        density[cell % n_cells] += (1 - (scaled - cell)) * n_cells / len(x)
        density[(cell + 1) % n_cells] += (scaled - cell) * n_cells / len(x)
    return density


def naive_gather(nodes, x, length):
    grid = np.arange(len(nodes) + 1) * length / len(nodes)
    return np.interp(x, grid, np.append(nodes, nodes[0]))


@pytest.mark.parametrize("n_cells", [4, 33])
def test_deposit_and_gather_equal_the_naive_loops(x64, n_cells):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.uniform(0, 7.0, 200), [0.0, np.nextafter(7.0, 0)], np.arange(n_cells) * 7.0 / n_cells])
    cell, offset = mesh.cell_and_offset(jnp.asarray(x), 7.0, n_cells)
    density = mesh.deposit(cell, offset, n_cells)
    np.testing.assert_allclose(density, naive_deposit(x, 7.0, n_cells), atol=1e-12)
    assert float(density.mean()) == pytest.approx(1, abs=1e-14)
    nodes = rng.normal(size=n_cells)
    np.testing.assert_allclose(mesh.gather(jnp.asarray(nodes), cell, offset), naive_gather(nodes, x, 7.0), atol=1e-12)


def test_a_position_at_the_end_of_the_box_counts_as_its_start():
    # In single precision a tiny negative position wraps to exactly the length of the box.
    cell, offset = mesh.cell_and_offset(jnp.asarray([50.0, 0.0], jnp.float32), 50.0, 16)
    at_end, at_start = (mesh.deposit(cell[i : i + 1], offset[i : i + 1], 16) for i in (0, 1))
    np.testing.assert_allclose(at_end, at_start, atol=1e-4)


@pytest.mark.parametrize("position", [-1e-9, -1e-4, 49.999998, 50.0, 123.4, -0.0])
def test_positions_are_wrapped_into_the_box(position):
    stepper = two_stream(n_cells=16)
    state = begin(stepper, 4, 1.3)
    moved = stepper.refresh(dataclasses.replace(state, x=jnp.full(4, position, jnp.float32)), {"mu": 1.3})
    assert 0 <= float(moved.x[0]) <= 50
    assert np.sin(2 * np.pi / 50 * float(moved.x[0])) == pytest.approx(np.sin(2 * np.pi / 50 * position), abs=1e-5)


@pytest.mark.parametrize("mode", [1, 3])
def test_the_poisson_solve_equals_an_analytic_field(x64, mode):
    # n = 1 + a cos(k x) has D' = 1 - n, so D = -a sin(k x) / k; nodes hold the density, half-nodes the field.
    n_cells, length, a = 400, 50.0, 0.3
    k = 2 * np.pi * mode / length
    dx = length / n_cells
    nodes = np.arange(n_cells) * dx
    field = mesh.electric_displacement(jnp.asarray(1 + a * np.cos(k * nodes)), length)
    np.testing.assert_allclose(field, -a / k * np.sin(k * (nodes + dx / 2)), atol=2e-4 * a / k * mode**2)
    np.testing.assert_allclose(mesh.on_nodes(field), -a / k * np.sin(k * nodes), atol=3e-4 * a / k * mode**2)


def test_the_poisson_solve_is_discretely_exact_with_zero_mean(x64):
    density = np.random.default_rng(0).uniform(0, 2, 50)
    density /= density.mean()
    field = np.asarray(mesh.electric_displacement(jnp.asarray(density), 7.0))
    np.testing.assert_allclose((field - np.roll(field, 1)) / (7.0 / 50), 1 - density, atol=1e-12)
    assert field.mean() == pytest.approx(0, abs=1e-14)


def test_the_solver_equals_a_naive_numpy_code(x64):
    length, n_cells, mu, dt = 50.0, 40, 1.3, 0.1
    stepper = two_stream(n_cells=n_cells)
    state = begin(stepper, 300, mu)
    step = jax.jit(stepper.step)
    x, v = np.asarray(state.x), np.asarray(state.v)

    def acceleration(x):
        displacement = np.cumsum(1 - naive_deposit(x, length, n_cells)) * length / n_cells
        displacement -= displacement.mean()
        return -naive_gather((displacement + np.roll(displacement, 1)) / 2, x, length) / mu**2

    for _ in range(20):
        v = v + dt / 2 * acceleration(x)
        x = (x + dt * v) % length
        v = v + dt / 2 * acceleration(x)
        state = step(state, dt, {"mu": mu})
    np.testing.assert_allclose(state.x, x, atol=1e-11)
    np.testing.assert_allclose(state.v, v, atol=1e-11)
