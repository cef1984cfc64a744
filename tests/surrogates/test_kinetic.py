"""Steps with a learned force: second order, tables of the force, gradients; their files."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import landau
import numpy as np
import pytest
import toy
from trap import Trap, fit_kinetic, trap_ensemble

import hoam_plugin as hoam
from hoam_plugin.steppers import state_type
from hoam_plugin.surrogates import with_learned


@pytest.fixture(scope="module")
def trap_surrogate() -> hoam.Surrogate:
    return fit_kinetic(trap_ensemble(Trap(), rates=True), replaces=Trap())


def test_kinetic_file_round_trip(trap_surrogate: hoam.Surrogate, tmp_path: Any) -> None:
    path = trap_surrogate.save(tmp_path / "trap.hoam")
    with pytest.raises(ValueError, match="NoneType lacks it"):
        hoam.load(path)
    back = hoam.load(path, replaces=Trap())
    assert back.learned.structure == trap_surrogate.learned.structure
    x = jax.random.normal(jax.random.key(0), (7, 2))
    arguments = (x, jnp.asarray(0.7), {"mu": jnp.asarray(1.4)})
    np.testing.assert_array_equal(back.velocity(*arguments), trap_surrogate.velocity(*arguments))
    assert back.learned.has_noise == trap_surrogate.learned.has_noise


def test_kinetic_steps_are_second_order_and_reversible(trap_surrogate: hoam.Surrogate) -> None:
    model = with_learned(trap_surrogate, known_noise=False)
    parameters = {"mu": jnp.asarray(2.0)}
    state = Trap().init(jax.random.key(0), 64, parameters)
    times = jnp.asarray([1.6])
    exact = model.solve(state, times, parameters, dt=0.0025)
    errors = [float(jnp.abs(model.solve(state, times, parameters, dt=dt).x - exact.x).max()) for dt in (0.16, 0.08)]
    assert 3 < errors[0] / errors[1] < 5
    there = model.step(state, 0.2, parameters)
    turned = dataclasses.replace(there, v=-there.v)
    # The force depends on time, so the way back is taken under the force of the same times.
    middle = jnp.asarray(0.1)
    back = turned.x + 0.1 * turned.v
    force = model.velocity(jnp.stack([back, turned.v], axis=1), middle, parameters)[:, 1]
    np.testing.assert_allclose(back + 0.1 * (turned.v + 0.2 * force), state.x, atol=1e-5)


def test_table_is_as_good_as_the_network(trap_surrogate: hoam.Surrogate) -> None:
    parameters = {"mu": jnp.asarray(2.0)}
    many = Trap().init(jax.random.key(0), 2048, parameters)
    few = dataclasses.replace(many, x=many.x[:200], v=many.v[:200])
    model = with_learned(trap_surrogate, known_noise=False)
    tabulated, direct = (model.step(state, 0.1, parameters) for state in (many, few))
    np.testing.assert_allclose(tabulated.v[:200], direct.v, atol=2e-5)


def test_gradients_through_a_kinetic_rollout(trap_surrogate: hoam.Surrogate) -> None:
    model = with_learned(trap_surrogate, known_noise=False)
    state = Trap().init(jax.random.key(0), 1024, {})

    def spread(mu: Any) -> Any:
        return jnp.mean(model.solve(state, jnp.asarray([0.5, 1.5]), {"mu": mu}).x[-1] ** 2)

    slope = jax.jit(jax.grad(spread))(jnp.asarray(2.0))
    by_differences = (spread(jnp.asarray(2.02)) - spread(jnp.asarray(1.98))) / 0.04
    np.testing.assert_allclose(slope, by_differences, rtol=0.02)


@pytest.fixture(scope="module")
def plasma_force() -> hoam.Surrogate:
    """A force on periodic positions; 40 iterations, enough for one that is not zero."""
    ds = toy.small_plasma_ensemble()
    training = hoam.Training(iterations=40, n_samples=64, block=10, learning_rate=2e-2, warmup=10)
    return fit_kinetic(ds, loss=hoam.DICE(), training=training)


@pytest.mark.long
def test_tables_of_a_whole_solve_are_its_steps(plasma_force: hoam.Surrogate) -> None:
    """`solve` takes all forces from tables made at once; steps of a few samples ask the network itself."""
    parameters = {"mu": jnp.asarray(1.4)}
    state = toy.small_plasma().init(jax.random.key(0), 256, parameters)
    times = jnp.asarray([0.8, 1.6])
    solved = plasma_force.solve(state, times, parameters, dt=0.2)
    few = dataclasses.replace(state, x=state.x[:16], v=state.v[:16])
    moved = few
    for _ in range(8):
        moved = plasma_force.step(moved, 0.2, parameters)
    assert float(jnp.abs(moved.v - few.v).max()) > 1e-3
    np.testing.assert_allclose(solved.v[-1, :16], moved.v, atol=1e-4)
    turned = (solved.x[-1, :16] - moved.x + 25) % 50 - 25
    np.testing.assert_allclose(turned, 0, atol=1e-4)
    assert solved.x.shape == (2, 256)
    assert float(solved.x.min()) >= 0
    assert float(solved.x.max()) < 50

    def spread(mu: Any) -> Any:
        return jnp.mean(plasma_force.solve(state, times, {"mu": mu}, dt=0.2).v[-1] ** 2)

    slope = jax.jit(jax.grad(spread))(jnp.asarray(1.4))
    np.testing.assert_allclose(slope, (spread(jnp.asarray(1.45)) - spread(jnp.asarray(1.35))) / 0.1, rtol=0.05)


def test_tables_outside_the_trained_range_and_in_double_precision(plasma_force: hoam.Surrogate) -> None:
    state = toy.small_plasma().init(jax.random.key(0), 256, {"mu": jnp.asarray(1.4)})
    solve = jax.jit(lambda t, mu: plasma_force.solve(state, t, {"mu": mu}).v)
    outside = solve(jnp.asarray([1.0, 99.0]), jnp.asarray(1.4))
    assert bool(jnp.isfinite(outside[0]).all())
    assert bool(jnp.isnan(outside[1]).all())
    assert bool(jnp.isnan(solve(jnp.asarray([1.0]), jnp.asarray(9.0))).all())
    with jax.enable_x64(True):
        wide = state_type(("x", "v"))(
            time=jnp.asarray(0.0), x=jnp.asarray(state.x, jnp.float64), v=jnp.asarray(state.v, jnp.float64)
        )
        moved = plasma_force.solve(wide, jnp.asarray([1.0]), {"mu": jnp.asarray(1.4)})
        assert moved.x.dtype == jnp.float64
        np.testing.assert_allclose(moved.v[0], outside[0], atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("conservative", [False, True])
def test_tables_along_the_one_position_that_a_force_in_space_sees(*, conservative: bool) -> None:
    model = landau.fit_force(conservative=conservative)
    parameters = {"mu": jnp.asarray(1.1)}
    state = model.init(jax.random.key(0), 256, parameters)
    names = [v.name for v in model.variables]
    solved = model.solve(state, jnp.asarray([0.5, 1.0, 1.6]), parameters, dt=0.1)
    few = dataclasses.replace(state, **{name: getattr(state, name)[:16] for name in names})
    # So few samples ask the network itself; the tables of a single step are other code than those of a whole solve.
    by_network, by_tables = few, state
    for _ in range(16):
        by_network, by_tables = (model.step(moved, 0.1, parameters) for moved in (by_network, by_tables))
    assert float(jnp.abs(by_network.v1 - few.v1).max()) > 1e-2
    for variable in model.variables:
        found, stepped, wanted = (getattr(s, variable.name) for s in (solved, by_tables, by_network))
        period = variable.period or 1e9
        for off in (found[-1, :16] - wanted, stepped[:16] - wanted):
            np.testing.assert_allclose(off - period * jnp.round(off / period), 0, atol=2e-4)
        if variable.period is not None:
            assert float(found.min()) >= 0
            assert float(found.max()) < period
    if conservative:
        np.testing.assert_array_equal(solved.v2[-1], state.v2)
