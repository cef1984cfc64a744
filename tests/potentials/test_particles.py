"""The potential of particles: against plain sums over pairs, its symmetries, its derivatives, and files."""

import dataclasses
import itertools
import json

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from hoam_plugin.potentials import (
    Embedding,
    Neighbours,
    ParticlePotential,
    RadialAxis,
    description,
    neighbourhood_of,
    potential_from,
    radial_splines,
)

pytestmark = pytest.mark.usefixtures("x64")

N, BOX = 6, 4.0
FREE, TORUS, MIXED = (None, None), (BOX, BOX), (None, BOX)
AXIS = tuple(RadialAxis(0.3, 1.9, 8, True))
EVERYWHERE = tuple(RadialAxis(0.0, 6.0, 8, False))
SPECIES = (0, 1, 0, 1, 1, 0)

POTENTIALS = {
    "free": ParticlePotential(n_particles=N, periods=FREE, axis=EVERYWHERE),
    "torus": ParticlePotential(n_particles=N, periods=TORUS, axis=AXIS),
    "mixed": ParticlePotential(n_particles=N, periods=MIXED, axis=AXIS, one_body=3),
    "species": ParticlePotential(n_particles=N, periods=TORUS, axis=AXIS, one_body=2, species=SPECIES),
    "neighbours": ParticlePotential(
        n_particles=N,
        periods=TORUS,
        axis=AXIS,
        neighbours=Neighbours(placed=neighbourhood_of(0.3, 1.9, 5, 2, 2)._replace(ends=((0.1, 0.6),) * 5)),
    ),
    "angles in space": ParticlePotential(
        n_particles=N,
        periods=(BOX,) * 3,
        axis=AXIS,
        neighbours=Neighbours(placed=neighbourhood_of(0.3, 1.9, 5, 2, 2)._replace(ends=((0.1, 0.6),) * 5)),
    ),
    "solid": ParticlePotential(n_particles=N, periods=(BOX,) * 3, axis=AXIS),
}
ALL = pytest.mark.parametrize("potential", POTENTIALS.values(), ids=POTENTIALS)


def configuration(potential: ParticlePotential, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).uniform(0, BOX, (N, len(potential.functions.periods))))


def coefficients(potential: ParticlePotential) -> jax.Array:
    c = np.random.default_rng(1).standard_normal(potential.functions.n_coefficients)
    if potential.functions.terms is not None:
        # The range of the particles: some are beyond.
        c[potential.functions.n_functions :] = np.repeat([0.5, 3.5], len(potential.functions.periods))
    return jnp.asarray(c)


def naive(potential: ParticlePotential, c: np.ndarray, z: np.ndarray) -> float:
    """Pair by pair; without single particles."""
    total, n = 0.0, potential.functions.radial.n
    tables = c[potential.functions.groups[1]].reshape(-1, n)
    for i in range(N):
        for j in range(i):
            apart = z[i] - z[j]
            for axis, period in enumerate(potential.functions.periods):
                if period is not None:
                    apart[axis] -= period * np.round(apart[axis] / period)
            kind = potential.functions.kinds[
                potential.functions.species_of_particles[i], potential.functions.species_of_particles[j]
            ]
            r = jnp.asarray([np.sqrt(np.sum(apart**2))])
            total += float((radial_splines(potential.functions.radial, r).value @ jnp.asarray(tables[kind]))[0])
    return total


@pytest.mark.long
@ALL
def test_the_pairs_are_those_of_a_plain_sum(potential: ParticlePotential) -> None:
    z, c = configuration(potential), coefficients(potential).at[potential.functions.groups[0]].set(0)
    c = c.at[potential.functions.groups[2]].set(0)
    np.testing.assert_allclose(
        potential.functions.energy(c, z), naive(potential, np.asarray(c), np.array(z)), rtol=1e-10
    )


