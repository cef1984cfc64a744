"""Sums over configurations: against automatic differentiation of every function, one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hoam_plugin.potentials import Neighbours, ParticlePotential, RadialAxis, neighbourhood_of
from hoam_plugin.training.particle_statistics import Motion, sums_of

pytestmark = pytest.mark.usefixtures("x64")

N, BOX, N_CONFIGURATIONS = 5, 4.0, 3
AXIS = tuple(RadialAxis(0.3, 1.9, 6, True))
POTENTIALS = {
    "free": ParticlePotential(n_particles=N, periods=(None, None), axis=tuple(RadialAxis(0.0, 6.0, 6, False))),
    "torus": ParticlePotential(n_particles=N, periods=(BOX, BOX), axis=AXIS),
    "neighbourhoods": ParticlePotential(
        n_particles=N,
        periods=(BOX, BOX),
        axis=AXIS,
        # Some densities are beyond these ends.
        neighbours=Neighbours(placed=neighbourhood_of(0.3, 1.9, 5, 2, 2)._replace(ends=((0.1, 0.6),) * 5)),
    ),
    "species": ParticlePotential(n_particles=N, periods=(BOX, BOX), axis=AXIS, one_body=2, species=(0, 1, 0, 1, 1)),
}
ALL = pytest.mark.parametrize("potential", POTENTIALS.values(), ids=POTENTIALS)


def drawn(seed: int, *, positive: bool = False) -> jax.Array:
    shape = (N_CONFIGURATIONS, N, 2)
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.uniform(0, BOX, shape) if positive else rng.standard_normal(shape))


def functions(potential: ParticlePotential, z: jax.Array) -> jax.Array:
    """All phi_k of a configuration; single particles nowhere beyond their range."""
    far = jnp.repeat(jnp.asarray([-100.0, 100.0]), 2)

    def one(k: jax.Array) -> jax.Array:
        c = jnp.zeros(potential.functions.n_coefficients).at[k].set(1)
        if potential.functions.terms is not None:
            c = c.at[potential.functions.n_functions :].set(far)
        return potential.functions.energy(c, z)

    return jax.vmap(one)(jnp.arange(potential.functions.n_functions))


def naive(potential: ParticlePotential, z: jax.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, gradients (k, N, d) and second derivatives (k, N, d, N, d)."""

    def of(z: jax.Array) -> jax.Array:
        return functions(potential, z)

    value, gradient, second = (jax.jit(f)(z) for f in (of, jax.jacrev(of), jax.jacfwd(jax.jacrev(of))))
    return np.asarray(value), np.asarray(gradient), np.asarray(second)


@pytest.mark.long
@ALL
def test_where_positions_are_driven(potential: ParticlePotential) -> None:
    z = drawn(0, positive=True)
    diffusion = jnp.asarray(np.random.default_rng(3).uniform(0.5, 2, (N_CONFIGURATIONS, N)))
    sums = sums_of(potential.functions, z, Motion(diffusion=diffusion))
    gram, means, known = 0.0, 0.0, 0.0
    for row, own in zip(z, diffusion, strict=True):
        value, gradient, second = naive(potential, row)
        gram = gram + np.einsum("kna,lna->kl", gradient, gradient)
        means = means + value
        known = known - np.einsum("n,knana->k", own, second)
    np.testing.assert_allclose(sums.gram, gram, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(sums.means, means, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(sums.known, known, rtol=1e-7, atol=1e-7)


@pytest.mark.long
@ALL
def test_where_velocities_are_driven(potential: ParticlePotential) -> None:
    z, v, rate, friction = drawn(0, positive=True), drawn(1), drawn(2), drawn(3)
    sums = sums_of(potential.functions, z, Motion(velocities=v, rates=rate, friction=friction))
    means, known = 0.0, 0.0
    for z_, v_, x_, f_ in zip(z, v, rate, friction, strict=True):
        _, gradient, second = naive(potential, z_)
        means = means + np.einsum("na,kna->k", v_, gradient)
        known = known - np.einsum("na,mb,knamb->k", x_, v_, second) - np.einsum("na,kna->k", f_, gradient)
    np.testing.assert_allclose(sums.means, means, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(sums.known, known, rtol=1e-7, atol=1e-7)


@pytest.mark.long
@ALL
def test_where_the_drift_is_told(potential: ParticlePotential) -> None:
    z, targets = drawn(0, positive=True), drawn(1)
    sums = sums_of(potential.functions, z, Motion(targets=targets))
    known = sum(np.einsum("na,kna->k", t, naive(potential, row)[1]) for row, t in zip(z, targets, strict=True))
    np.testing.assert_allclose(sums.known, known, rtol=1e-8, atol=1e-8)
