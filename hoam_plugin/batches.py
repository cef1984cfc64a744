"""Training samples on the device, and what one iteration draws from them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.action_matching import ActionMatching, Batch
from hoam_plugin.quadrature import Rule


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainingData:
    """All runs on the device, in normalised units.

    Attributes:
        points: samples of every run and saved time, in stratified subsets; see `hoam_plugin.stratification`.
        end_points: samples at both ends of the time range, in larger stratified subsets.
        conditions: time and parameters of every run and saved time.
        weights: quadrature weight of every saved time; times of weight 0 are never used, except the two ends.
        nodes: indices of the saved times whose weight is positive.
        reference: a few points spread over the population of all runs and times, which fix the gauge of the potential.
    """

    points: Float[Array, "R T B n D"]
    end_points: Float[Array, "R 2 E m D"]
    conditions: Float[Array, "R T C"]
    weights: Float[Array, " T"]
    nodes: Array
    reference: Float[Array, "k D"]


def draw_batch(
    loss: ActionMatching, data: TrainingData, key: Array, *, runs_per_iteration: int = 1, n_times: int | None = None
) -> Batch:
    """Samples of one iteration: for each of its runs, an independently drawn stratified subset at every node and end.

    Independent subsets beat one set of trajectories through all times: their fluctuations average out over the nodes.
    """
    n_runs, _, n_blocks, n, n_dims = data.points.shape
    run_key, block_key, end_key, node_key = jax.random.split(key, 4)
    n_chosen = min(runs_per_iteration, n_runs)
    runs = jax.random.choice(run_key, n_runs, (n_chosen,), replace=False)
    nodes, node_weights = draw_nodes(loss, data, node_key, n_times)
    blocks = jax.random.randint(block_key, (n_chosen, len(nodes)), 0, n_blocks)
    end_blocks = jax.random.randint(end_key, (n_chosen, 2), 0, data.end_points.shape[2])
    points = data.points[runs[:, None], nodes[None, :], blocks].reshape(-1, n, n_dims)
    end_points = data.end_points[runs[:, None], jnp.arange(2)[None, :], end_blocks]
    conditions = data.conditions[runs[:, None], nodes[None, :]]
    end_conditions = data.conditions[runs[:, None], jnp.asarray([0, -1])[None, :]]
    n_conditions = conditions.shape[-1]
    signs = jnp.asarray([1.0, -1.0], points.dtype) / n_chosen
    return Batch(
        points=points,
        conditions=conditions.reshape(-1, n_conditions),
        weights=jnp.tile(node_weights / n_chosen, n_chosen),
        end_points=end_points.reshape(-1, end_points.shape[-2], n_dims),
        end_conditions=end_conditions.reshape(-1, n_conditions),
        end_signs=jnp.tile(signs, n_chosen),
        reference=data.reference,
        probes=draw_probes(loss, points, jax.random.fold_in(key, 1)),
    )


def draw_nodes(
    loss: ActionMatching, data: TrainingData, key: Array, n_times: int | None
) -> tuple[Array, Float[Array, " nodes"]]:
    """Indices of the times of one iteration and their weights, whose weighted sums are unbiased."""
    rule = loss.quadrature
    if isinstance(rule, Rule) and rule.random:
        # Saved times stand for all times: each is drawn with the probability of its own quadrature weight.
        edges = jnp.cumsum(data.weights)
        drawn = jnp.searchsorted(edges, rule.draw(key).astype(edges.dtype) * edges[-1], side="right")
        return jnp.minimum(drawn, len(edges) - 1), jnp.full(rule.n, 1 / rule.n, edges.dtype)
    n_nodes = len(data.nodes)
    if n_times is None or n_times >= n_nodes:
        return data.nodes, data.weights[data.nodes]
    # One node from each of n_times equal stretches of the list: every node is expected n_times / n_nodes times.
    dtype = data.weights.dtype
    place = (jnp.arange(n_times, dtype=dtype) + jax.random.uniform(key, (n_times,), dtype)) * (n_nodes / n_times)
    chosen = data.nodes[jnp.minimum(place.astype(jnp.int32), n_nodes - 1)]
    return chosen, data.weights[chosen] * (n_nodes / n_times)


def draw_probes(loss: ActionMatching, points: Float[Array, "T n D"], key: Array) -> Float[Array, "T n K D"] | None:
    """Random signs (Rademacher), whose estimate of a Laplacian has the least variance; None where it is exact."""
    n_times, n, n_dims = points.shape
    n_probes = loss.n_probes(n_dims)
    return jax.random.rademacher(key, (n_times, n, n_probes, n_dims), points.dtype) if n_probes else None


def validation_batch(loss: ActionMatching, data: TrainingData) -> Batch:
    """All runs of `data`, the same samples every time: the first stratified subset at every node."""
    n_runs, _, _, n, n_dims = data.points.shape
    ends = jnp.asarray([0, -1])
    points = data.points[:, data.nodes, 0].reshape(-1, n, n_dims)
    return Batch(
        points=points,
        conditions=data.conditions[:, data.nodes].reshape(-1, data.conditions.shape[-1]),
        weights=jnp.tile(data.weights[data.nodes] / n_runs, n_runs),
        end_points=data.end_points[:, :, 0].reshape(-1, data.end_points.shape[-2], n_dims),
        end_conditions=data.conditions[:, ends].reshape(-1, data.conditions.shape[-1]),
        end_signs=jnp.tile(jnp.asarray([1.0, -1.0], data.points.dtype) / n_runs, n_runs),
        reference=data.reference,
        probes=draw_probes(loss, points, jax.random.key(0)),
    )
