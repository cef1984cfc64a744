"""Boxes and neighbour lists of jax-md simulations as steppers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import KEY, as_users_do, gas, run, simulate, space, values

from hoam_plugin.adapters.jax_md import NeighborListOverflowError, from_simulation

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


# Boxes.


@pytest.mark.long
def test_a_box_makes_positions_periodic():
    stepper = gas()
    assert stepper.variables[0].period == 4.0
    ds = run(stepper, [0.0, 5.0], {"kT": [1.0]}, n_samples=18)
    x = values(ds, "position")
    assert ((x >= 0) & (x <= 4)).all()
    assert np.abs(x[1] - x[0]).max() > 2
    # Positions of a foreign ensemble are wrapped when they enter.
    again = run(stepper, [0.0, 1.0], {"kT": [1.0]}, n_samples=18, initial=ds.assign(position=ds["position"] - 8.0))
    np.testing.assert_allclose(values(again, "position")[0], x[0], atol=1e-5)


def test_fractional_coordinates_hold_any_box():
    box = np.asarray([[2.0, 0.5], [0.0, 4.0]])
    with as_users_do():
        _, shift = space.periodic_general(jnp.asarray(box))

    def still(R, **_):
        return jnp.zeros_like(R)

    stepper = from_simulation(
        simulate.nve,
        still,
        shift,
        dt=0.05,
        position=0.1 + 0.05 * np.arange(8.0, dtype=np.float32).reshape(4, 2),
        box=1.0,
    )
    assert stepper.variables[1].velocity_of is None
    state = stepper.init(KEY, 4, {"kT": 0.1})
    moved = stepper.step(state, 0.05, {"kT": 0.1})
    rate = stepper.rates(state, {"kT": 0.1})["position"]
    np.testing.assert_allclose(rate, state.momentum @ np.linalg.inv(box).T, atol=1e-4)
    np.testing.assert_allclose(moved.position, np.mod(state.position + 0.05 * rate, 1.0), atol=1e-5)
    assert "potential_energy" not in stepper.diagnostics(state, {"kT": 0.1})


def test_a_box_that_is_not_that_of_the_shift_is_refused():
    with pytest.raises(ValueError, match="box=5, but shift_fn does not wrap positions at that period"):
        gas(box=5.0)
    with pytest.raises(ValueError, match="box=None, but shift_fn wraps"):
        gas(box=None)
    with pytest.raises(ValueError, match=r"box=\[4.0, 5.0\] has not the same period along every axis"):
        gas(box=[4.0, 5.0])
    assert gas(box=np.asarray([4.0, 4.0])).period == 4.0


# Neighbour lists.


@functools.cache
def runs_of_gas():
    times = [0.0, 0.8]
    parameters = {"kT": [0.5]}
    return tuple(run(gas(neighbors=n), times, parameters, n_samples=18, rates=True) for n in (True, False))


@pytest.mark.long
def test_lists_that_overflow_get_more_room_and_nothing_wrong_is_recorded():
    lists, plain = runs_of_gas()
    # The lattice has no neighbours at all, so that its list had no room.
    assert float(plain["potential_energy"].isel(time=-1).min()) > 1e-3
    for name in ("position", "momentum", "momentum_rate", "potential_energy"):
        np.testing.assert_allclose(lists[name], plain[name], atol=2e-4)


def test_an_overflow_outside_of_simulate_is_an_error_and_can_be_recovered_from():
    stepper = gas(neighbors=True)
    parameters = {"kT": 1.0}
    before = stepper.init(KEY, 18, parameters)

    @jax.jit
    def advance(state):
        return jax.lax.fori_loop(0, 10, lambda i, s: stepper.step(s, 0.04, parameters), state)

    after = advance(before)
    assert np.isnan(after.position).all()
    with pytest.raises(NeighborListOverflowError, match="neighbour-list overflow"):
        stepper.step(after, 0.04, parameters)
    while (again := stepper.recover(before, after, parameters)) is not None:
        np.testing.assert_array_equal(again.position, before.position)
        after = advance(again)
    assert np.isfinite(after.position).all()
    assert after.aux.neighbors.max_occupancy > before.aux.neighbors.max_occupancy
