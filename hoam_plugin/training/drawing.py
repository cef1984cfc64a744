"""What one iteration draws from the training samples."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._types import Key
from hoam_plugin.dynamics import CONDITION_TIME_RATE, Dynamics
from hoam_plugin.losses import AbstractLoss, Batch, MomentTargets, NodeMoments, if_there
from hoam_plugin.training.data import TrainingData

# Neighbouring nodes of an iteration that sees a part of them. The longer the stretches, the less does their sum
# fluctuate with the samples, but the fewer parts of the range of time it sees.
_STRETCH = 16


class Share(NamedTuple):
    """The part of the samples that a device has: which one, of how many equal ones."""

    number: Array
    n_parts: int


def draw_batch(
    loss: AbstractLoss,
    data: TrainingData,
    key: Key,
    *,
    runs_per_iteration: int = 1,
    n_times: int | None = None,
    share: Share | None = None,
) -> Batch:
    """Samples of one iteration: for each of its runs, an independently drawn stratified subset at every node and end.

    For gradients, independent subsets beat one set of trajectories through all times: their fluctuations average out
    over the nodes. A loss with coupled samples, which is better for forces, sees one subset at all nodes and ends.
    A loss that differentiates means over samples sees one subset of a saved time at all nodes that look at it: else the
    fluctuations of the differences would be those of the means divided by the distance of the nodes.

    With a share, `data` hold these samples alone of every subset, and so does the batch; the batches of all shares,
    drawn with the same key, are together the one of all samples.
    """
    n_runs, n_saved, n_blocks = data.points.shape[:3]
    run_key, block_key, end_key, node_key = jax.random.split(key, 4)
    n_chosen = min(runs_per_iteration, n_runs)
    runs = jax.random.choice(run_key, n_runs, (n_chosen,), replace=False)
    nodes, node_weights = draw_nodes(loss, data, node_key, n_times)
    n_drawn = 1 if loss.coupled or loss.merged else len(nodes) if data.bands is None else n_saved
    several = () if data.moments is None else (2,)
    blocks = jax.random.randint(block_key, (n_chosen, n_drawn, *several), 0, n_blocks)
    end_blocks = jax.random.randint(end_key, (n_chosen, 2), 0, data.end_points.shape[2])
    return _batch(loss, data, runs, nodes, node_weights, blocks, end_blocks, jax.random.fold_in(key, 1), share)


def _batch(
    loss: AbstractLoss,
    data: TrainingData,
    runs: Int[Array, " R"],
    nodes: Int[Array, " nodes"],
    node_weights: Float[Array, " nodes"],
    blocks: Int[Array, "R _ ..."],
    end_blocks: Int[Array, "R 2"],
    key: Key,
    share: Share | None = None,
) -> Batch:
    """The given subsets of samples of the given runs: for each node, for each saved time, or one for all.

    With another axis of `blocks`, several for each node, one after the other.
    """
    n_chosen, n_nodes = len(runs), len(nodes)
    at_nodes = blocks if data.bands is None else _at(blocks, nodes)
    axes = (1,) * (at_nodes.ndim - 2)
    chosen = runs.reshape(-1, 1, *axes), nodes.reshape(1, -1, *axes), at_nodes

    def drawn(values: Float[Array, "R T B n ..."]) -> Float[Array, "N _ ..."]:
        return values[chosen].reshape(n_chosen * n_nodes, -1, *values.shape[4:])

    points = drawn(data.points)
    n_dims = points.shape[-1]
    ends = jnp.asarray([0, -1])[None, :]
    at_ends = runs[:, None], ends, blocks.reshape(n_chosen, -1)[:, :1]
    if loss.coupled or loss.merged:
        end_points = data.points[at_ends]
    else:
        end_points = data.end_points[runs[:, None], ends, end_blocks]
    conditions = data.conditions[runs[:, None], nodes[None, :]]
    end_conditions = data.conditions[runs[:, None], ends]
    n_conditions = conditions.shape[-1]
    signs = jnp.asarray([1.0, -1.0], points.dtype) / n_chosen
    weights = jnp.broadcast_to(node_weights[None, :] / n_chosen, (n_chosen, n_nodes))
    if data.importance is not None:
        weights = weights * data.importance[runs[:, None], nodes[None, :]]
    flat_conditions = conditions.reshape(-1, n_conditions)
    drift, probes = _known(loss, data.dynamics, points, flat_conditions, key, share)
    if data.motion is not None:
        drift = -drawn(data.motion) if drift is None else drift - drawn(data.motion)
    batch = Batch(
        points=points,
        conditions=flat_conditions,
        weights=weights.reshape(-1),
        end_points=end_points.reshape(-1, end_points.shape[-2], n_dims),
        end_conditions=end_conditions.reshape(-1, n_conditions),
        end_signs=jnp.tile(signs, n_chosen),
        reference=data.reference,
        probes=probes,
        drift=drift,
        targets=if_there(drawn, data.targets),
        multiplicity=if_there(drawn, data.multiplicity),
        end_multiplicity=None if data.multiplicity is None else data.multiplicity[at_ends].reshape(2 * n_chosen, -1),
        flux=None if data.variance is None else _flux(data, points, flat_conditions, drawn(data.variance), drift),
        moments=None if data.moments is None else _node_moments(data.moments, runs, nodes),
    )
    if loss.compares_times:
        return _with_nearest(batch, points.reshape(n_chosen, n_nodes, *points.shape[1:]))
    return batch if data.bands is None else _with_bands(batch, data, runs, nodes, node_weights, blocks, end_points)


def _node_moments(moments: MomentTargets, runs: Int[Array, " R"], nodes: Int[Array, " nodes"]) -> NodeMoments:
    """What belongs to the given nodes of the given runs."""
    rates = jnp.asarray(moments.rates)[runs[:, None], nodes[None, :]]
    whitening = jnp.asarray(moments.whitening)[jnp.asarray(moments.groups)[nodes]]
    return NodeMoments(rates.reshape(-1, rates.shape[-1]), jnp.tile(whitening, (len(runs), 1, 1)))


def _at(blocks: Int[Array, "R _"], times: Int[Array, "..."]) -> Int[Array, "R ..."]:
    """The subsets at these saved times, drawn for every saved time or one for all."""
    return blocks[:, times if blocks.shape[1] > 1 else jnp.zeros_like(times)]


def _with_nearest(batch: Batch, points: Float[Array, "R T n D"]) -> Batch:
    """With samples of the nodes before and after."""
    n_chosen, n_nodes, n, n_dims = points.shape
    return dataclasses.replace(
        batch,
        neighbours=_neighbours(points).reshape(-1, n, 2, n_dims),
        shares=jnp.full(n_chosen * n_nodes, 1 / n_chosen, points.dtype),
    )


def _with_bands(
    batch: Batch,
    data: TrainingData,
    runs: Int[Array, " R"],
    nodes: Int[Array, " nodes"],
    node_weights: Float[Array, " nodes"],
    blocks: Int[Array, "R _"],
    end_points: Float[Array, "R 2 m D"],
) -> Batch:
    """With samples of the saved times around each node, and of the ends for the nodes around these."""
    bands = data.bands
    assert bands is not None
    others = bands.others[nodes]
    chosen = runs[:, None, None], others[None], _at(blocks, others)

    def of_neighbours(values: Float[Array, "R T B n ..."]) -> Float[Array, "_ n K ..."]:
        by_run = jnp.moveaxis(values[chosen], 2, 3)
        return by_run.reshape(-1, *by_run.shape[2:])

    # What the nodes of this iteration weigh, each as often as it was drawn.
    weights = jnp.zeros_like(data.weights).at[nodes].add(node_weights / len(runs))
    factors = -weights[bands.at_ends] * bands.end_coefficients
    at_ends = data.conditions[runs[:, None, None], bands.at_ends[None]]
    each = bands.at_ends.shape[1]
    return dataclasses.replace(
        batch,
        neighbours=of_neighbours(data.points),
        neighbour_multiplicity=if_there(of_neighbours, data.multiplicity),
        coefficients=jnp.tile(bands.coefficients[nodes], (len(runs), 1)),
        end_points=jnp.repeat(end_points, each, axis=1).reshape(-1, *end_points.shape[2:]),
        end_conditions=at_ends.reshape(-1, at_ends.shape[-1]),
        end_signs=jnp.tile(factors.reshape(-1), len(runs)),
        end_multiplicity=None,
    )


def _flux(
    data: TrainingData,
    points: Float[Array, "T n D"],
    conditions: Float[Array, "T C"],
    variance: Float[Array, "T n"],
    drift: Float[Array, "T n D"] | None,
) -> Float[Array, "T n"]:
    """Mean of v dx/dt over the samples of every cell, where dx/dt is linear in v."""
    assert data.dynamics is not None
    assert drift is not None  # that of the kinematics is known
    ((position, velocity),) = data.dynamics.structure.kinematics
    norm = data.dynamics.normalisation
    unit: float | Array = norm.duration
    if norm.clock is not None:
        unit = jnp.asarray(norm.time_unit(norm.elapsed((conditions[:, 0] + 1) / CONDITION_TIME_RATE)))[:, None]
    slope = unit * norm.scale[velocity] / norm.scale[position]
    return points[..., velocity] * drift[..., position] + slope * variance


def _neighbours(points: Float[Array, "R T n D"]) -> Float[Array, "R T n 2 D"]:
    """Samples of the times before and after; at the ends, those of the time itself."""
    before = jnp.concatenate([points[:, :1], points[:, :-1]], axis=1)
    after = jnp.concatenate([points[:, 1:], points[:, -1:]], axis=1)
    return jnp.stack([before, after], axis=3)


def _known(
    loss: AbstractLoss,
    dynamics: Dynamics | None,
    points: Float[Array, "T n D"],
    conditions: Float[Array, "T C"],
    key: Key,
    share: Share | None,
) -> tuple[Float[Array, "T n D"] | None, Float[Array, "T n K D"] | None]:
    """The known drift at every sample, and the directions of the Laplacian's estimate."""
    if dynamics is None or not dynamics.has_drift:
        return None, draw_probes(loss, points, key, share)
    drift, noise = jax.vmap(dynamics.normalised)(points, conditions)
    if not dynamics.structure.knows_dynamics:
        return drift, draw_probes(loss, points, key, share)
    if not dynamics.has_noise or not loss.noise:
        return drift, None
    # Along each driven coordinate as far as its own noise reaches: then |direction . grad|^2 sums to the Laplacian
    # weighted by the squared amplitudes, exactly.
    driven = np.asarray(dynamics.structure.driven)
    unit = jnp.asarray(np.eye(points.shape[-1])[driven] * len(driven) ** 0.5, points.dtype)
    return drift, noise[:, :, None, :] * unit[None, None]


