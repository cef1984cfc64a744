"""Saved times and their weights, and which of them an iteration sees."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

import hoam_plugin as hoam
from hoam_plugin.training.data import TrainingData
from hoam_plugin.training.drawing import draw_nodes
from hoam_plugin.training.settings import Training
from hoam_plugin.training.time_weights import weights_of_rule


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
