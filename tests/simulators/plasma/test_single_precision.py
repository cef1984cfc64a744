"""What runs in single precision, against naive formulations in double precision: deposit, field, gather and a step.

Bounds are counts of roundings: units in the last place of the largest term, by how often it is rounded.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hoam_plugin.simulators import VlasovPoissonPIC
from hoam_plugin.simulators.plasma.particles import mesh

N, CELLS, DT = 200, 16, 0.1
STEPPER = VlasovPoissonPIC(n_cells=CELLS, dt=DT)
ULP = float(np.finfo(np.float32).eps)
SEEDS, LENGTHS = st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 50.0, 1e6])
# Of the box that all samples lie in: crowded in a part of a cell, or spread over all of them.
SHARES = st.sampled_from([1e-3, 0.1, 1.0])
at_random = settings(max_examples=60, deadline=None)


def positions(seed: int, length: float, share: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = np.mod(rng.uniform(0, length) + share * length * rng.uniform(0, 1, N), length).astype(np.float32)
    return np.minimum(x, np.nextafter(np.float32(length), np.float32(0)))


def naive_weights(x: np.ndarray, length: float) -> np.ndarray:
    """Linear weights of every node for every sample."""
    scaled = x.astype(np.float64) / length * CELLS
    distance = np.abs(scaled[:, None] - np.arange(CELLS))
    return np.maximum(0.0, 1 - np.minimum(distance, CELLS - distance))


@functools.partial(jax.jit, static_argnames="length")
def deposited(x, length):
    return mesh.particle_mesh(x, length, CELLS, "linear")[0]()


@functools.partial(jax.jit, static_argnames="length")
def gathered(nodes, x, length):
    return mesh.particle_mesh(x, length, CELLS, "linear")[1](nodes)


displacement = jax.jit(mesh.electric_displacement, static_argnames="length")


@functools.cache
def begun():
    return STEPPER.init(jax.random.key(0), N, {"mu": 1.0})


@jax.jit
def stepped(state, parameters):
    return STEPPER.step(STEPPER.refresh(state, parameters), DT, parameters)


@given(SEEDS, LENGTHS, SHARES)
@at_random
def test_deposit(seed, length, share):
    x = positions(seed, length, share)
    density = np.asarray(deposited(jnp.asarray(x), length), np.float64)
    weights = naive_weights(x, length)
    # A position is rounded to a unit of the last place of the number of cells; a sum of N terms N times at most.
    error = ULP * (2 * CELLS * (weights > 0).sum(axis=0) + N * weights.sum(axis=0) + N) * CELLS / N
    assert (np.abs(density - weights.sum(axis=0) * CELLS / N) <= error + 4 * ULP * CELLS).all()
    assert abs(density.mean() - 1) <= N * ULP


@given(SEEDS, LENGTHS, SHARES)
@at_random
def test_gather(seed, length, share):
    x = positions(seed, length, share)
    nodes = np.random.default_rng(seed).standard_normal(CELLS).astype(np.float32)
    exact = naive_weights(x, length) @ nodes.astype(np.float64)
    found = np.asarray(gathered(jnp.asarray(nodes), jnp.asarray(x), length), np.float64)
    np.testing.assert_allclose(found, exact, rtol=0, atol=8 * CELLS * ULP * np.abs(nodes).max())


@given(SEEDS, LENGTHS)
@at_random
def test_field_solve(seed, length):
    density = np.random.default_rng(seed).exponential(1.0, CELLS)
    density = (density / density.mean()).astype(np.float32)
    excess = 1 - density.astype(np.float64)
    exact = np.cumsum(excess) * (length / CELLS)
    exact -= exact.mean()
    found = np.asarray(displacement(jnp.asarray(density), length), np.float64)
    most = np.abs(excess).sum() * length / CELLS
    np.testing.assert_allclose(found, exact, rtol=0, atol=4 * CELLS * ULP * most)


@pytest.mark.long
@given(SEEDS, st.floats(0.5, 2.0, width=32))
@at_random
def test_a_leapfrog_step(seed, mu):
    length = STEPPER.length
    x = positions(seed, length, 1.0)
    v = np.random.default_rng(seed).standard_normal(N).astype(np.float32)
    start = dataclasses.replace(begun(), x=jnp.asarray(x), v=jnp.asarray(v))
    moved = stepped(start, {"mu": jnp.float32(mu)})

    def acceleration(x: np.ndarray) -> np.ndarray:
        weights = naive_weights(x, length)
        between = np.cumsum(1 - weights.sum(axis=0) * CELLS / N) * length / CELLS
        between -= between.mean()
        return -weights @ ((between + np.roll(between, 1)) / 2) / mu**2

    half = v + DT / 2 * acceleration(x)
    reached = np.mod(x + DT * half, length)
    after = half + DT / 2 * acceleration(reached)
    apart = (np.asarray(moved.x, np.float64) - reached + length / 2) % length - length / 2
    assert np.abs(apart).max() <= 8 * ULP * length
    assert np.abs(np.asarray(moved.v, np.float64) - after).max() <= 64 * ULP * (np.abs(v).max() + length / mu**2)
