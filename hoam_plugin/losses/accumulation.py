"""A loss and its gradient, summed over chunks of a batch that fit the cache."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.losses.batch import Batch, Nodes, if_there
from hoam_plugin.potentials import Weights

# Streams of one layer, over the rows of one chunk: a quarter of a core's cache, as the backward pass needs several
# layers at once. Fewer rows than the least make small matrix products slow. Accelerators want large products.
_CHUNK_BYTES = {"cpu": 1 << 18}
_CHUNK_BYTES_ELSEWHERE = 1 << 27
_LEAST_ROWS = 128

# (weights, chunk) -> the chunk's part of the loss, and of its quadratic part.
Value = Float[Array, ""]
Interior = Callable[[Weights, Nodes], tuple[Value, Value]]
Boundary = Callable[[Weights], Value]
# A loss, its quadratic part and its gradient.
Sums = tuple[Value, Value, Weights]


def accumulated(interior: Interior, boundary: Boundary, weights: Weights, batch: Batch, row_bytes: int) -> Sums:
    """A loss, its quadratic part and its gradient with respect to the weights.

    The gradient is accumulated over chunks whose activations fit the cache, which halves the time per iteration against
    one large pass.

    Args:
        interior: the part of a chunk of nodes.
        boundary: what is not a sum over nodes.
        weights: of the potential.
        batch: samples.
        row_bytes: size of all streams of one layer for one sample.
    """

    def accumulate(carry: Sums, chunk: Nodes) -> tuple[Sums, None]:
        loss, quadratic, gradient = carry
        (value, quadratic_part), part = jax.value_and_grad(interior, has_aux=True)(weights, chunk)
        return (loss + value, quadratic + quadratic_part, jax.tree.map(jnp.add, gradient, part)), None

    value, gradient = jax.value_and_grad(boundary)(weights)
    carry = (value, jnp.zeros_like(value), gradient)
    (loss, quadratic, gradient), _ = jax.lax.scan(accumulate, carry, chunks(batch, row_bytes))
    return loss, quadratic, gradient


def accumulated_value(interior: Interior, boundary: Boundary, weights: Weights, batch: Batch, row_bytes: int) -> Value:
    """The loss of `accumulated` alone."""

    def add(total: Value, chunk: Nodes) -> tuple[Value, None]:
        return total + interior(weights, chunk)[0], None

    return jax.lax.scan(add, boundary(weights), chunks(batch, row_bytes))[0]


def chunks(batch: Batch, row_bytes: int) -> Nodes:
    """The interior of a batch with a leading axis of chunks."""
    n_times, n, _ = batch.points.shape
    times, samples = chunk_shape(n_times, n, row_bytes)
    if batch.moments is not None and samples < n:
        # A residual of moments is no sum over samples.
        times, samples = 1, n
    parts = n // samples

    def cut(values: Array) -> Array:
        return values.reshape((n_times * parts // times, times, samples, *values.shape[2:]))

    def repeated(values: Array) -> Array:
        return jnp.repeat(values, parts, axis=0).reshape(n_times * parts // times, times, *values.shape[1:])

    return Nodes(
        points=cut(batch.points),
        conditions=repeated(batch.conditions),
        weights=repeated(batch.weights / parts),
        probes=if_there(cut, batch.probes),
        drift=if_there(cut, batch.drift),
        targets=if_there(cut, batch.targets),
        neighbours=if_there(cut, batch.neighbours),
        neighbour_multiplicity=if_there(cut, batch.neighbour_multiplicity),
        coefficients=if_there(repeated, batch.coefficients),
        multiplicity=if_there(cut, batch.multiplicity),
        flux=if_there(cut, batch.flux),
        shares=None if batch.shares is None else repeated(batch.shares / parts),
        moments=None if batch.moments is None else jax.tree.map(repeated, batch.moments),
    )


def chunk_shape(n_times: int, n_samples: int, row_bytes: int) -> tuple[int, int]:
    """Times and samples of one chunk: whole times, or an equal part of the samples of one.

    Args:
        n_times: quadrature nodes of an iteration.
        n_samples: samples at each of them.
        row_bytes: size of all streams of one layer for one sample.

    Returns:
        (times, samples), divisors whose product is as near as can be (in proportion) to the number of rows whose
        streams fill a quarter of a core's cache, but at least to 128.
    """
    chunk_bytes = _CHUNK_BYTES.get(jax.default_backend(), _CHUNK_BYTES_ELSEWHERE)
    wanted = max(_LEAST_ROWS, chunk_bytes // row_bytes)
    shapes = [(times, n_samples) for times in range(1, n_times + 1) if n_times % times == 0]
    shapes += [(1, samples) for samples in range(1, n_samples) if n_samples % samples == 0]
    return min(shapes, key=lambda shape: abs(math.log(shape[0] * shape[1] / wanted)))
