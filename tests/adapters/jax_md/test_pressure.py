"""The pressure that jax-md simulations record."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import DISPLACEMENT, PERIODIC, as_users_do, energy, gas, run, simulate, space, trap, values

from hoam_plugin.adapters.jax_md import from_simulation

# jax-md sums in double precision where it can.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype")

N, BOX = 9, 4.0
ROUND_OFF = 100 * float(np.finfo(np.float32).eps)


def scattered(key):
    return jax.random.uniform(key, (N, 2), maxval=BOX)


@functools.cache
def soft_spheres():
    with as_users_do():
        return energy.soft_sphere_pair(DISPLACEMENT)


def virial(x: np.ndarray) -> float:
    """Sum over pairs of r f(r) of soft spheres (1 - r)^2 / 2, by a double loop."""
    found = 0.0
    for i in range(len(x)):
        for j in range(i):
            apart = x[i] - x[j]
            r = float(np.sqrt(np.sum((apart - BOX * np.round(apart / BOX)) ** 2)))
            found += r * max(0.0, 1 - r)
    return found


def test_the_pressure_is_that_of_momenta_and_virial():
    stepper = from_simulation(
        simulate.nve,
        soft_spheres(),
        PERIODIC,
        dt=0.01,
        position=scattered,
        box=BOX,
        view="configuration",
        pressure=True,
    )
    ds = run(stepper, [0.0, 0.1], n_samples=5)
    x, p = (values(ds, name).astype(np.float64) for name in ("position", "momentum"))
    expected = [
        np.mean([(np.sum(q**2) + virial(y)) / (2 * BOX**2) for y, q in zip(*at, strict=True)])
        for at in zip(x, p, strict=True)
    ]
    np.testing.assert_allclose(values(ds, "pressure"), expected, rtol=ROUND_OFF)
    kinetic = np.sum(p**2, axis=(1, 2, 3)) / 5 / (2 * BOX**2)
    assert (np.abs(np.asarray(expected) - kinetic) > 0.01 * kinetic).all(), "there is a virial to see"
    assert ds["pressure"].attrs == {"units": "1", "long_name": "pressure"}


def test_particles_without_momenta_push_by_their_temperature():
    stepper = from_simulation(
        simulate.brownian, soft_spheres(), PERIODIC, dt=1e-3, position=scattered, box=BOX, gamma=1.0, pressure=True
    )
    ds = run(stepper, [0.0, 1e-2], {"kT": [0.3]}, n_samples=2 * N)
    of_replicas = values(ds, "position").astype(np.float64).reshape(2, 2, N, 2)
    expected = [np.mean([N * 0.3 + virial(y) / 2 for y in x]) / BOX**2 for x in of_replicas]
    np.testing.assert_allclose(values(ds, "pressure"), expected, rtol=ROUND_OFF)


@pytest.mark.long
def test_neighbour_lists_give_the_same_pressure_as_all_pairs():
    lists, plain = (run(gas(neighbors=n, pressure=True), [0.0, 0.8], n_samples=18) for n in (True, False))
    assert (values(plain, "pressure") > 0).all()
    np.testing.assert_allclose(values(lists, "pressure"), values(plain, "pressure"), rtol=1e-3)


def test_no_pressure_unless_it_is_asked_for():
    assert "pressure" not in run(gas(), [0.0, 0.1], n_samples=9)


def test_a_pressure_that_the_energy_does_not_tell_is_refused():
    def deaf(R, **_):
        return jnp.sum(jnp.cos(R * (2 * np.pi / BOX)))

    def strict(R):
        return jnp.sum(jnp.cos(R * (2 * np.pi / BOX)))

    @jax.jit
    def compiled(R, perturbation=None, **_):
        return jnp.sum(jnp.cos(R * (2 * np.pi / BOX)))

    def force(R, **_):
        return -R

    def of(function):
        return lambda: from_simulation(
            simulate.nve, function, PERIODIC, dt=0.01, position=scattered, box=BOX, pressure=True
        )

    for function in (deaf, strict, compiled):
        with pytest.raises(ValueError, match="pressure=True needs an energy that hands its keyword `perturbation` on"):
            of(function)()
    with pytest.raises(ValueError, match="energy_or_force_fn returns a force"):
        of(force)()
    with pytest.raises(ValueError, match="box=None is free space"):
        trap(pressure=True)
    with as_users_do():
        displacement, shift = space.periodic_general(jnp.eye(2) * BOX)
        fractional = energy.soft_sphere_pair(displacement)
    with pytest.raises(ValueError, match="these are fractional"):
        from_simulation(
            simulate.nve, fractional, shift, dt=0.01, position=lambda key: scattered(key) / BOX, box=1.0, pressure=True
        )


def test_species_of_configurations_are_a_coordinate_of_their_particles():
    kinds = np.asarray([0, 0, 0, 1, 1, 1, 1, 1, 1])
    with as_users_do():
        of_kinds = energy.soft_sphere_pair(DISPLACEMENT, species=2, sigma=jnp.asarray([[1.0, 0.8], [0.8, 0.6]]))

    def with_species(R, species=None, **keywords):
        return of_kinds(R, species=jnp.asarray(species), **keywords)

    options = {"dt": 0.01, "position": scattered, "box": BOX, "species": kinds, "parameters": ("kT",)}
    ds = run(from_simulation(simulate.nve, with_species, PERIODIC, view="configuration", **options), [0.0, 0.1])
    assert ds["species"].dims == ("particle",)
    np.testing.assert_array_equal(ds["species"], kinds)