@pytest.mark.long
@hypothesis.given(
    share=st.floats(0.05, 0.95), cutoff=st.floats(1e-3, 1e3), n_shells=st.integers(1, 9), degree=st.integers(2, 3)
)
def test_no_shell_has_neighbours_at_its_end_alone(share: float, cutoff: float, n_shells: int, degree: int) -> None:
    of = neighbourhood_of(share * cutoff, cutoff, n_shells, 2, degree)
    assert of.n_shells in {max(1, n_shells - 1), n_shells}
    shells = radial_splines(of.axis, jnp.linspace(share * cutoff, cutoff, 200)).value[:, of.first :]
    # The largest value of a spline is 2 / 3, and 1 / 6 where only its outer half is left.
    assert float(jnp.max(shells, axis=0).min()) > 0.16


@pytest.mark.long
@pytest.mark.parametrize("potential", [POTENTIALS["neighbours"], POTENTIALS["angles in space"]], ids=["2-D", "3-D"])
def test_functions_of_neighbourhoods_are_sums_over_triples(potential: ParticlePotential) -> None:
    of, functions, z = potential.functions.neighbourhood, potential.functions, np.asarray(configuration(potential))
    assert of is not None
    wide = ((-50.0, 50.0),) * of.n_shells
    functions = dataclasses.replace(functions, neighbourhood=of._replace(ends=wide, degree=2))
    apart = z[:, None] - z[None, :]
    apart -= BOX * np.round(apart / BOX)
    r = np.sqrt(np.sum(apart**2, axis=-1)) + np.eye(N)
    shells = np.asarray(radial_splines(of.axis, jnp.asarray(r)).value)[..., of.first :]
    expected: list[float] = []
    pairs = list(itertools.combinations_with_replacement(range(of.n_shells), 2))
    for order in range(of.angular + 1):
        for a, b in pairs:
            total = 0.0
            for i, j, k in itertools.product(range(N), repeat=3):
                if i not in (j, k):
                    cos = apart[i, j] @ apart[i, k] / (r[i, j] * r[i, k])
                    angle = (1.0, cos, cos**2 - 1 / z.shape[1])[order]
                    total += shells[i, j, a] * shells[i, k, b] * angle * (order == 0 or min(a, b) + of.first >= 3)
            expected.append(total)
    start = functions.groups[2].start
    found = [
        functions.energy(jnp.zeros(functions.n_functions).at[start + k].set(1), jnp.asarray(z))
        for k in range(len(expected))
    ]
    terms = [tuple(int(i == a) + int(i == b) for i in range(of.n_shells)) for a, b in pairs]
    order_of = [functions.neighbourhood.terms.functions.index(term) for term in terms]
    found = [found[i] for i in order_of] + found[len(pairs) :]
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.long
@ALL
def test_the_gradient_is_that_of_the_energy(potential: ParticlePotential) -> None:
    z, c = configuration(potential), coefficients(potential)
    np.testing.assert_allclose(
        potential.functions.gradient(c, z), jax.grad(potential.functions.energy, 1)(c, z), rtol=1e-9, atol=1e-10
    )


@ALL
def test_particles_of_a_species_may_change_places(potential: ParticlePotential) -> None:
    z, c = configuration(potential), coefficients(potential)
    swapped = z[np.asarray([2, 3, 0, 1, 4, 5])]
    np.testing.assert_allclose(potential.functions.energy(c, swapped), potential.functions.energy(c, z), rtol=1e-12)


def test_particles_of_different_species_may_not() -> None:
    potential = POTENTIALS["species"]
    z, c = configuration(potential), coefficients(potential)
    swapped = z[np.asarray([1, 0, 2, 3, 4, 5])]
    assert abs(float(potential.functions.energy(c, swapped) - potential.functions.energy(c, z))) > 1e-3


