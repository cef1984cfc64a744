"""The value and the gradient of any loss over a batch."""

from __future__ import annotations

from jaxtyping import Array, Float

from hoam_plugin.losses.accumulation import Boundary, Interior, accumulated, accumulated_value
from hoam_plugin.losses.base import AbstractLoss
from hoam_plugin.losses.batch import Batch, Nodes
from hoam_plugin.potentials import Embedding, LearnedDrift, Weights


def loss_and_gradient(
    loss: AbstractLoss, potential: LearnedDrift, embedding: Embedding, weights: Weights, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""], Weights]:
    """A loss, its quadratic part and its gradient with respect to the weights."""
    interior, boundary = _terms(loss, potential, embedding, batch)
    return accumulated(interior, boundary, weights, batch, _row_bytes(loss, potential, embedding, batch))


def loss_value(
    loss: AbstractLoss, potential: LearnedDrift, embedding: Embedding, weights: Weights, batch: Batch
) -> Float[Array, ""]:
    """The loss alone."""
    interior, boundary = _terms(loss, potential, embedding, batch)
    return accumulated_value(interior, boundary, weights, batch, _row_bytes(loss, potential, embedding, batch))


def _terms(
    loss: AbstractLoss, potential: LearnedDrift, embedding: Embedding, batch: Batch
) -> tuple[Interior, Boundary]:
    """The part of a chunk of nodes, and what is not a sum over nodes."""

    def interior(weights: Weights, nodes: Nodes) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return loss.interior(potential, embedding, weights, nodes, batch.reference)

    def boundary(weights: Weights) -> Float[Array, ""]:
        return loss.boundary(potential, embedding, weights, batch)

    return interior, boundary


def _row_bytes(loss: AbstractLoss, potential: LearnedDrift, embedding: Embedding, batch: Batch) -> int:
    """Size of all streams of one layer for one sample, with the values at its neighbours."""
    n_derivatives = len(embedding.gradient_coordinates) if batch.probes is None else batch.probes.shape[2] + 1
    n_neighbours = 0 if batch.neighbours is None or loss.compares_times else batch.neighbours.shape[2]
    return batch.points.dtype.itemsize * potential.width * (2 + n_derivatives + (loss.noise > 0) + n_neighbours)
