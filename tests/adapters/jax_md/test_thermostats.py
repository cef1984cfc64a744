"""jax-md's other NVT ensembles: the trajectories of its own programs, rates, and surrogates in their place."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.adapters import jax_md as md

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")

KEY, N, L, KT, DT = jax.random.key(0), 16, 4.0, 0.3, 0.02
LATTICE = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2) + 0.5
START = (LATTICE + 0.1 * np.random.default_rng(0).standard_normal(LATTICE.shape)).astype(np.float32)


@contextlib.contextmanager
def as_users_do():
    """The settings that jax-md programs are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


with as_users_do():
    from jax_md import energy, simulate, space

    DISPLACEMENT, SHIFT = space.periodic(L)
    ENERGY = energy.soft_sphere_pair(DISPLACEMENT)

OPTIONS = {
    "nvk": {},
    "temp_rescale": {"window": 0.01, "fraction": 0.5},
    "temp_berendsen": {"tau": 0.4},
    "temp_csvr": {"tau": 0.4},
}


def stepper(name, mass=2.0, **options):
    settings = {"dt": DT, "position": START, "box": L, "mass": mass} | OPTIONS[name] | options
    return md.from_simulation(getattr(simulate, name), ENERGY, SHIFT, **settings)


def hot(one, factor=1.4):
    """A state that is too hot for the thermostat."""
    state = one.init(KEY, N, {"kT": KT})
    state = type(state)(**{**vars(state), "momentum": factor * state.momentum})
    return one.refresh(state, {"kT": KT})


@pytest.mark.parametrize("name", OPTIONS)
def test_trajectories_are_those_of_a_program_of_jax_md(name):
    one = stepper(name)
    state = hot(one)
    keys = jax.random.split(jax.random.key(7), 30)

    @jax.jit
    def ours(state):
        return jax.lax.scan(lambda s, k: (one.step(s, DT, {"kT": KT}, key=k), s.momentum), state, keys)

    with as_users_do():
        init, apply = getattr(simulate, name)(ENERGY, SHIFT, DT, KT, **OPTIONS[name])
        theirs = init(jax.random.key(1), state.position, mass=2.0, momenta=state.momentum)

        @jax.jit
        def program(theirs):
            for_replica = jax.vmap(lambda k: jax.random.split(k, 1)[0])(keys)
            # The noise of a step is that of its key.
            own = (lambda s, k: s.set(rng=k)) if hasattr(theirs, "rng") else (lambda s, k: s)
            return jax.lax.scan(lambda s, k: (own(apply(own(s, k)), k), s.momentum), own(theirs, keys[0]), for_replica)

        theirs, momenta = program(theirs)
    state, trail = ours(state)
    np.testing.assert_allclose(trail, momenta, atol=2e-5)
    off = np.abs(state.position - theirs.position)
    assert np.minimum(off, L - off).max() < 2e-5
    temperature = (trail**2).mean((1, 2)) / 2.0
    if name == "nvk":
        np.testing.assert_allclose(temperature, temperature[0], rtol=1e-4)
    else:
        assert abs(temperature[-1] / KT - 1) < 0.5 * abs(temperature[0] / KT - 1)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "temp_csvr"])
def test_rates_are_those_of_the_momenta(name):
    one = stepper(name, dt=1e-3) if name == "temp_rescale" else stepper(name)
    state, h = hot(one), 1e-3
    later = one.step(state, h, {"kT": KT}, key=KEY)
    rate = one.rates(state, {"kT": KT})["momentum"]
    force = one.system.particles.samples(state.aux.system.force)
    assert np.abs(rate - force).max() > 0.02
    np.testing.assert_allclose((later.momentum - state.momentum) / h, rate, atol=1e-2 * np.abs(rate).max())


def test_the_rate_of_a_stochastic_rescaling_is_the_mean_over_its_noise():
    one = stepper("temp_csvr", view="configuration", tau=0.1)
    whole = one.init(KEY, 4000, {"kT": KT})
    same = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf[:1], leaf.shape), (whole.position, whole.momentum))
    state = one.refresh(type(whole)(**{**vars(whole), "position": same[0], "momentum": 1.4 * same[1]}), {"kT": KT})
    h = 2e-3
    later = one.step(state, h, {"kT": KT}, key=KEY)
    growth = (later.momentum - state.momentum) / h
    scatter = np.asarray(growth.std(0)) / np.sqrt(len(growth))
    rate = np.asarray(one.rates(state, {"kT": KT})["momentum"][0])
    assert (np.abs(np.asarray(growth.mean(0)) - rate) < 5 * scatter + 0.02 * np.abs(rate)).all()
    assert one.noise is None


def test_what_a_simulation_needs_is_asked_for():
    for name, needed in (("temp_rescale", "window"), ("temp_berendsen", "tau"), ("temp_csvr", "tau")):
        with pytest.raises(ValueError, match=rf"{name} needs \['{needed}'.*{needed}=1.0, or among parameters"):
            md.from_simulation(getattr(simulate, name), ENERGY, SHIFT, dt=DT, position=START, box=L)
    assert stepper("temp_berendsen", tau=0.4, parameters=("kT",)).parameters == ("kT",)


def test_how_fast_it_acts_may_be_a_parameter():
    settings = {"dt": DT, "position": START, "box": L, "parameters": ("kT", "tau")}
    one = md.from_simulation(simulate.temp_berendsen, ENERGY, SHIFT, **settings)
    state = one.init(KEY, N, {"kT": KT, "tau": 1.0})
    slow, fast = (one.step(state, DT, {"kT": 4 * KT, "tau": tau}).momentum for tau in (1.0, 0.1))
    assert (fast**2).mean() > 1.1 * (slow**2).mean()
