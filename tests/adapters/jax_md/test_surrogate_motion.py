"""Surrogates in the place of jax-md's ensembles move particles as trained, in any units and at any time."""

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
    free,
    many,
    simulate,
    space,
    surrogate,
)

from hoam_plugin.adapters import jax_md as md
from hoam_plugin.steppers import state_type
from hoam_plugin.surrogates import with_learned

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")


# Motion.


def test_positions_stream_on_the_torus_and_momenta_are_those_that_jax_md_draws():
    init, apply = MAKE["nve"](free(surrogate()))
    state = begin("nve", init)
    with as_users_do():
        theirs, _ = simulate.nve(lambda R, **_: jnp.zeros_like(R), SHIFT, 0.05)
        reference = begin("nve", theirs)
    np.testing.assert_array_equal(state.momentum, reference.momentum)
    moved = jax.lax.fori_loop(0, 40, lambda i, s: apply(s), state)
    np.testing.assert_allclose(moved.momentum, state.momentum, atol=1e-6)
    expected = np.mod(GRID + 2.0 * np.asarray(state.momentum), L)
    off = np.abs(np.asarray(moved.position) - expected)
    assert np.minimum(off, L - off).max() < 1e-4
    assert (np.asarray(moved.force) == 0).all() or np.abs(moved.force).max() < 1e-4


@pytest.mark.parametrize("name", [name for name in MAKE if name not in ("nve", "brownian")])
def test_momenta_are_drawn_as_jax_md_draws_them(name):
    init, _ = MAKE[name](free(surrogate()))
    with as_users_do():
        theirs, _ = getattr(simulate, name)(lambda R, **_: jnp.zeros_like(R), SHIFT, 0.05, 0.2, *FURTHER.get(name, ()))
        np.testing.assert_allclose(begin(name, init).momentum, begin(name, theirs).momentum, atol=1e-6)


def test_positions_move_through_the_shift_function_only():
    calls = []

    def shift(R, dR, **keywords):
        calls.append((dR.shape, sorted(keywords)))
        return SHIFT(R, dR, **keywords)

    init, apply = MAKE["nve"](free(surrogate()), shift)
    state = begin("nve", init)
    calls.clear()
    jax.eval_shape(lambda s: apply(s, t=1, neighbor=None), state)
    assert ((N, 2), ["neighbor", "t"]) in calls


def test_fractional_coordinates_move_by_the_displacement_in_space():
    with as_users_do():
        _, shift = space.periodic_general(jnp.asarray([[8.0, 1.0], [0.0, 4.0]]))
    model = free(surrogate(period=1.0))
    init, apply = MAKE["nve"](model, shift)
    state = begin("nve", init, R=GRID / L, momenta=jnp.full((N, 2), 0.5))
    # The surrogate's positions are those of its training, here fractions of the box, and change with its velocities.
    moved = apply(state).position
    np.testing.assert_allclose(moved, np.mod(GRID / L + 0.05 * 0.5, 1.0), atol=1e-5)


def test_a_bath_brings_particles_to_its_temperature():
    init, apply = md.nvt_langevin(free(surrogate(bath=True)), SHIFT, 0.1, 0.3)
    state = begin("nvt_langevin", init, kT=0.1)
    assert float((state.momentum**2).mean()) == pytest.approx(0.1, rel=0.4)
    _, squares = jax.lax.scan(lambda s, i: (apply(s), jnp.mean(s.momentum**2)), state, jnp.arange(40))
    assert float(squares[25:].mean()) == pytest.approx(0.3, rel=0.15)


def test_velocities_are_momenta_per_mass():
    init, apply = MAKE["nve"](free(surrogate(("x", "v"))))
    mass = jnp.linspace(1, 3, N)
    state = begin("nve", init, mass=mass)
    moved = apply(state)
    np.testing.assert_allclose(moved.momentum, state.momentum, rtol=1e-5)
    np.testing.assert_allclose(moved.velocity * mass[:, None], state.momentum, rtol=1e-5)
    off = np.abs(np.asarray(moved.position) - np.mod(GRID + 0.05 * np.asarray(state.velocity), L))
    assert np.minimum(off, L - off).max() < 1e-5


def test_a_configuration_is_one_sample():
    model = surrogate(shape=(4, 2), dims=("particle", "axis"))
    init, apply = MAKE["nve"](model)
    state = begin("nve", init, R=GRID[:4])
    plain = state_type(("position", "momentum"))(
        time=state.time, position=state.position[None], momentum=state.momentum[None]
    )
    expected = model.step(plain, 0.032, {"kT": 0.2}, key=KEY)
    moved = apply(state, dt=0.032)
    np.testing.assert_allclose(moved.momentum, expected.momentum[0], rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="4 particles in 2 dimensions"):
        begin("nve", init)


def test_a_long_step_is_taken_in_parts():
    model = surrogate().with_options(dt=0.05)
    init, apply = MAKE["nve"](model)
    state = begin("nve", init)
    parts = functools.reduce(lambda s, _: apply(s, dt=0.05), range(4), state)
    whole = apply(state, dt=0.2)
    traced = jax.jit(lambda s, dt: apply(s, dt=dt))(state, jnp.asarray(0.2))
    for one in (whole, traced):
        np.testing.assert_allclose(one.momentum, parts.momentum, rtol=1e-4, atol=1e-5)
        assert float(one.time) == pytest.approx(0.2)


def test_the_force_is_that_of_the_surrogate():
    model = surrogate(bath=True)
    init, apply = MAKE["nvt_langevin"](model)
    state = begin("nvt_langevin", init)
    moved = apply(state, dt=0.01)
    for one in (state, moved):
        x = jnp.concatenate([one.position, one.momentum], axis=1)
        learned = model.velocity(x, 0.0, {"kT": 0.2})[:, 2:] + one.momentum
        np.testing.assert_allclose(one.force, learned, atol=2e-3)


