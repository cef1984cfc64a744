"""Forces of many particles, learned of Stillinger and Weber's silicon, whose energy depends on angles."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md_traps import as_users_do

import hoam_plugin as hoam
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.potentials import Neighbours, ParticlePotential

with as_users_do():
    from jax_md import energy, partition, simulate, space

# jax-md sums this energy in double precision, which it does not have here.
pytestmark = pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64:UserWarning")

KEY = jax.random.key(0)
CUTOFF, N, BOX = 3.77118, 27, 8.0


def lattice(side: int, key: jax.Array = KEY) -> jax.Array:
    """A cubic one of the same density, shaken."""
    points = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = jnp.asarray((points + 0.5) * (BOX / 3), jnp.float32)
    return jnp.mod(places + 0.2 * jax.random.normal(key, places.shape), jnp.float32(side * BOX / 3))


@functools.cache
def true_force(box: float) -> Any:
    with as_users_do():
        energy_fn = energy.stillinger_weber(space.periodic(box)[0])
        return jax.jit(jax.grad(lambda R: -energy_fn(R)))


@functools.cache
def model(n_shells: int = 0) -> hoam.Surrogate:
    """Learned from the forces that jax-md records."""
    displacement, shift = space.periodic(BOX)
    with as_users_do():
        truth = md.from_simulation(
            simulate.nvt_langevin,
            energy.stillinger_weber(displacement),
            shift,
            dt=0.01,
            position=functools.partial(lattice, 3),
            box=BOX,
            view="configuration",
            gamma=1.0,
            horizon=(0.0, 0.3),
        )
        times = hoam.quadrature.gauss_legendre(6)
        ds = hoam.simulate(truth, {"kT": [0.2, 0.4]}, times, key=KEY, n_samples=40, rates=True, progress=False)
        neighbours = Neighbours(n_shells) if n_shells else None
        potential = ParticlePotential(cutoff=CUTOFF, neighbours=neighbours)
        loss = hoam.VelocityMatching()
        return hoam.fit(
            ds, key=KEY, structure="kinetic", potential=potential, loss=loss, replaces=truth, progress=False
        )


def force_error(surrogate: hoam.Surrogate) -> float:
    """Of a larger system."""
    R = lattice(4, jax.random.key(5))
    box = 4 * BOX / 3
    with as_users_do():
        force = md.learned_force(surrogate, space.periodic(box)[0], parameters={"kT": 0.3})(R)
        true = true_force(box)(R)
    return float(jnp.linalg.norm(force - true) / jnp.linalg.norm(true))


@pytest.mark.slow
def test_what_pairs_cannot_say_neighbourhoods_do() -> None:
    with pytest.warns(UserWarning, match=r"leave \d\d% of the recorded ones over .* neighbours=hoam.Neighbours\(\)"):
        pairs = model()
    assert force_error(pairs) > 0.25
    assert force_error(model(5)) < 0.06


@pytest.mark.long
def test_lists_of_neighbours_change_nothing_and_forces_are_the_gradient() -> None:
    surrogate, box = model(5), 4 * BOX / 3
    displacement, _ = space.periodic(box)
    R = lattice(4, jax.random.key(5))
    functions = [
        make(surrogate, displacement, parameters={"kT": 0.3}) for make in (md.learned_energy, md.learned_force)
    ]
    with as_users_do():
        energy_fn, force_fn = functions
        every = [function(R) for function in functions]
        round_off = 1e-4 * float(jnp.abs(every[1]).max())
        np.testing.assert_allclose(-jax.grad(energy_fn)(R), every[1], rtol=1e-3, atol=round_off)
        for form in partition.NeighborListFormat:
            lists = partition.neighbor_list(displacement, box, CUTOFF, dr_threshold=0.2, format=form)
            neighbor = lists.allocate(R)
            np.testing.assert_allclose(energy_fn(R, neighbor=neighbor), every[0], rtol=1e-4)
            np.testing.assert_allclose(force_fn(R, neighbor=neighbor), every[1], rtol=1e-3, atol=round_off)


@pytest.mark.long
def test_the_surrogate_moves_by_these_forces_and_is_kept_in_files(tmp_path: Any) -> None:
    surrogate = model(5)
    R = lattice(3, jax.random.key(6))
    displacement, shift = space.periodic(BOX)
    x = np.asarray(R).reshape(1, -1)
    with as_users_do():
        force = md.learned_force(surrogate, displacement, parameters={"kT": 0.3})(R)
        rate = surrogate.velocity(np.concatenate([x, 0 * x], axis=1), 0.1, {"kT": 0.3})[:, 3 * N :]
        again = hoam.load(surrogate.save(tmp_path / "silicon.hoam"), replaces=surrogate.learned.replaces)
        init_fn, apply_fn = md.nvt_langevin(again, shift, 0.01, 0.3, gamma=1.0)
        state = apply_fn(init_fn(KEY, R))
    np.testing.assert_allclose(rate.reshape(N, 3), force, rtol=1e-3, atol=1e-4 * float(jnp.abs(force).max()))
    assert again.learned.potential == surrogate.learned.potential
    assert bool(jnp.isfinite(state.position).all())


@pytest.mark.long
def test_beyond_the_densities_that_were_seen_particles_are_pushed_apart() -> None:
    """The energy grows as they are pressed together."""
    surrogate, energies = model(5), []
    for scale in (1.0, 0.85, 0.75, 0.65):
        R, box = lattice(4, jax.random.key(5)) * jnp.float32(scale), 4 * BOX / 3 * scale
        with as_users_do():
            energies.append(float(md.learned_energy(surrogate, space.periodic(box)[0], parameters={"kT": 0.3})(R)))
    assert energies == sorted(energies)
    assert np.isfinite(energies).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param({"neighbours": Neighbours(-1)}, "neighbours.n_shells=-1", id="shells"),
        pytest.param({"neighbours": Neighbours(angular=3)}, "neighbours.angular=3", id="angular"),
        pytest.param({"neighbours": Neighbours(density_degree=1)}, "neighbours.density_degree=1", id="degree"),
        pytest.param({"neighbours": Neighbours(), "species": (0, 1)}, "are for one species", id="species"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ParticlePotential(**options)
