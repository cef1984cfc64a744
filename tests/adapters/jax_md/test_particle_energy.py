"""Potentials of particles in jax-md: any number of particles, any list of neighbours, its own thermostats."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from jax_md_traps import as_users_do

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.potentials import ParticlePotential

with as_users_do():
    from jax_md import partition, simulate, space

KEY = jax.random.key(0)
N, DENSITY, CUTOFF = 16, 0.8, 1.2
KINDS = pytest.mark.parametrize("kind", ["brownian", "nvt_langevin"])


def box_of(n: int) -> float:
    return float((n / DENSITY) ** 0.5)


def lattice(n: int, key: jax.Array = KEY) -> jax.Array:
    """A square one, shaken."""
    side = round(n**0.5)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    places = jnp.asarray((grid + 0.5) * (box_of(n) / side), jnp.float32)
    return jnp.mod(places + 0.1 * jax.random.normal(key, places.shape), jnp.float32(box_of(n)))


def soft_spheres(displacement: Any) -> Any:
    """Repulsion up to a distance of 1."""

    def energy(R: jax.Array, **_: object) -> jax.Array:
        one, other = np.triu_indices(len(R), 1)
        apart = jax.vmap(displacement)(R[one], R[other])
        return jnp.sum(jnp.maximum(1 - jnp.sqrt(jnp.sum(apart**2, axis=1)), 0) ** 2) / 2

    return energy


def stepper(kind: str) -> md.JaxMDStepper:
    displacement, shift = space.periodic(box_of(N))
    return md.from_simulation(
        getattr(simulate, kind),
        soft_spheres(displacement),
        shift,
        dt=0.01,
        position=functools.partial(lattice, N),
        box=box_of(N),
        view="configuration",
        gamma=2.0,
        horizon=(0.0, 0.5),
    )


@functools.cache
def model(kind: str) -> hoam.Surrogate:
    """Learned from the forces that jax-md records."""
    truth = stepper(kind)
    times = hoam.quadrature.gauss_legendre(8)
    ds = hoam.simulate(truth, {"kT": [0.05, 0.1]}, times, key=KEY, n_samples=24, rates=True, progress=False)
    return fitted(ds, truth, kind)


def fitted(ds: xr.Dataset, truth: md.JaxMDStepper, kind: str) -> hoam.Surrogate:
    return hoam.fit(
        ds,
        key=KEY,
        structure="gradient" if kind == "brownian" else "kinetic",
        potential=ParticlePotential(cutoff=CUTOFF, n_radial=12),
        loss=hoam.VelocityMatching(),
        replaces=truth,
        progress=False,
    )


def learned(kind: str, n: int, **options: Any) -> Any:
    return md.learned_force(model(kind), space.periodic(box_of(n))[0], gamma=2.0, parameters={"kT": 0.07}, **options)


@pytest.mark.long
@KINDS
def test_the_forces_are_those_of_the_truth_in_a_larger_system_too(kind: str) -> None:
    for n in (N, 64):
        with as_users_do():
            true = -jax.grad(soft_spheres(space.periodic(box_of(n))[0]))(lattice(n))
        force = learned(kind, n)(lattice(n))
        assert float(jnp.linalg.norm(force - true) / jnp.linalg.norm(true)) < 0.05


@pytest.mark.long
@KINDS
def test_forces_are_the_gradient_of_the_energy_and_what_the_surrogate_moves_by(kind: str) -> None:
    R = lattice(N)
    energy_fn = md.learned_energy(model(kind), space.periodic(box_of(N))[0], gamma=2.0, parameters={"kT": 0.07})
    force = learned(kind, N)(R, t=0.1)
    round_off = 1e-4 * float(jnp.abs(force).max())
    np.testing.assert_allclose(-jax.grad(energy_fn)(R, t=0.1), force, rtol=1e-3, atol=round_off)
    x = np.asarray(R).reshape(1, -1)
    if kind == "brownian":
        rate = 2.0 * model(kind).velocity(x, 0.1, {"kT": 0.07})
    else:
        rate = model(kind).velocity(np.concatenate([x, 0 * x], axis=1), 0.1, {"kT": 0.07})[:, 2 * N :]
    np.testing.assert_allclose(rate.reshape(N, 2), force, rtol=1e-3, atol=round_off)


@pytest.mark.long
@pytest.mark.parametrize("form", ["Dense", "Sparse", "OrderedSparse"])
def test_lists_of_neighbours_change_nothing(form: str) -> None:
    n = 64
    displacement, _ = space.periodic(box_of(n))
    R = lattice(n)
    with as_users_do():
        lists = partition.neighbor_list(
            displacement, box_of(n), CUTOFF, dr_threshold=0.2, format=partition.NeighborListFormat[form]
        )
        neighbor = lists.allocate(R)
    for function in (
        learned("brownian", n),
        md.learned_energy(model("brownian"), displacement, parameters={"kT": 0.07}),
    ):
        every, near = function(R), function(R, neighbor=neighbor)
        np.testing.assert_allclose(near, every, rtol=1e-4, atol=1e-5 * float(jnp.abs(every).max()))


@KINDS
def test_in_a_program_of_another_size_it_takes_the_place_of_the_energy(kind: str) -> None:
    n, options = 64, {"kT": 0.07, "gamma": 2.0}
    displacement, shift = space.periodic(box_of(n))

    def program() -> tuple[jax.Array, jax.Array]:
        make = getattr(simulate, kind)
        init_fn, apply_fn = make(soft_spheres(displacement), shift, 0.01, **options)
        state = init_fn(KEY, lattice(n))
        state = jax.lax.fori_loop(0, 20, lambda _, s: apply_fn(s), state)
        return state.position, displacement(state.position[0], state.position[1])

    with as_users_do():
        before = program()
        with md.replacing(kind, model(kind)):
            swapped = program()
        again = program()
        init_fn, apply_fn = getattr(md, kind)(model(kind), shift, 0.01, **options)
        own = jax.lax.fori_loop(0, 20, lambda _, s: apply_fn(s), init_fn(KEY, lattice(n)))
        off = jax.vmap(displacement)(swapped[0], before[0])
    np.testing.assert_array_equal(before[0], again[0])
    # The same noise, and nearly the same forces.
    assert 0 < float(jnp.abs(off).max()) < 0.05
    np.testing.assert_allclose(own.position, swapped[0], rtol=1e-5, atol=1e-5)


def test_forces_may_be_made_in_compiled_code() -> None:
    surrogate, displacement = model("brownian"), space.periodic(box_of(N))[0]

    def force(R: jax.Array) -> jax.Array:
        return md.learned_force(surrogate, displacement, parameters={"kT": 0.07})(R)

    expected = force(lattice(N))
    np.testing.assert_allclose(
        jax.jit(force)(lattice(N)), expected, rtol=1e-4, atol=1e-5 * float(jnp.abs(expected).max())
    )


@pytest.mark.long
def test_mass_and_friction_are_those_of_the_training() -> None:
    """Velocities of particles of mass 3, or positions: rates are less by it, forces are not."""
    for kind, record in (("brownian", "momentum"), ("nvt_langevin", "velocity")):
        displacement, shift = space.periodic(box_of(N))
        heavy = md.from_simulation(
            getattr(simulate, kind),
            soft_spheres(displacement),
            shift,
            dt=0.01,
            position=functools.partial(lattice, N),
            box=box_of(N),
            view="configuration",
            record=record,
            mass=3.0,
            gamma=2.0,
            kT=0.1,
            parameters=(),
            horizon=(0.0, 0.5),
        )
        ds = hoam.simulate(heavy, {}, np.linspace(0, 0.5, 4), key=KEY, n_samples=24, rates=True, progress=False)
        learned = fitted(ds, heavy, kind)
        true = -jax.grad(soft_spheres(displacement))(lattice(N))
        force = md.learned_force(learned, displacement)(lattice(N))
        assert float(jnp.linalg.norm(force - true) / jnp.linalg.norm(true)) < 0.05


def test_what_is_no_force_is_not_taken_for_one() -> None:
    truth = stepper("brownian")
    ds = hoam.simulate(truth, {"kT": [0.1]}, np.linspace(0, 0.5, 4), key=KEY, n_samples=24, progress=False)
    options = {"potential": ParticlePotential(cutoff=CUTOFF, n_radial=8), "progress": False, "replaces": truth}
    velocity = hoam.fit(ds, key=KEY, loss=hoam.ActionMatching(epsilon=0.0), **options)
    assert not velocity.learned.known_noise
    with pytest.raises(ValueError, match="has learned the velocity of a population and no forces"):
        md.learned_energy(velocity, space.periodic(box_of(N))[0])


def test_fractional_coordinates_are_not_taken_for_others() -> None:
    with as_users_do():
        _, fractional = space.periodic_general(4.5)
        with pytest.raises(ValueError, match="shift_fn does not say what the distance of two particles is"):
            md.brownian(model("brownian"), fractional, 0.01, 0.07, 2.0)


@pytest.mark.usefixtures("as_installed")
def test_a_stepper_is_no_surrogate_of_particles() -> None:
    with pytest.raises(TypeError, match=r"surrogate=.* has no potential of particles"):
        md.learned_energy(simulators.trap(), space.free()[0])  # type: ignore[arg-type]


def test_what_it_refuses() -> None:
    _, shift = space.free()
    energy_fn = md.learned_energy(model("brownian"), space.periodic(box_of(N))[0])
    with pytest.raises(ValueError, match=r"parameters \['kT'\] are not known"):
        energy_fn(lattice(N))
    with pytest.raises(ValueError, match=r"parameter kT=3 is outside the trained range \[0.05, 0.1\]"):
        energy_fn(lattice(N), kT=3.0)
    with pytest.raises(ValueError, match="R has 3 axes, and the surrogate was trained with 2"):
        energy_fn(jnp.zeros((4, 3)), kT=0.07)
    with as_users_do(), pytest.raises(ValueError, match="shift_fn does not say what the distance of two particles is"):
        md.brownian(model("brownian"), shift, 0.01, 0.07, 2.0)
