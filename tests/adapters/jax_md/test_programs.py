"""Programs for jax-md run unchanged with a surrogate in the place of the energy; what `apply_fn` keeps."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_surrogates import (
    FURTHER,
    GRID,
    KEY,
    MAKE,
    SHIFT,
    L,
    N,
    as_users_do,
    begin,
    energy,
    for_ensemble,
    free,
    md_dataclasses,
    quantity,
    same_avals,
    simulate,
    space,
    surrogate,
)

from hoam_plugin.adapters import jax_md as md

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


# Programs as jax-md's users write them; `make` is the only thing that differs between jax-md and a surrogate.


def program(name, make):
    """After jax-md's `nve_neighbor_list` and `nvt_simulation` examples."""
    displacement, shift = space.periodic(L)
    if name == "nve":
        neighbor_fn, energy_fn = energy.soft_sphere_neighbor_list(displacement, L, dr_threshold=0.2)
        nbrs = neighbor_fn.allocate(jnp.asarray(GRID), extra_capacity=4)
    else:
        nbrs, energy_fn = jnp.zeros(3), energy.soft_sphere_pair(displacement)
    init_fn, apply_fn = make(energy_fn, shift, 0.05)
    apply_fn = jax.jit(apply_fn)
    takes_neighbors = {} if name == "brownian" else {"neighbor": nbrs}
    state = begin(name, init_fn, mass=2.0, **takes_neighbors)

    def step_fn(i, state_nbrs_log):
        state, nbrs, log = state_nbrs_log
        if name != "brownian":
            log = log.at[i].set(quantity.temperature(momentum=state.momentum, mass=state.mass))
        if name == "nvt_nose_hoover":
            log = log.at[i].set(simulate.nvt_nose_hoover_invariant(energy_fn, state, 0.2, neighbor=nbrs))
        nbrs = nbrs.update(state.position) if name == "nve" else nbrs
        return apply_fn(state, neighbor=nbrs, t=i), nbrs, log

    state, nbrs, log = jax.lax.fori_loop(0, 10, step_fn, (state, nbrs, jnp.zeros(10)))
    assert name != "nve" or not nbrs.did_buffer_overflow
    if name != "brownian":
        state = state.set(momentum=0.9 * state.momentum)
        state = md_dataclasses.replace(state, momentum=state.velocity * state.mass)
    state, positions = jax.lax.scan(lambda s, t: (apply_fn(s, t=t, neighbor=nbrs), s.position), state, jnp.arange(5))
    assert positions.shape == (5, N, 2)
    state = apply_fn(state, neighbor=nbrs, dt=0.01)
    if name != "brownian":
        assert float(quantity.kinetic_energy(momentum=state.momentum, mass=state.mass)) > 0
        assert float(simulate.temperature(state)) > 0
        assert state.force.shape == state.position.shape
    return state, log


def some_slow(*quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in MAKE]


@pytest.mark.long
@pytest.mark.parametrize("name", some_slow("nve", "nvt_nose_hoover", "temp_csvr"))
def test_a_program_for_jax_md_runs_with_the_surrogate_in_place_of_the_energy(name):
    arguments = () if name == "nve" else (0.2, *FURTHER.get(name, ()))
    with as_users_do():
        state, log = program(
            name, lambda energy_fn, shift, dt: getattr(md, name)(for_ensemble(name), shift, dt, *arguments)
        )
        # The state of jax-md after a step.
        init_fn, apply_fn = getattr(simulate, name)(lambda R, **_: -R, SHIFT, 0.05, *arguments)
        reference = jax.eval_shape(lambda: apply_fn(begin(name, init_fn, mass=2.0)))
    assert isinstance(state, type(reference))
    assert np.isfinite(log).all()
    assert np.isfinite(state.position).all()
    assert ((state.position >= 0) & (state.position <= L)).all()
    for field in dataclasses.fields(reference):
        ours, theirs = (jax.tree.leaves(getattr(s, field.name)) for s in (state, reference))
        assert [(x.shape, x.dtype) for x in ours] == [(x.shape, x.dtype) for x in theirs], field.name
    assert float(state.time) == pytest.approx(15 * 0.05 + 0.01, rel=1e-6)