def test_pairs_do_not_see_where_all_of_them_are_nor_how_they_are_turned() -> None:
    potential = POTENTIALS["free"]
    z, c = configuration(potential), coefficients(potential).at[potential.functions.groups[0]].set(0)
    turn = jnp.asarray([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    moved = z @ turn.T + jnp.asarray([[0.3, -1.2]])
    np.testing.assert_allclose(potential.functions.energy(c, moved), potential.functions.energy(c, z), rtol=1e-12)
    torus = POTENTIALS["torus"]
    c = coefficients(torus)
    moved = jnp.mod(z + jnp.asarray([[1.3, 2.9]]), BOX)
    np.testing.assert_allclose(torus.functions.energy(c, moved), torus.functions.energy(c, z), rtol=1e-10)


@pytest.mark.long
def test_beyond_the_range_of_the_particles_single_ones_are_pulled_evenly() -> None:
    potential = ParticlePotential(n_particles=1, periods=(None,), axis=EVERYWHERE, one_body=4)
    c = jnp.asarray(np.concatenate([[0.3, -0.7, 0.2, 0.9], np.zeros(potential.functions.radial.n), [-1.0, 2.0]]))
    pulls = [float(potential.functions.gradient(c, jnp.asarray([[x]]))[0, 0]) for x in (2.0, 5.0, 50.0)]
    np.testing.assert_allclose(pulls, np.full(3, 0.3 - 1.4 * 2 + 0.6 * 4 + 3.6 * 8), rtol=1e-12)


@pytest.mark.long
@ALL
def test_as_a_potential_of_samples_it_has_the_derivatives_of_autodiff(potential: ParticlePotential) -> None:
    """Two times with two configurations each, along all coordinates and along a path."""
    d = len(potential.functions.periods)
    embedding = Embedding(potential.functions.periods * N)
    z = jnp.stack([configuration(potential, seed).reshape(-1) for seed in range(4)])
    rng = np.random.default_rng(2)
    c, c_rate = (jnp.stack([coefficients(potential) * f for f in (1.0, 0.5)]) for _ in range(2))
    drift = jnp.asarray(rng.standard_normal(z.shape))
    features = embedding.streams(z, laplacian=True, drift=drift)
    streams = jax.jit(lambda features, c, rate: potential.propagate({}, features, c, rate))(features, c, c_rate)

    @jax.jit
    def energy(z: jax.Array, c: jax.Array) -> jax.Array:
        return potential.functions.energy(c, z.reshape(N, d))

    drifts = jax.jit(lambda z, c: potential.drift({}, embedding, z, c))(z, c)
    for row in (0, 3):
        own = c[row // 2]
        np.testing.assert_allclose(streams.value[row], energy(z[row], own), rtol=1e-9, atol=1e-9)
        gradient = jax.grad(energy)(z[row], own)
        np.testing.assert_allclose(streams.gradient[:, row], gradient, rtol=1e-8, atol=1e-8)
        laplacian = jnp.trace(jax.hessian(energy)(z[row], own))
        assert streams.laplacian is not None
        np.testing.assert_allclose(streams.laplacian[row], laplacian, rtol=1e-7, atol=1e-7)
        rate = jax.jvp(energy, (z[row], own), (drift[row], c_rate[row // 2]))[1]
        np.testing.assert_allclose(streams.rate[row], rate, rtol=1e-8, atol=1e-8)
        np.testing.assert_allclose(drifts[row], gradient, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(
        potential.value({}, embedding.features(z[:2]), c[0]), streams.value[:2], rtol=1e-9, atol=1e-9
    )


@ALL
def test_it_is_described_in_json(potential: ParticlePotential) -> None:
    assert potential_from(json.loads(json.dumps(description(potential)))) == potential


def test_an_axis_without_a_power_is_that_of_files_before_there_was_one() -> None:
    old = dataclasses.replace(POTENTIALS["torus"], axis=AXIS[:-1])
    assert old == POTENTIALS["torus"]
    written = json.loads(json.dumps(description(POTENTIALS["neighbours"])))
    assert written != json.loads(json.dumps(written).replace("true, 12]", "true]"))
    assert potential_from(json.loads(json.dumps(written).replace("true, 12]", "true]"))) == POTENTIALS["neighbours"]


def test_before_fit_it_has_no_place() -> None:
    with pytest.raises(ValueError, match=r"axis=None: this ParticlePotential\(...\) does not know its particles yet"):
        _ = ParticlePotential().functions


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cutoff": -1.0}, "cutoff"),
        ({"n_radial": 0}, "n_radial"),
        ({"one_body": -1}, "one_body"),
        ({"species": (1, 1, 2)}, "numbered from 0 on, without gaps"),
    ],
)
def test_sizes_that_cannot_be(options: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ParticlePotential(**options)  # type: ignore[arg-type]