def draw_nodes(
    loss: AbstractLoss, data: TrainingData, key: Key, n_times: int | None
) -> tuple[Array, Float[Array, " nodes"]]:
    """Indices of the times of one iteration and their weights, whose weighted sums are unbiased."""
    rule = loss.quadrature
    if rule is not None and rule.random:
        # Saved times stand for all times: each is drawn with the probability of its own quadrature weight.
        edges = jnp.cumsum(data.weights)
        drawn = jnp.searchsorted(edges, rule.draw(key).astype(edges.dtype) * edges[-1], side="right")
        return jnp.minimum(drawn, len(edges) - 1), jnp.full(rule.n, 1 / rule.n, edges.dtype)
    n_nodes = len(data.nodes)
    if n_times is None or n_times >= n_nodes:
        return data.nodes, data.weights[data.nodes]
    if data.bands is not None and not (loss.coupled or loss.merged):
        return _draw_stretches(data, key, n_times)
    # One node from each of n_times equal stretches of the list: every node is expected n_times / n_nodes times.
    dtype = data.weights.dtype
    place = (jnp.arange(n_times, dtype=dtype) + jax.random.uniform(key, (n_times,), dtype)) * (n_nodes / n_times)
    chosen = data.nodes[jnp.minimum(place.astype(jnp.int32), n_nodes - 1)]
    if loss.compares_times:
        # Both ends always take part, and the times in between make up a coarser grid.
        chosen = chosen.at[0].set(data.nodes[0]).at[-1].set(data.nodes[-1])
        tau = (data.conditions[0, chosen, 0] - data.conditions[0, chosen[0], 0]) / CONDITION_TIME_RATE
        half = jnp.diff(tau) / 2
        zero = jnp.zeros(1, dtype)
        return chosen, jnp.concatenate([zero, half]) + jnp.concatenate([half, zero])
    return chosen, data.weights[chosen] * (n_nodes / n_times)