def test_a_vmapped_and_jitted_simulation_of_the_cookbook_runs():
    model = surrogate(("position",))

    @functools.partial(jax.vmap, in_axes=(0, None))
    def simulation(key, temperature):
        pos_key, sim_key = jax.random.split(key)
        box_size = quantity.box_size_at_number_density(N, 1.0, 2)
        _, shift = space.periodic(box_size)
        R = jax.random.uniform(pos_key, (N, 2), maxval=box_size)
        init_fn, apply_fn = md.brownian(model, shift, 1e-1, temperature)
        state = init_fn(sim_key, R)
        state, _ = jax.lax.scan(lambda state, t: (apply_fn(state, t=t), t), state, jnp.arange(5))
        return state.position

    with as_users_do():
        keys = jax.random.split(KEY, 3)
        assert np.isfinite(jax.jit(simulation)(keys, 0.2)).all()
        # A traced temperature cannot raise.
        assert np.isnan(jax.jit(simulation)(keys, 5.0)).all()


@pytest.mark.long
def test_a_temperature_schedule_sets_the_parameter_step_by_step():
    init, apply = MAKE["nvt_langevin"](free(surrogate(bath=True)))
    state = begin("nvt_langevin", init)
    hot = apply(state, kT=0.3).momentum - jnp.exp(-0.05) * state.momentum
    cold = apply(state, kT=0.1).momentum - jnp.exp(-0.05) * state.momentum
    np.testing.assert_allclose(hot, np.sqrt(3) * cold, rtol=0.02, atol=1e-3)
    looped = jax.lax.fori_loop(0, 3, lambda i, s: apply(s, kT=0.1 + 0.05 * i.astype(jnp.float32)), state)
    assert np.isfinite(looped.momentum).all()


# What `apply_fn` keeps.


@pytest.mark.parametrize("name", some_slow("nvt_langevin", "nvt_nose_hoover"))
@pytest.mark.parametrize("mass", [2.5, pytest.param(np.float32(1.0), marks=pytest.mark.slow)], ids=["weak", "strong"])
def test_tree_shapes_dtypes_and_weak_types_stay(name, mass):
    init, apply = MAKE[name](for_ensemble(name))
    state = begin(name, init, mass=mass)
    moved = jax.eval_shape(lambda s: apply(s, t=3), state)
    same_avals(jax.eval_shape(lambda s: s, state), moved)
    last, _ = jax.lax.scan(lambda s, i: (apply(s, t=i), None), state, jnp.arange(3))
    same_avals(state, last)


@pytest.mark.parametrize("name", some_slow("nvt_langevin"))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_so_they_do_in_double_precision(name, dtype, x64):
    init, apply = MAKE[name](for_ensemble(name))
    state = begin(name, init, R=GRID.astype(dtype), mass=np.linspace(1, 2, N, dtype=dtype))
    last, _ = jax.lax.scan(lambda s, i: (apply(s, t=i), None), state, jnp.arange(2))
    same_avals(state, last)
    assert last.position.dtype == dtype
    assert np.isfinite(last.position).all()


def test_steps_are_pure_and_split_the_random_state():
    init, apply = MAKE["nvt_langevin"](free(surrogate(bath=True)))
    state = begin("nvt_langevin", init)
    once, again = apply(state), apply(state)
    np.testing.assert_array_equal(once.momentum, again.momentum)
    assert not (once.rng == state.rng).all()
    np.testing.assert_array_equal(once.rng, jax.random.split(state.rng)[0])
    kicks = [np.asarray(b.momentum - jnp.exp(-0.05) * a.momentum) for a, b in ((state, once), (once, apply(once)))]
    assert abs(np.corrcoef(kicks[0].ravel(), kicks[1].ravel())[0, 1]) < 0.4
