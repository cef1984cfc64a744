"""Surrogates in the place of jax-md's ensembles: programs run unchanged, motion is that of the surrogate, errors."""

import contextlib
import dataclasses
import functools
import math
import sys
import threading
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.dynamics.normalisation import normalisation_of
from hoam_plugin.dynamics.structure import structure_of, with_metric
from hoam_plugin.potentials.forms import bound, embedding_of
from hoam_plugin.steppers import SampleLayout
from hoam_plugin.steppers.contract import state_type
from hoam_plugin.steppers.variables import Variable
from hoam_plugin.surrogates import LearnedDynamics, Options, TrainedRange, with_learned

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")

L, N = 6.0, 36
KEY = jax.random.key(0)
GRID = (np.stack(np.meshgrid(np.arange(6), np.arange(6)), -1).reshape(-1, 2) + 0.5).astype(np.float32)


@contextlib.contextmanager
def as_users_do():
    """The settings that jax-md programs are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


with as_users_do():
    from jax_md import dataclasses as md_dataclasses
    from jax_md import energy, quantity, simulate, space


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Bath:
    """What a Langevin thermostat is known to do; stands for the simulator that a surrogate replaces."""

    variables: tuple = dataclasses.field(metadata={"static": True})
    parameters: tuple = dataclasses.field(default=("kT",), metadata={"static": True})
    dt: float = dataclasses.field(default=0.1, metadata={"static": True})
    horizon: tuple = dataclasses.field(default=(0.0, 4.0), metadata={"static": True})

    def init(self, key, n_samples, parameters):
        raise NotImplementedError

    def step(self, state, dt, parameters, key=None):
        """A step that is easily told from a learned one."""
        name = self.variables[0].name
        return dataclasses.replace(state, time=state.time + dt, **{name: getattr(state, name) + 1.0})

    def refresh(self, state, parameters):
        return state

    def known_drift(self, state, parameters):
        return {self.variables[1].name: -getattr(state, self.variables[1].name)}

    def noise(self, state, parameters):
        kT = jnp.asarray(parameters["kT"], state.time.dtype)
        return {self.variables[1].name: jnp.sqrt(2 * kT)}


def variables(names=("position", "momentum"), dims=("axis",), period=L):
    position = Variable(names[0], dims=dims, period=period)
    return (position, *(Variable(n, dims=dims, velocity_of=names[0]) for n in names[1:]))


@functools.cache
def surrogate(
    names=("position", "momentum"), shape=(2,), dims=("axis",), *, parameters=("kT",), bath=False, period=L
) -> hoam.Surrogate:
    """A surrogate with random weights of small forces, as `fit` makes it from data on [0, 4] and kT in [0.1, 0.3]."""
    rng = np.random.default_rng(0)
    described = variables(names, dims, period)
    fields = {}
    for v in described:
        values = rng.uniform(0, L, (3, 9, 64, *shape)) if v.period else rng.standard_normal((3, 9, 64, *shape))
        fields[v.name] = (("run", "time", "sample", *v.dims), values.astype(np.float32), v.attributes())
    coords = {name: ("run", [0.1, 0.2, 0.3]) for name in parameters}
    norm = normalisation_of(xr.Dataset(fields, {"time": np.linspace(0, 4, 9), "run": [0, 1, 2]} | coords))
    kinetic = len(names) > 1
    split = structure_of("kinetic" if kinetic else "gradient", described, [math.prod(shape)] * len(names))
    split = with_metric(split, np.asarray(norm.scale))
    potential = hoam.VectorField(width=4, depth=2, time_harmonics=1) if kinetic else hoam.CoLoRA(width=4, depth=2)
    embedding = embedding_of(potential, norm, split)
    weights = bound(potential, split, embedding).init(KEY, embedding.n_features, 1 + len(parameters))
    leaves, tree = jax.tree.flatten(weights)
    keys = jax.random.split(KEY, len(leaves))
    leaves = [w + 0.3 * jax.random.normal(k, w.shape, w.dtype) for k, w in zip(keys, leaves, strict=True)]
    return hoam.Surrogate(
        LearnedDynamics(
            weights=jax.tree.unflatten(tree, leaves),
            normalisation=norm,
            replaces=Bath(described) if bath else None,
            potential=potential,
            layout=SampleLayout(described, (tuple(shape),) * len(names)),
            structure=split,
            epsilon=0.0,
            known_noise=bath,
            known_drift=bath,
        ),
        TrainedRange(tuple((name, 0.1, 0.3) for name in parameters), norm.horizon),
        Options(0.05),
    )


def free(model):
    """The surrogate without any learned force."""
    return with_learned(model, weights=jax.tree.map(jnp.zeros_like, model.learned.weights))


def system(period=L):
    with as_users_do():
        return space.periodic(period)


SHIFT = system()[1]
# Beside kT.
FURTHER = {"temp_rescale": (0.05, 0.5), "temp_berendsen": (0.5,), "temp_csvr": (0.5,)}
MAKE = {
    "nve": lambda m, shift=SHIFT, dt=0.05, **k: md.nve(m, shift, dt, **k),
    "nvt_langevin": lambda m, shift=SHIFT, dt=0.05, **k: md.nvt_langevin(m, shift, dt, 0.2, **k),
    "nvt_nose_hoover": lambda m, shift=SHIFT, dt=0.05, **k: md.nvt_nose_hoover(m, shift, dt, 0.2, **k),
    "brownian": lambda m, shift=SHIFT, dt=0.05, **k: md.brownian(m, shift, dt, 0.2, **k),
    "nvk": lambda m, shift=SHIFT, dt=0.05, **k: md.nvk(m, shift, dt, 0.2, **k),
    "temp_rescale": lambda m, shift=SHIFT, dt=0.05, **k: md.temp_rescale(m, shift, dt, 0.2, 0.05, 0.5, **k),
    "temp_berendsen": lambda m, shift=SHIFT, dt=0.05, **k: md.temp_berendsen(m, shift, dt, 0.2, 0.5, **k),
    "temp_csvr": lambda m, shift=SHIFT, dt=0.05, **k: md.temp_csvr(m, shift, dt, 0.2, 0.5, **k),
}


def for_ensemble(name, **options):
    return surrogate(("position",), **options) if name == "brownian" else surrogate(**options)


def begin(name, init, R=GRID, **keywords):
    keywords = {"kT": 0.2, **keywords} if name == "nve" else keywords
    return init(jax.random.PRNGKey(0), jnp.asarray(R), **keywords)


def same_avals(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (one.shape, one.dtype, one.weak_type) == (other.shape, other.dtype, other.weak_type)


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


def many(apply, state, n):
    return jax.jit(lambda s: jax.lax.fori_loop(0, n, lambda i, s: apply(s), s))(state)


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


# Time.


def test_time_adds_up_to_the_end_of_the_horizon_and_then_is_refused():
    model = surrogate()
    init, apply = md.nve(model, SHIFT, 4.0 / 5000)
    state = begin("nve", init)
    clock = jax.jit(lambda s: jax.lax.fori_loop(0, 5000, lambda i, s: apply(s, t=i), s))
    end = md.check(clock(state))
    assert float(end.time) == pytest.approx(4.0, abs=1e-6)
    with pytest.raises(ValueError, match=r"outside the trained horizon \[0, 4\] \(with beyond='hold' the dynamics"):
        apply(end)
    beyond = jax.jit(apply)(end)
    assert np.isnan(beyond.position).all()
    with pytest.raises(FloatingPointError, match="NaN from the surrogate"):
        md.check(beyond)


@pytest.mark.parametrize("dt", [0.05, 0.5])
def test_held_dynamics_go_on_as_at_the_end_of_the_horizon(dt):
    model = surrogate()
    init, apply = md.nve(model, SHIFT, dt, beyond="hold")
    within, _ = MAKE["nve"](model, dt=dt)
    state = begin("nve", init)
    run = jax.jit(lambda s: jax.lax.fori_loop(0, round(6 / dt), lambda i, s: apply(s), s))
    late = md.check(run(state))
    # Time goes on; the dynamics are those of the last step.
    assert float(late.time) == pytest.approx(6.0, rel=1e-6)
    at_the_end = late.set(time=jnp.asarray(4.0 - dt, late.time.dtype))
    _, as_trained = MAKE["nve"](model, dt=dt)
    np.testing.assert_allclose(apply(late).momentum, as_trained(at_the_end).momentum, atol=1e-5)
    later = late.set(time=jnp.asarray(700.0, late.time.dtype))
    np.testing.assert_allclose(apply(later).momentum, apply(late).momentum, atol=1e-5)
    # Before that it is the same as without.
    np.testing.assert_array_equal(apply(state).momentum, as_trained(begin("nve", within)).momentum)


def test_what_comes_beyond_the_horizon_is_one_of_two(as_installed):
    with pytest.raises(ValueError, match="beyond='stop' must be 'raise' or 'hold'"):
        md.nve(surrogate(), SHIFT, 0.05, beyond="stop")
    with md.replacing("nve", surrogate(), beyond="hold"):
        init, apply = simulate.nve(lambda R: R, SHIFT, 0.05)
    late = begin("nve", init).set(time=jnp.asarray(9.0))
    assert np.isfinite(apply(late).position).all()


# Refusals.


def test_nan_is_an_error_outside_of_compiled_code():
    init, apply = MAKE["nve"](surrogate())
    state = begin("nve", init)
    with pytest.raises(FloatingPointError, match="NaN from the surrogate"):
        apply(state.set(momentum=state.momentum.at[0, 0].set(jnp.nan)))


@pytest.mark.parametrize(
    ("names", "name", "match"),
    [
        (("position",), "nve", r"nve moves positions and momenta, .*\['position'\] lack a momentum"),
        (("position",), "nvt_langevin", "lack a momentum"),
        (("position", "momentum"), "brownian", "moves positions alone, .*have 'momentum' as well"),
    ],
)
def test_variables_that_are_not_those_of_the_ensemble_are_named(names, name, match):
    with pytest.raises(ValueError, match=match):
        MAKE[name](surrogate(names))


def test_an_energy_is_no_surrogate(as_installed):
    with pytest.raises(TypeError, match="must be a surrogate"):
        md.nve(lambda R: R.sum(), SHIFT, 0.1)


@pytest.mark.parametrize("box", [5.0, 3.0, 12.0, None])
def test_another_box_is_refused(box):
    with as_users_do():
        _, shift = space.free() if box is None else space.periodic(box)
    init, _ = MAKE["nve"](surrogate(), shift)
    with pytest.raises(ValueError, match="periodic box of 6"):
        begin("nve", init)


def test_a_box_is_refused_in_free_space_and_a_changed_box_while_running():
    init, _ = MAKE["nve"](surrogate(period=None))
    with pytest.raises(ValueError, match="in free space"):
        begin("nve", init)
    with as_users_do():
        _, shift = space.periodic_general(L, fractional_coordinates=False)
        _, free_shift = space.free()
    begin("nve", MAKE["nve"](surrogate(period=None), free_shift)[0])
    init, apply = MAKE["nve"](surrogate(), shift)
    state = begin("nve", init)
    apply(state, box=jnp.asarray(L))
    with pytest.raises(ValueError, match="periodic box of 6"):
        apply(state, box=jnp.asarray(9.0))
    assert np.isnan(jax.jit(lambda s, b: apply(s, box=b))(state, jnp.asarray(9.0)).position).all()


@pytest.mark.parametrize("dt", [0.0, -0.1, float("nan"), 4.5])
def test_a_time_step_that_makes_no_sense_is_refused(dt):
    with pytest.raises(ValueError, match=r"dt=.* must be above 0 and at most 4"):
        MAKE["nve"](surrogate(), dt=dt)


def test_a_temperature_out_of_range_is_refused():
    init, apply = MAKE["nvt_langevin"](surrogate(bath=True))
    state = begin("nvt_langevin", init)
    with pytest.raises(ValueError, match=r"kT=0.9 is outside the trained range"):
        apply(state, kT=0.9)
    with pytest.raises(ValueError, match=r"kT=0.9 is outside the trained range"):
        jax.eval_shape(lambda s: apply(s, kT=0.9), state)
    with pytest.raises(ValueError, match="kT=2 is outside"):
        begin("nve", MAKE["nve"](surrogate())[0], kT=2.0)


def test_a_changed_temperature_that_was_not_trained_is_refused():
    init, apply = MAKE["nvt_langevin"](surrogate(parameters=()))
    state = begin("nvt_langevin", init)
    apply(state, kT=0.2)
    with pytest.raises(ValueError, match=r"kT=0.3 is not the 0.2 of nvt_langevin, .* not trained over kT"):
        apply(state, kT=0.3)
    with pytest.raises(ValueError, match="kT is being traced"):
        jax.lax.fori_loop(0, 2, lambda i, s: apply(s, kT=0.1 * i.astype(jnp.float32)), state)


def test_keywords_of_the_energy_are_ignored_with_a_warning():
    init, apply = MAKE["nve"](surrogate())
    state = begin("nve", init)
    with pytest.warns(UserWarning, match=r"'sigma' is ignored: the surrogate was trained over \['kT'\]"):
        apply(state, sigma=1.2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        apply(state, t=jnp.asarray(0.5), neighbor=None, species=jnp.zeros(N, jnp.int32))


def test_other_parameters_are_bound_or_given_as_keywords():
    model = surrogate(parameters=("sigma",))
    init, apply = MAKE["nve"](model)
    with pytest.raises(ValueError, match=r"parameters \['sigma'\] are not known"):
        apply(begin("nve", init))
    at_init = apply(begin("nve", init, sigma=0.2))
    bound_init, bound_apply = MAKE["nve"](model, parameters={"sigma": 0.2})
    np.testing.assert_array_equal(at_init.momentum, bound_apply(begin("nve", bound_init)).momentum)
    np.testing.assert_array_equal(at_init.momentum, apply(begin("nve", init), sigma=0.2).momentum)
    with pytest.raises(ValueError, match="sigma=3 is outside"):
        apply(begin("nve", init), sigma=3.0)
    with pytest.raises(ValueError, match=r"parameters=.* has \['tau'\]"):
        MAKE["nve"](model, parameters={"tau": 1.0})


def test_slips_are_named(as_installed):
    model, R = surrogate(), jnp.asarray(GRID)
    init, _ = MAKE["nve"](model)
    for match, options in (
        (r"mass is of the shape \(5,\) .* one for each of the 36 particles", {"mass": jnp.ones(5)}),
        ("mass is 'a' and must be a number", {"mass": "a"}),
        (r"momenta is of the shape \(3, 2\) and must be numbers of the shape \(36, 2\)", {"momenta": jnp.ones((3, 2))}),
        ("kT is 'a' and must be a number", {"kT": "a"}),
    ):
        with pytest.raises(ValueError, match=match):
            init(KEY, R, **{"kT": 0.2, **options})
    with pytest.raises(TypeError, match=r"key=0 must be a JAX random key, such as jax\.random\.key\(0\)"):
        init(0, R, kT=0.2)
    with pytest.raises(TypeError, match=r"shift_fn is a tuple and must be a function; space\.periodic returns"):
        md.nve(model, system(), 0.05)
    with pytest.raises(ValueError, match="shift_fn does not move"):
        begin("nve", md.nve(model, system()[0], 0.05)[0])
    with pytest.raises(ValueError, match="dt='x' must be above 0"):
        md.nve(model, SHIFT, "x")
    with pytest.raises(ValueError, match="'byond' is no keyword; did you mean 'beyond'"):
        md.nve(model, SHIFT, 0.05, byond="hold")
    with pytest.raises(TypeError, match="parameters='kT' must be a dict"):
        md.nve(model, SHIFT, 0.05, parameters="kT")
    with pytest.raises(TypeError, match="name is a Surrogate and must be the name of an ensemble"):
        md.replacing(model, "nve").__enter__()


def test_a_constant_in_joules_is_told_from_another():
    kT = 4e-21
    init, apply = md.nvt_langevin(surrogate(parameters=()), SHIFT, 0.05, kT)
    state = begin("nvt_langevin", init, mass=1e-26)
    # float32 has no number for kT m, but for the momenta.
    assert np.std(state.momentum) == pytest.approx(np.sqrt(kT * 1e-26), rel=0.3)
    apply(state, kT=np.float32(kT))
    for other in (3 * kT, 1.001 * kT):
        with pytest.raises(ValueError, match=r"not trained over kT"):
            apply(state, kT=other)


def test_masses_of_any_shape_are_those_of_the_training():
    stepper = md.from_simulation(
        simulate.nve, lambda R, **_: 0.0 * R.sum(), SHIFT, dt=0.05, position=GRID, box=L, mass=np.full((N, 1), 2e-26)
    )
    model = with_learned(surrogate(), replaces=stepper)
    init, _ = MAKE["nve"](model)
    for mass in (2e-26, jnp.full(N, 2e-26), jnp.full((N, 1), 2e-26)):
        begin("nve", init, mass=mass)
    for mass in (2.001e-26, 4e-26, np.where(np.arange(N) == 3, 3e-26, 2e-26)):
        with pytest.raises(ValueError, match="that the surrogate was trained with"):
            begin("nve", init, mass=mass)


def test_states_of_jax_md_itself_are_refused():
    _, apply = MAKE["nve"](surrogate())
    with pytest.raises(TypeError, match="carries no time of a surrogate"):
        apply(simulate.NVEState(jnp.asarray(GRID), jnp.zeros((N, 2)), jnp.zeros((N, 2)), jnp.asarray(1.0)))


def test_a_missing_jax_md_is_named(monkeypatch):
    model = surrogate()
    for name in [n for n in sys.modules if n == "jax_md" or n.startswith("jax_md.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jax_md", None)
    with pytest.raises(ImportError, match="needs the extra 'jax-md'"):
        md.nve(model, SHIFT, 0.1)
    with pytest.raises(ImportError, match="needs the extra 'jax-md'"), md.replacing("nve", model):
        pass


# `replacing`.


def third_party(name="nvt_langevin"):
    """Somebody's code, which cannot be edited."""
    with as_users_do():
        displacement, shift = space.periodic(L)
        energy_fn = energy.soft_sphere_pair(displacement)
        arguments = {"nve": {"dt": 0.05}}.get(name, {"dt": 0.05, "kT": 0.2})
        init_fn, apply_fn = getattr(simulate, name)(energy_fn, shift, **arguments)
        return apply_fn(begin(name, init_fn))


