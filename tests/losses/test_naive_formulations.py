"""The losses around known drifts against naive formulations of them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hoam_plugin as hoam
from hoam_plugin.dynamics.structure import structure_of, with_metric
from hoam_plugin.losses import cells as merging
from hoam_plugin.losses.batch import Batch
from hoam_plugin.losses.evaluation import loss_and_gradient, loss_value
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.forms import bound
from hoam_plugin.steppers import Variable


def phase_space(n_positions: int, periodic: bool) -> Any:
    """Structure and embedding of n positions and as many velocities, and a batch; call with x64 enabled."""
    variables = (
        Variable("q", dims=("axis",), period=3.0 if periodic else None),
        Variable("p", dims=("axis",), velocity_of="q"),
    )
    split = structure_of("kinetic", variables, [n_positions] * 2)
    return with_metric(split, np.linspace(1, 2, 2 * n_positions))


def batch_of(n_dims: int, drift: bool = True) -> Batch:
    keys = jax.random.split(jax.random.key(0), 10)
    points = jax.random.normal(keys[0], (3, 4, n_dims))
    weights = jnp.asarray([0.2, 0.5, 0.3])
    return Batch(
        points=points,
        conditions=jax.random.uniform(keys[1], (3, 2), minval=-1.0),
        weights=weights,
        end_points=jax.random.normal(keys[2], (2, 5, n_dims)),
        end_conditions=jax.random.uniform(keys[3], (2, 2), minval=-1.0),
        end_signs=jnp.asarray([1.0, -1.0]),
        reference=jax.random.normal(keys[4], (2, n_dims)),
        drift=jax.random.normal(keys[5], points.shape) if drift else None,
        neighbours=jax.random.normal(keys[6], (3, 4, 2, n_dims)),
        multiplicity=jax.random.uniform(keys[7], (3, 4), minval=0.5, maxval=1.5),
        end_multiplicity=jax.random.uniform(keys[8], (2, 5), minval=0.5, maxval=1.5),
        shares=jnp.ones(3),
    )


def psi_of(network: Any, embedding: Any, weights: Any) -> Any:
    def psi(z: Any, condition: Any) -> Any:
        phi = network.modulations(weights, condition[None])[0]
        return network.value(weights, embedding.features(z[None]), phi)[0]

    return psi


def naive_action(psi: Any, driven: Any, epsilon: float, b: Batch) -> Any:
    """E psi at both ends, and the integrand sample by sample, with nested derivatives; time rate 2 of condition 0."""
    total = 0.0
    for e in range(2):
        values = jax.vmap(lambda z, e=e: psi(z, b.end_conditions[e]))(b.end_points[e])
        total = total + b.end_signs[e] * jnp.mean(values * b.end_multiplicity[e])
    for t in range(len(b.weights)):

        def integrand(z: Any, drift: Any, c: Any = b.conditions[t]) -> Any:
            gradient = jax.grad(psi)(z, c)
            hessian = jax.hessian(psi)(z, c)
            rate = 2 * jax.grad(psi, argnums=1)(z, c)[0] + drift @ gradient
            lap = jnp.trace(hessian[driven][:, driven])
            return jnp.sum(gradient[driven] ** 2) / 2 + rate + epsilon**2 / 2 * lap

        total = total + b.weights[t] * jnp.mean(b.multiplicity[t] * jax.vmap(integrand)(b.points[t], b.drift[t]))
    return total


POTENTIALS = {
    "force": hoam.VectorField(width=7, depth=3, time_harmonics=2),
    "conservative": hoam.VectorField(width=7, depth=3, time_harmonics=2, conservative=True),
    "colora": hoam.CoLoRA(width=6, depth=3, rank=2, hyper_width=5),
    "film": hoam.FiLM(width=6, depth=3, hyper_width=5),
}


# Nested derivatives take long to compile, and these share the code of the others.
_SLOW = {("film", 1), ("film", 2), ("conservative", 2), ("colora", 1), ("force", 2)}


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "n_positions", "periodic"),
    [
        pytest.param(kind, n, periodic, marks=pytest.mark.slow if (kind, n) in _SLOW else ())
        for kind in POTENTIALS
        for n, periodic in ((1, True), (2, False))
    ],
)
def test_fast_loss_is_the_naive_one(kind: str, n_positions: int, periodic: bool) -> None:
    with jax.enable_x64(True):
        split = phase_space(n_positions, periodic)
        periods = (3.0 if periodic else None,) * n_positions + (None,) * n_positions
        embedding = Embedding(periods, POTENTIALS[kind].harmonics, split.driven)
        network = bound(POTENTIALS[kind], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(2 * n_positions)
        loss = hoam.ActionMatching(epsilon=0.4 if n_positions == 1 else 0.0)
        fast, _, gradient = jax.jit(lambda w, b: loss_and_gradient(loss, network, embedding, w, b))(weights, b)
        driven = np.asarray(split.driven)
        naive, naive_gradient = jax.jit(
            jax.value_and_grad(lambda w, b: naive_action(psi_of(network, embedding, w), driven, loss.noise, b))
        )(weights, b)
        np.testing.assert_allclose(fast, naive, rtol=1e-10)
        for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(naive_gradient), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-11)


def naive_dice(psi: Any, driven: Any, epsilon: float, b: Batch) -> Any:
    """The pair sum of arXiv:2507.05107 as printed, with the trapezoid of the known drift and of the Laplacian."""
    points, tau = b.points, (b.conditions[:, 0] + 1) / 2
    gaps = jnp.diff(tau)

    def mean(j: int, i: int) -> Any:
        """Mean of s_j over the samples at time i."""
        return jnp.mean(jax.vmap(lambda z: psi(z, b.conditions[j]))(points[i]))

    def at(j: int) -> tuple[Any, Any]:
        def terms(z: Any, drift: Any) -> Any:
            gradient = jax.grad(psi)(z, b.conditions[j])
            lap = jnp.trace(jax.hessian(psi)(z, b.conditions[j])[driven][:, driven])
            return jnp.sum(gradient[driven] ** 2), drift @ gradient + epsilon**2 / 2 * lap

        squares, linear = jax.vmap(terms)(points[j], b.drift[j])
        return jnp.mean(squares), jnp.mean(linear)

    total = 0.0
    for j in range(len(tau) - 1):
        (q0, l0), (q1, l1) = at(j), at(j + 1)
        total = total + gaps[j] / 4 * (q0 + q1) + gaps[j] / 2 * (l0 + l1)
        total = total - (mean(j, j + 1) + mean(j + 1, j + 1) - mean(j, j) - mean(j + 1, j)) / 2
    return total


@pytest.mark.long
@pytest.mark.parametrize("kind", ["force", pytest.param("colora", marks=pytest.mark.slow)])
def test_dice_is_the_printed_sum_and_does_not_see_a_function_of_time(kind: str) -> None:
    with jax.enable_x64(True):
        split = phase_space(1, False)
        embedding = Embedding((None, None), POTENTIALS[kind].harmonics, split.driven)
        network = bound(POTENTIALS[kind], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(2)
        tau = jnp.asarray([0.0, 0.3, 1.0])
        conditions = b.conditions.at[:, 0].set(2 * tau - 1)
        neighbours = jnp.stack([b.points[jnp.asarray([0, 0, 1])], b.points[jnp.asarray([1, 2, 2])]], axis=2)
        trapezoid = jnp.asarray([0.15, 0.5, 0.35])
        b = dataclasses.replace(
            b, conditions=conditions, neighbours=neighbours, weights=trapezoid, multiplicity=None, end_multiplicity=None
        )
        loss = hoam.DICE(epsilon=0.3)
        fast = jax.jit(lambda w, b: loss_value(loss, network, embedding, w, b))(weights, b)
        psi = psi_of(network, embedding, weights)
        driven = np.asarray(split.driven)
        np.testing.assert_allclose(fast, naive_dice(psi, driven, 0.3, b), rtol=1e-10)
        shifted = naive_dice(lambda z, c: psi(z, c) + jnp.sin(5 * c[0]), driven, 0.3, b)
        np.testing.assert_allclose(shifted, fast, rtol=1e-10)


def test_velocity_loss_is_the_mean_squared_error() -> None:
    with jax.enable_x64(True):
        split = phase_space(2, True)
        embedding = Embedding((3.0, 3.0, None, None), 2, split.driven)
        network = bound(POTENTIALS["force"], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(4)
        b = dataclasses.replace(b, targets=jax.random.normal(jax.random.key(4), (3, 4, 2)), multiplicity=None)
        fast = loss_value(hoam.VelocityMatching(), network, embedding, weights, b)
        psi = psi_of(network, embedding, weights)
        naive = sum(
            b.weights[t]
            * jnp.mean(
                jnp.sum(
                    (jax.vmap(jax.grad(psi), (0, None))(b.points[t], b.conditions[t])[:, 2:] - b.targets[t]) ** 2, 1
                )
            )
            / 2
            for t in range(3)
        )
        np.testing.assert_allclose(fast, naive, rtol=1e-10)


def test_conservative_force_has_no_curl_in_physical_units() -> None:
    with jax.enable_x64(True):
        split = phase_space(2, False)
        embedding = Embedding((None,) * 4, 2, split.driven)
        network = bound(POTENTIALS["conservative"], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.3 * jax.random.normal(jax.random.key(2), w.shape), weights)
        scale = np.linspace(1, 2, 4)

        def physical(x: Any) -> Any:
            phi = network.modulations(weights, jnp.asarray([[0.2, 0.1]]))
            z = jnp.concatenate([x / scale[:2], jnp.zeros(2)])[None]
            return network.drift(weights, embedding, z, phi)[0] * scale[2:]

        jacobian = jax.jacobian(physical)(jnp.asarray([0.3, -0.4]))
        np.testing.assert_allclose(jacobian[0, 1], jacobian[1, 0], rtol=1e-10)
        assert abs(float(jacobian[0, 1])) > 1e-3


def test_merging_keeps_density_momentum_and_pressure() -> None:
    rng = np.random.default_rng(0)
    points = np.stack([rng.uniform(0, 3, 5000), rng.standard_normal(5000)], axis=1)
    points[:, 1] += np.sin(2 * points[:, 0])
    split = structure_of("kinetic", (Variable("x", period=3.0), Variable("v", velocity_of="x")), [1, 1])
    cells, shares, variances = merging.merged(points, split, 3.0)
    moments = [np.ones_like(shares), cells[..., 1], cells[..., 1] ** 2 + variances]
    wave, own_wave = np.exp(2j * np.pi * cells[..., 0] / 3), np.exp(2j * np.pi * points[:, 0] / 3)
    for power, moment in enumerate(moments):
        own = points[:, 1] ** power
        np.testing.assert_allclose((shares * moment).mean(axis=1), np.mean(own), rtol=1e-12)
        np.testing.assert_allclose((shares * moment * wave).mean(axis=1), np.mean(own * own_wave), atol=2e-3)
    again = merging.merged(points[rng.permutation(5000)], split, 3.0)
    np.testing.assert_allclose(again[0], cells, atol=1e-9)


@pytest.mark.parametrize("kind", ["force", "conservative"])
def test_loss_of_cells_is_that_of_their_samples(kind: str) -> None:
    """Samples at one position in every cell: then moments are all that the loss sees of them, exactly."""
    with jax.enable_x64(True):
        split = phase_space(1, False)
        embedding = Embedding((None, None), POTENTIALS[kind].harmonics, split.driven)
        network = bound(POTENTIALS[kind], split, embedding)
        weights = network.init(jax.random.key(1), embedding.n_features, 2)
        weights = jax.tree.map(lambda w: w + 0.1 * jax.random.normal(jax.random.key(2), w.shape), weights)
        b = batch_of(2)
        # Three samples at each of the four positions; dx/dt = 1.7 v + 0.3, and a friction of 0.4.
        v = b.points[..., 1:] + jnp.asarray([-0.5, 0.1, 0.4])[None, None, :]
        x = jnp.broadcast_to(b.points[..., :1], v.shape)
        rates = jnp.stack([1.7 * v + 0.3, -0.4 * v], axis=-1)
        samples = dataclasses.replace(
            b,
            points=jnp.stack([x, v], axis=-1).reshape(3, 12, 2),
            drift=rates.reshape(3, 12, 2),
            multiplicity=jnp.repeat(b.multiplicity, 3, axis=1),
            neighbours=None,
        )
        mean = jnp.mean(v, axis=2)
        cells = dataclasses.replace(
            b,
            points=jnp.stack([x[..., 0], mean], axis=-1),
            drift=jnp.stack([1.7 * mean + 0.3, -0.4 * mean], axis=-1),
            flux=jnp.mean(v * rates[..., 0], axis=2),
        )
        loss = hoam.ActionMatching(epsilon=0.0)
        value = jax.jit(lambda w, b: loss_value(loss, network, embedding, w, b))
        np.testing.assert_allclose(value(weights, cells), value(weights, samples), rtol=1e-12)
        # And of the samples, or cells, of other times.
        on_data = dataclasses.replace(loss, samples="merged", time_derivative="data")
        value = jax.jit(lambda w, b: loss_value(on_data, network, embedding, w, b))
        cells, samples = (
            dataclasses.replace(
                b,
                neighbours=jnp.roll(b.points, 1, axis=0)[:, :, None],
                neighbour_multiplicity=jnp.roll(b.multiplicity, 1, axis=0)[:, :, None],
                coefficients=jnp.asarray([[0.3, -2.0], [0.0, 1.0], [2.0, 3.0]]),
            )
            for b in (cells, samples)
        )
        np.testing.assert_allclose(value(weights, cells), value(weights, samples), rtol=1e-12)
