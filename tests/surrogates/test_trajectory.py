"""Whole trajectories in compiled code: their gradients, how much is computed, and how much is kept."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from hoam_plugin.surrogates import one_step

DT = 0.25
# Of unequal length, the second one no longer than a step.
TIMES = np.asarray([0.0, 1.0, 1.2, 4.0])
STEPS = [0, 4, 1, 12]


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("epsilon", [0.0, 0.3])
def test_gradients_are_those_of_the_loop_written_out(epsilon: float) -> None:
    model = toy.small_surrogate(toy.small_plasma_ensemble(n_samples=128), epsilon)
    model = model.with_options(noise="independent")
    # More than fit into one piece.
    state = model.init(jax.random.key(2), 600, {"mu": 1.4})
    key = jax.random.key(3) if epsilon else None

    def of(states: Any) -> Any:
        return sum(jnp.mean(s.v**2 * (i + 1) + jnp.cos(s.x)) for i, s in enumerate(states))

    def solved(mu: Any, v: Any, times: Any = TIMES) -> Any:
        states = model.solve(dataclasses.replace(state, v=v), times, {"mu": mu}, key=key, dt=DT)
        return of([jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(len(TIMES))])

    def looped(mu: Any, v: Any) -> Any:
        moved, states, index = dataclasses.replace(state, v=v), [], 0
        for start, end, n in zip([0.0, *TIMES[:-1]], TIMES, STEPS, strict=True):
            for _ in range(n):
                own = None if key is None else jax.random.fold_in(key, jnp.int32(index))
                moved, index = model.step(moved, (end - start) / n, {"mu": mu}, own), index + 1
            states.append(moved)
        return of(states)

    wanted = jax.value_and_grad(looped, (0, 1))(1.4, state.v)
    scale = np.abs(wanted[1][1]).max()
    known = jax.jit(jax.value_and_grad(solved, (0, 1)))(1.4, state.v)
    traced = jax.jit(jax.value_and_grad(solved, (0, 1)))(1.4, state.v, jnp.asarray(TIMES))
    for value, (by_mu, by_v) in (known, traced):
        np.testing.assert_allclose(value, wanted[0], rtol=1e-12)
        np.testing.assert_allclose(by_mu, wanted[1][0], rtol=1e-12)
        np.testing.assert_allclose(by_v / scale, wanted[1][1] / scale, rtol=0, atol=1e-12)
    _, forward = jax.jit(lambda mu: jax.jvp(lambda mu: solved(mu, state.v), (mu,), (1.0,)))(1.4)
    np.testing.assert_allclose(forward, wanted[1][0], rtol=1e-12)


@pytest.mark.long
def test_second_derivatives_of_a_trajectory() -> None:
    model = toy.plasma_surrogate().with_options(integrator="euler")
    state = model.init(jax.random.key(2), 32, {"mu": 1.4})

    def energy(mu: Any) -> Any:
        return jnp.mean(model.solve(state, TIMES, {"mu": mu}, dt=DT).v[-1] ** 2)

    gradient = jax.jit(jax.grad(energy))
    h = 0.01
    difference = (gradient(1.4 + h) - gradient(1.4 - h)) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(jax.grad(energy)))(1.4), difference, rtol=0.02)


@pytest.mark.parametrize("traced", ["nothing", "times", "state"])
def test_no_more_steps_are_computed_than_are_wanted(traced: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy.plasma_surrogate()
    # As many samples as in no other case, so that nothing is compiled yet.
    state = model.init(jax.random.key(2), {"nothing": 37, "times": 38, "state": 39}[traced], {"mu": 1.4})
    taken = []
    original = one_step.moved

    def counted(*arguments: Any) -> Any:
        jax.debug.callback(lambda: taken.append(1))
        return original(*arguments)

    monkeypatch.setattr(one_step, "moved", counted)
    # The trained horizon is 4.
    times = np.asarray([0.0, 0.5, 0.7])
    compiled = {
        "nothing": lambda: jax.jit(lambda: model.solve(state, times, {"mu": 1.4}, dt=0.125))(),
        "times": lambda: jax.jit(lambda t: model.solve(state, t, {"mu": 1.4}, dt=0.125))(jnp.asarray(times)),
        "state": lambda: jax.jit(lambda s: model.solve(s, times, {"mu": 1.4}, dt=0.125))(state),
    }
    jax.block_until_ready(compiled[traced]())
    jax.effects_barrier()
    assert len(taken) == 4 + 2


@pytest.mark.long
@pytest.mark.parametrize("reverse", [False, True])
def test_memory_grows_with_saved_times_and_not_with_steps(reverse: bool) -> None:
    model = toy.plasma_surrogate()
    state = model.init(jax.random.key(2), 2048, {"mu": 1.4})
    times = np.asarray([0.0, 4.0])

    def temporary(n_steps: int) -> int:
        def energy(mu: Any) -> Any:
            return jnp.mean(model.solve(state, times, {"mu": mu}, dt=4.0 / n_steps).v[-1] ** 2)

        compiled = jax.jit(jax.grad(energy) if reverse else energy).lower(1.4).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    # As the square root of the number of steps, 8 times, and what does not grow.
    assert temporary(64 * 64) < 8 * temporary(64)
    assert temporary(64 * 64) < (3 if reverse else 1) * 2 * 64 * 2 * state.x.nbytes + temporary(64)


@pytest.mark.long
def test_fallback_takes_its_steps_in_blocks_too() -> None:
    model = toy.plasma_surrogate().with_options(on_extrapolation="fallback")
    plain = toy.plasma_surrogate()
    state = model.init(jax.random.key(2), 64, {"mu": 1.4})
    times = jnp.asarray(TIMES)
    within = jax.jit(lambda t: model.solve(state, t, {"mu": 1.4}, dt=DT).v)(times)
    np.testing.assert_allclose(within, plain.solve(state, TIMES, {"mu": 1.4}, dt=DT).v, atol=1e-5)
    beyond = jax.jit(lambda mu: model.solve(state, times, {"mu": mu}, dt=DT).v)(2.4)
    simulator = toy.small_plasma()
    moved = simulator.refresh(state, {"mu": jnp.float32(2.4)})
    for _ in range(4):
        moved = simulator.step(moved, 0.25, {"mu": jnp.float32(2.4)})
    np.testing.assert_allclose(beyond[1], moved.v, atol=1e-5)
