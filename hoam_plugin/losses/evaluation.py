"""Losses by name, and what training asks of them: their value and gradient over a minibatch."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin.losses.action_matching import ActionMatching as ActionMatching
from hoam_plugin.losses.action_matching import Samples as Samples
from hoam_plugin.losses.action_matching import end_terms, interior_terms
from hoam_plugin.losses.batch import Batch, Nodes, accumulated, accumulated_value
from hoam_plugin.losses.dice import DICE as DICE
from hoam_plugin.losses.dice import pair_terms
from hoam_plugin.losses.velocity_matching import TrajectoryMatching as TrajectoryMatching
from hoam_plugin.losses.velocity_matching import VelocityMatching as VelocityMatching
from hoam_plugin.losses.velocity_matching import squared_error
from hoam_plugin.potentials import Embedding, Weights

LOSSES = {kind.__name__: kind for kind in (ActionMatching, DICE, VelocityMatching, TrajectoryMatching)}
Loss = ActionMatching | DICE | VelocityMatching


def description(loss: Loss) -> dict[str, Any]:
    """Kind and settings of a loss, for the record."""
    fields = {field.name: getattr(loss, field.name) for field in dataclasses.fields(loss)}
    if "quadrature" in fields:
        fields["quadrature"] = str(fields["quadrature"] or "ensemble")
    return {"kind": type(loss).__name__, **fields}


def loss_and_gradient(
    loss: Loss, potential: Any, embedding: Embedding, weights: Weights, batch: Batch
) -> tuple[Float[Array, ""], Float[Array, ""], Weights]:
    """A loss, its quadratic part and its gradient with respect to the weights."""
    interior, boundary = _terms(loss, potential, embedding, batch)
    return accumulated(interior, boundary, weights, batch, _row_bytes(loss, potential, embedding, batch))


def loss_value(loss: Loss, potential: Any, embedding: Embedding, weights: Weights, batch: Batch) -> Float[Array, ""]:
    """The loss alone."""
    interior, boundary = _terms(loss, potential, embedding, batch)
    return accumulated_value(interior, boundary, weights, batch, _row_bytes(loss, potential, embedding, batch))


def _terms(loss: Loss, potential: Any, embedding: Embedding, batch: Batch) -> tuple[Any, Any]:
    """The part of a chunk of nodes, and what is not a sum over nodes."""

    def nothing(weights: Weights) -> Any:
        return jnp.zeros((), batch.points.dtype)

    def boundary(weights: Weights) -> Any:
        return end_terms(potential, embedding, weights, batch)

    def action(weights: Weights, nodes: Nodes) -> Any:
        return interior_terms(potential, embedding, weights, nodes, batch.reference, loss.noise)

    def pairs(weights: Weights, nodes: Nodes) -> Any:
        return pair_terms(potential, embedding, weights, nodes, loss.noise)

    def error(weights: Weights, nodes: Nodes) -> Any:
        return squared_error(potential, embedding, weights, nodes)

    if isinstance(loss, ActionMatching):
        return action, boundary
    return (pairs if isinstance(loss, DICE) else error), nothing


def _row_bytes(loss: Loss, potential: Any, embedding: Embedding, batch: Batch) -> int:
    """Size of all streams of one layer for one sample."""
    n_derivatives = len(embedding.gradient_coordinates) if batch.probes is None else batch.probes.shape[2] + 1
    return batch.points.dtype.itemsize * potential.width * (2 + n_derivatives + (loss.noise > 0))