@pytest.mark.parametrize("name", ["nvt_langevin", pytest.param("brownian", marks=pytest.mark.slow)])
def test_within_the_block_third_party_code_gets_the_surrogate(name):
    original = getattr(simulate, name)
    with md.replacing(name, for_ensemble(name)):
        state = third_party(name)
    assert hasattr(state, "time")
    assert getattr(simulate, name) is original
    assert not hasattr(third_party(name), "time")


def test_what_was_there_is_put_back_in_order_also_after_an_exception():
    original = simulate.nve

    def nested():
        with md.replacing("nve", surrogate()):
            outer = simulate.nve
            with md.replacing("nve", surrogate(("x", "v"))):
                assert simulate.nve is not outer
            assert simulate.nve is outer
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        nested()
    assert simulate.nve is original


def test_blocks_of_several_threads_may_overlap():
    original = simulate.nve
    entered, leave = threading.Event(), threading.Event()

    def other():
        with md.replacing("nve", surrogate(("x", "v"))):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    with md.replacing("nve", surrogate()):
        first = simulate.nve
        thread.start()
        assert entered.wait(30)
    # The first is gone, that of the thread still holds.
    assert simulate.nve is not first
    assert simulate.nve is not original
    leave.set()
    thread.join()
    assert simulate.nve is original


def test_only_what_can_be_replaced_is_replaced():
    with pytest.raises(ValueError, match="name='nvt_langevine' cannot be replaced; did you mean 'nvt_langevin'"):
        md.replacing("nvt_langevine", surrogate()).__enter__()
    with pytest.raises(ValueError, match="brownian moves positions alone"):
        md.replacing("brownian", surrogate()).__enter__()
    assert not hasattr(simulate.brownian, "__wrapped__")