def test_fallback_takes_the_step_of_the_simulator():
    model = surrogate(bath=True).with_options(on_extrapolation="fallback")
    init, apply = MAKE["nvt_langevin"](model)
    state = begin("nvt_langevin", init)
    beyond = apply(state.set(time=jnp.asarray(5.0)))
    np.testing.assert_allclose(beyond.position, np.mod(GRID + 1.0, L), atol=1e-5)


# Digits.


def shifted(model, position=0.0, time=0.0):
    """A surrogate as one trained on the same dynamics far from the origin, or late."""
    norm = model.learned.normalisation
    moved = norm.shift.at[:2].set(position)
    horizon = (norm.horizon[0] + time, norm.horizon[1] + time)
    return with_learned(model, normalisation=dataclasses.replace(norm, shift=moved, horizon=horizon))


@pytest.mark.parametrize("names", [("position", "momentum"), ("position",)])
def test_far_from_the_origin_particles_move_as_near_it(names):
    far = 1e5
    with as_users_do():
        _, shift = space.free()
    model, ensemble = surrogate(names, period=None), "nve" if len(names) > 1 else "brownian"
    start = np.random.default_rng(1).standard_normal((N, 2)).astype(np.float32)
    # What float32 can hold there.
    start = (start + np.float32(far)) - np.float32(far)
    near, off = (MAKE[ensemble](m, shift, dt=0.01) for m in (shifted(model), shifted(model, position=far)))
    states = [
        many(apply, begin(ensemble, init, R=R), 200)
        for (init, apply), R in ((near, start), (off, start + np.float32(far)))
    ]
    moved = np.asarray(states[0].position, np.float64) - start
    assert np.abs(moved).max() > 0.1
    there = np.asarray(states[1].position, np.float64) + np.asarray(states[1].remainder["position"], np.float64)
    np.testing.assert_allclose(there - far, states[0].position, atol=1e-3 * np.abs(moved).max())
    # The positions themselves as well as float32 resolves them.
    np.testing.assert_allclose(states[1].position - np.float32(far), states[0].position, atol=0.005)


@pytest.mark.parametrize("start", [1e5, 1e6])
def test_late_clocks_keep_their_digits(start):
    model = surrogate()
    early, late = (MAKE["nve"](m, dt=0.01) for m in (shifted(model), shifted(model, time=start)))
    states = [many(apply, begin("nve", init), 300) for init, apply in (early, late)]
    assert float(states[1].time) + float(states[1].remainder["time"]) - start == pytest.approx(3.0, rel=1e-5)
    for name in ("position", "momentum", "force"):
        np.testing.assert_allclose(getattr(states[1], name), getattr(states[0], name), atol=1e-4)
    eager = late[1](states[1])
    assert float(eager.time) + float(eager.remainder["time"]) - start == pytest.approx(3.01, rel=1e-5)


def in_units(model, length, mass, time):
    """The same surrogate in other units, of kT as well; its variables are positions and, if any, velocities."""
    norm, kT = model.learned.normalisation, mass * length**2 / time**2
    units = jnp.asarray([length, length, length / time, length / time][: len(norm.periods)], jnp.float32)
    scaled = dataclasses.replace(
        norm,
        shift=norm.shift * units,
        scale=norm.scale * units,
        parameter_shift=norm.parameter_shift * kT,
        parameter_scale=norm.parameter_scale * kT,
        horizon=tuple(t * time for t in norm.horizon),
    )
    described = tuple(dataclasses.replace(v, period=v.period and v.period * length) for v in model.variables)
    ranges = tuple((name, low * kT, high * kT) for name, low, high in model.trained.ranges)
    layout = dataclasses.replace(model.learned.layout, variables=described)
    model = with_learned(model, normalisation=scaled, layout=layout).with_options(dt=model.dt * time)
    return dataclasses.replace(model, trained=dataclasses.replace(model.trained, ranges=ranges))


@pytest.mark.parametrize(("length", "mass", "time"), [(3e-10, 1e-26, 1e-12), (1e6, 1e20, 1e8)])
@pytest.mark.parametrize("name", ["nvt_nose_hoover", "brownian"])
def test_in_any_units_everything_is_the_same(name, length, mass, time):
    kT, momentum = mass * length**2 / time**2, mass * length / time
    model = surrogate(("x",) if name == "brownian" else ("x", "v"))
    scaled = in_units(model, length, mass, time)
    with as_users_do():
        _, shift = space.periodic(L * length)
    plain_init, plain = getattr(md, name)(model, SHIFT, 0.05, 0.2)
    init, apply = getattr(md, name)(scaled, shift, 0.05 * time, 0.2 * kT)
    states = [
        begin(name, plain_init, mass=2.0),
        begin(name, init, R=(GRID * length).astype(np.float32), mass=2.0 * mass),
    ]
    # In joules and kilograms, float32 has no number for kT m.
    for _ in range(2):
        if name != "brownian":
            np.testing.assert_allclose(states[1].momentum / momentum, states[0].momentum, atol=2e-5)
            np.testing.assert_allclose(states[1].force / (momentum / time), states[0].force, atol=2e-5)
            energies = [s.chain.kinetic_energy for s in states]
            assert float(energies[1]) / kT == pytest.approx(float(energies[0]), rel=1e-4)
            assert all(float(m) > 0 for m in states[1].chain.mass)
        off = np.abs(states[1].position / length - states[0].position)
        assert np.minimum(off, L - off).max() < 1e-4
        states = [many(plain, states[0], 20), many(apply, states[1], 20)]
    with pytest.raises(ValueError, match="outside the trained range"):
        apply(states[1], kT=0.9 * kT)