def _draw_stretches(data: TrainingData, key: Key, n_times: int) -> tuple[Int[Array, " nodes"], Float[Array, " nodes"]]:
    """Stretches of neighbouring nodes, for means over independent samples that are differentiated.

    Summed by parts, the fluctuations of these means meet the rate of change of w s along the nodes, where w are the
    weights; of nodes that do not look at one another they meet w s itself, over the distance of the nodes. So the
    weights rise and fall along each stretch instead of jumping at its ends. The stretches begin at equal distances on
    the circle of nodes, turned at random, so that every node is expected to weigh what it does among all.
    """
    n_nodes, dtype = len(data.nodes), data.weights.dtype
    n_stretches = max(1, n_times // _STRETCH)
    ordinals = np.array_split(np.arange(n_times), n_stretches)
    arches = [np.sin(np.pi * (np.arange(len(part)) + 0.5) / len(part)) for part in ordinals]
    factors = np.concatenate([len(arch) * arch / arch.sum() for arch in arches]) * (n_nodes / n_times)
    # Every start by itself is uniform over the nodes; those of all are as far apart as whole numbers allow.
    ahead = np.concatenate([i * n_nodes // n_stretches + part - part[0] for i, part in enumerate(ordinals)])
    places = jax.random.randint(key, (), 0, n_nodes, jnp.int32) + ahead.astype(np.int32)
    chosen = data.nodes[places % n_nodes]
    return chosen, data.weights[chosen] * jnp.asarray(factors, dtype)


def draw_probes(
    loss: AbstractLoss, points: Float[Array, "T n D"], key: Key, share: Share | None = None
) -> Float[Array, "T n K D"] | None:
    """Random signs (Rademacher), whose estimate of a Laplacian has the least variance; None where it is exact."""
    n_times, n, n_dims = points.shape
    n_probes = loss.n_probes(n_dims)
    if not n_probes:
        return None
    if share is None:
        return jax.random.rademacher(key, (n_times, n, n_probes, n_dims), points.dtype)
    of_all = jax.random.rademacher(key, (n_times, n * share.n_parts, n_probes, n_dims), points.dtype)
    return jax.lax.dynamic_slice_in_dim(of_all, share.number * n, n, axis=1)


def judging_batch(loss: AbstractLoss, data: TrainingData, subset: Int[Array, ""]) -> Batch:
    """All runs of `data`, the same samples every time: one and the same stratified subset at every node and end."""
    n_runs = len(data.points)
    blocks = jnp.full((n_runs, len(data.nodes) if data.bands is None else data.points.shape[1]), subset, jnp.int32)
    if data.moments is not None:
        blocks = jnp.stack([blocks, (blocks + 1) % data.points.shape[2]], axis=-1)
    # There may be fewer subsets at the ends, where they are larger.
    ends = jnp.full((n_runs, 2), subset % data.end_points.shape[2], jnp.int32)
    weights = data.weights[data.nodes]
    return _batch(loss, data, jnp.arange(n_runs), data.nodes, weights, blocks, ends, jax.random.key(0))
