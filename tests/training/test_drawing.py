"""Saved times and their weights, and which of them an iteration sees."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import ActionMatching
from hoam_plugin.dynamics import Dynamics, normalisation_of, structure_of
from hoam_plugin.ensembles import variables
from hoam_plugin.losses import loss_and_gradient
from hoam_plugin.potentials import Embedding, bound
from hoam_plugin.steppers import SampleLayout
from hoam_plugin.training.data import Runs, TrainingData
from hoam_plugin.training.drawing import draw_batch, draw_nodes
from hoam_plugin.training.settings import Training
from hoam_plugin.training.time_weights import weights_of_loss, weights_of_rule
from hoam_plugin.training.windows import TrainingSamples


@pytest.mark.long
def test_random_rules_draw_saved_times_in_proportion_to_their_weights() -> None:
    rule = hoam.quadrature.uniform_random(16)
    model = hoam.fit(
        toy.moving_gaussian(n_times=33),
        key=jax.random.key(0),
        potential=hoam.CoLoRA(width=8, depth=2),
        loss=hoam.ActionMatching(epsilon=0.0, quadrature=rule),
        training=Training(iterations=20, n_samples=32),
        progress=False,
    )
    assert np.isfinite(model.history["loss"]).all()
    loss = hoam.ActionMatching(quadrature=rule)
    weights = jnp.asarray([0.1, 0.6, 0.0, 0.3])
    data = TrainingData(
        jnp.zeros((1, 4, 1, 1, 1)),
        jnp.zeros((1, 2, 1, 1, 1)),
        jnp.zeros((1, 4, 1)),
        weights,
        jnp.asarray([0, 1, 3], jnp.int32),
        jnp.zeros((1, 1)),
    )
    drawn = np.concatenate([draw_nodes(loss, data, k, None)[0] for k in jax.random.split(jax.random.key(0), 200)])
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / drawn.size, weights, atol=0.03)


def test_a_subset_of_the_nodes_is_unbiased() -> None:
    weights = jnp.asarray([0.0, 0.2, 0.3, 0.1, 0.4])
    data = TrainingData(
        jnp.zeros((1, 5, 1, 1, 1)),
        jnp.zeros((1, 2, 1, 1, 1)),
        jnp.zeros((1, 5, 1)),
        weights,
        jnp.asarray([1, 2, 3, 4], jnp.int32),
        jnp.zeros((1, 1)),
    )
    total = np.zeros(5)
    keys = jax.random.split(jax.random.key(0), 400)
    for key in keys:
        nodes, node_weights = draw_nodes(hoam.ActionMatching(), data, key, 3)
        # One from each third of the list.
        assert (np.diff(nodes) >= 0).all()
        assert nodes[0] <= 2 <= nodes[1] <= 3 <= nodes[2] + 1
        np.add.at(total, np.asarray(nodes), np.asarray(node_weights))
    np.testing.assert_allclose(total / len(keys), weights, atol=0.03)


def drifting(n_times: int) -> tuple[ActionMatching, TrainingData]:
    """A cloud in two dimensions that drifts, and the form of the loss that differentiates its means."""
    times, rng = np.linspace(0.0, 1.0, n_times), np.random.default_rng(0)
    spread = rng.standard_normal((1, n_times, 256, 2)) * np.asarray([1.0, 0.5])
    x = spread + times[None, :, None, None] * np.asarray([1.0, -0.5])
    ds = xr.Dataset({"x": (("run", "time", "sample", "axis"), x.astype(np.float32))}, {"time": times})
    loss = ActionMatching(epsilon=0.0, samples="independent", time_derivative="data")
    layout = SampleLayout(variables(ds), ((2,),))
    dynamics = Dynamics(normalisation_of(ds), None, structure_of("gradient", variables(ds), [2]), layout)
    runs = Runs(ds, dynamics, loss, weights_of_loss(loss, ds, None), None)
    return loss, TrainingSamples(runs, Training(n_samples=4, n_end_samples=64), jax.random.key(0)).at(0)


@pytest.mark.parametrize(("n_nodes", "n_times"), [(96, 24), (96, 50), (37, 10), (30, 29)])
def test_stretches_of_nodes_weigh_what_all_nodes_do(n_nodes: int, n_times: int) -> None:
    """Exactly, over all starts: neighbours, whose weights rise from next to nothing and fall again."""
    loss, data = drifting(n_nodes)
    draw = jax.jit(jax.vmap(lambda key: draw_nodes(loss, data, key, n_times)))
    nodes, weights = map(np.asarray, draw(jax.random.split(jax.random.key(0), 2000)))
    assert nodes.shape == weights.shape == (2000, n_times)
    first = [np.flatnonzero(nodes[:, 0] == start)[0] for start in range(n_nodes)]
    total = np.zeros(n_nodes)
    np.add.at(total, nodes[first], weights[first])
    np.testing.assert_allclose(total / n_nodes, data.weights, rtol=1e-5)
    gaps = np.diff(nodes, axis=1) % n_nodes
    assert ((gaps != 1).sum(axis=1) == max(1, n_times // 16) - 1).all()
    share = weights / np.asarray(data.weights)[nodes]
    assert (share[:, [0, -1]] < 0.2 * share.max(axis=1, keepdims=True)).all()


@pytest.mark.long
def test_stretches_leave_the_loss_unbiased_and_its_gradient_quiet() -> None:
    """Against all nodes, and against one node from each of as many stretches, as a form that has no bands draws."""
    n_nodes, n_times = 128, 32
    loss, data = drifting(n_nodes)
    network, embedding = hoam.MLP(width=8, depth=2), Embedding((None, None))
    potential = bound(network, data.dynamics.structure, embedding)  # type: ignore[union-attr]
    weights = jax.tree.map(
        lambda w: jnp.asarray(np.random.default_rng(1).normal(0, 0.7, w.shape), w.dtype),
        jax.eval_shape(lambda key: potential.init(key, 2, 1), jax.random.key(0)),
    )

    def scattered(key: Any) -> Any:
        nodes, node_weights = draw_nodes(loss, dataclasses.replace(data, bands=None), key, n_times)
        part = dataclasses.replace(data, nodes=nodes, weights=data.weights.at[nodes].set(node_weights))
        return draw_batch(loss, part, key)

    def values_and_slopes(batch: Any) -> tuple[Any, Any]:
        def of(key: Any) -> Any:
            value, _, slope = loss_and_gradient(loss, potential, embedding, weights, batch(key))
            return value, jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(slope)])

        draws = jax.jit(lambda keys: jax.lax.map(of, keys))(jax.random.split(jax.random.key(2), 400))
        return tuple(np.asarray(part, np.float64) for part in draws)

    everywhere = values_and_slopes(lambda key: draw_batch(loss, data, key))
    stretches = values_and_slopes(lambda key: draw_batch(loss, data, key, n_times=n_times))
    far_apart = values_and_slopes(scattered)
    for one, all_nodes in zip(stretches, everywhere, strict=True):
        error = np.sqrt((one.var(axis=0) + all_nodes.var(axis=0)) / len(one))
        assert (np.abs(one.mean(axis=0) - all_nodes.mean(axis=0)) < 5 * error + 1e-6).all()
    noise = [np.linalg.norm(slopes.std(axis=0)) for _, slopes in (everywhere, stretches, far_apart)]
    assert noise[0] < noise[1] < noise[2] / 2, noise


def test_time_weights() -> None:
    ds = toy.moving_gaussian(n_times=9)
    simpson = hoam.quadrature.simpson(9)
    np.testing.assert_allclose(weights_of_rule(None, ds), simpson.nodes_and_weights()[1])
    np.testing.assert_allclose(weights_of_rule(simpson, ds), simpson.nodes_and_weights()[1])
    uneven = ds.isel(time=[0, 1, 4, 8])
    np.testing.assert_allclose(weights_of_rule(None, uneven), np.asarray([0.0625, 0.25, 0.4375, 0.25]))
    plasma = toy.small_plasma_ensemble(n_samples=64)
    weights = weights_of_rule(hoam.quadrature.gauss_legendre(8), plasma)
    np.testing.assert_allclose(weights, plasma["quadrature_weight"], atol=1e-12)
    np.testing.assert_allclose(weights_of_rule(None, plasma), plasma["quadrature_weight"])
    with pytest.raises(ValueError, match=r"quadrature=gauss_legendre\(8\) does not match the 9 saved times"):
        weights_of_rule(hoam.quadrature.gauss_legendre(8), ds)
