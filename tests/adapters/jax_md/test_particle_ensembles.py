"""What reaches the forces of jax-md's ensembles with a learned potential: the kT of a step, and no other box."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import as_users_do

import hoam_plugin as hoam
from hoam_plugin.adapters import jax_md as md

with as_users_do():
    from jax_md import simulate, space

KEY = jax.random.key(0)
N, BOX, RANGE = 9, 3.4, 1.2


def soft_spheres(displacement: Any) -> Any:
    def energy(R: jax.Array, **_: object) -> jax.Array:
        one, other = np.triu_indices(len(R), 1)
        apart = jax.vmap(displacement)(R[one], R[other])
        return jnp.sum(jnp.maximum(RANGE - jnp.sqrt(jnp.sum(apart**2, axis=1)), 0) ** 2)

    return energy


def lattice(key: jax.Array) -> jax.Array:
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 2, indexing="ij"), -1).reshape(-1, 2)
    places = jnp.asarray((grid + 0.5) * (BOX / 3), jnp.float32)
    return jnp.mod(places + 0.15 * jax.random.normal(key, places.shape), jnp.float32(BOX))


@functools.cache
def model() -> hoam.Surrogate:
    """Of forces that grow with the temperature, as those of coarse-grained particles may."""
    displacement, shift = space.periodic(BOX)
    truth = md.from_simulation(
        simulate.nvt_langevin,
        soft_spheres(displacement),
        shift,
        dt=0.01,
        position=lattice,
        box=BOX,
        view="configuration",
        gamma=1.0,
        horizon=(0.0, 0.2),
    )
    times = np.linspace(0, 0.2, 4)
    ds = hoam.simulate(truth, {"kT": [0.1, 0.3, 0.5]}, times, key=KEY, n_samples=16, rates=True, progress=False)
    # Recorded is the force less the friction.
    force = ds["momentum_rate"] + ds["momentum"]
    return hoam.fit(
        ds.assign(momentum_rate=force * (10 * ds["kT"]) - ds["momentum"]),
        key=KEY,
        structure="kinetic",
        potential=hoam.ParticlePotential(cutoff=RANGE, n_radial=8),
        loss=hoam.VelocityMatching(),
        replaces=truth,
        progress=False,
    )


@pytest.mark.long
def test_the_temperature_of_one_step_reaches_the_force_as_well_as_the_thermostat() -> None:
    displacement, shift = space.periodic(BOX)
    force_fn = md.learned_force(model(), displacement)
    with as_users_do():
        init_fn, apply_fn = md.nvt_langevin(model(), shift, 0.01, 0.1, 1.0)
        cold = init_fn(KEY, lattice(KEY))
        hot = init_fn(KEY, lattice(KEY), kT=0.5)
        step = jax.jit(lambda state, kT: apply_fn(state, kT=kT))
        for state, kT in ((cold, 0.1), (hot, 0.5), (apply_fn(cold), 0.1), (step(cold, 0.5), 0.5)):
            expected = force_fn(state.position, kT=kT)
            np.testing.assert_allclose(state.force, expected, rtol=1e-4, atol=1e-5 * float(jnp.abs(expected).max()))
    ratio = jnp.linalg.norm(hot.force) / jnp.linalg.norm(cold.force)
    assert 4 < float(ratio) < 6


@pytest.mark.long
@pytest.mark.parametrize("name", ["box", "new_box", "perturbation"])
def test_a_deformed_box_is_refused_where_distances_would_not_know_of_it(name: str) -> None:
    with as_users_do():
        init_fn, apply_fn = md.nvt_langevin(
            model(), space.periodic_general(BOX * np.eye(2), fractional_coordinates=False)[1], 0.01, 0.1, 1.0
        )
        state = init_fn(KEY, lattice(KEY))
        with pytest.raises(ValueError, match=f"{name}= changes distances"):
            apply_fn(state, **{name: 1.1 * BOX * jnp.eye(2)})


def test_a_sheared_box_is_not_taken_for_another() -> None:
    with as_users_do():
        sheared = space.periodic_general(np.asarray([[BOX, 0.5], [0.0, BOX]]), fractional_coordinates=False)
        with pytest.raises(ValueError, match="shift_fn does not say what the distance of two particles is"):
            md.nvt_langevin(model(), sheared[1], 0.01, 0.1, 1.0)
        # Its own displacement says it.
        energy_fn = md.learned_energy(model(), sheared[0], parameters={"kT": 0.3})
        init_fn, apply_fn = simulate.nvt_langevin(energy_fn, sheared[1], 0.01, 0.3, 1.0)
        assert bool(jnp.isfinite(apply_fn(init_fn(KEY, lattice(KEY))).position).all())
