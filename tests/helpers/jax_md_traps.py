"""Particles in a harmonic trap, stepped by jax-md, shared by the tests of its adapter."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np

import hoam_plugin as hoam
from hoam_plugin.adapters.jax_md import from_simulation

KEY = jax.random.key(0)


@contextlib.contextmanager
def as_users_do():
    """The settings that jax-md programs are written for."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


# The tests take these from here, where jax-md is imported under the settings that it needs.
with as_users_do():
    from jax_md import energy, simulate, space

    FREE = space.free()[1]
    DISPLACEMENT, PERIODIC = space.periodic(4.0)


def spring(R, stiffness=1.0, **_):
    """Independent particles in a harmonic trap."""
    return 0.5 * stiffness * jnp.sum(R**2)


def cloud(key):
    return jax.random.normal(key, (8, 2))


def trap(simulation=simulate.nve, *, position=cloud, shift_fn=FREE, dt=0.05, **options):
    return from_simulation(simulation, spring, shift_fn, dt=dt, position=position, **options)


def gas(neighbors=None, **options):
    """Soft spheres on a lattice without neighbours, in a box of 4."""
    lattice = np.stack(np.meshgrid(np.arange(3), np.arange(3)), -1).reshape(-1, 2).astype(np.float32) * 4 / 3
    with as_users_do():
        neighbor_fn, with_lists = energy.soft_sphere_neighbor_list(
            DISPLACEMENT, 4.0, dr_threshold=0.2, capacity_multiplier=1.0
        )
        plain = energy.soft_sphere_pair(DISPLACEMENT)
    if neighbors:
        options["neighbor_fn"] = neighbor_fn
    settings = {"dt": 0.02, "position": lattice, "box": 4.0} | options
    return from_simulation(simulate.nve, with_lists if neighbors else plain, PERIODIC, **settings)


def run(stepper, times, parameters=None, n_samples=16, **options):
    parameters = {"kT": 0.5} if parameters is None else parameters
    return hoam.simulate(stepper, parameters, times, key=KEY, n_samples=n_samples, progress=False, **options)


def values(ds, name):
    return ds[name].values[0]
