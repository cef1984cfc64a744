"""A function and its derivatives, carried through the layers of a network together."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Streams(NamedTuple):
    """A function of (x, t) at N rows with its derivatives, which are carried through a network together.

    Rows are the samples of one or more times, time after time. Plain matrices of rows are what XLA's CPU code is fast
    at: a leading axis of length 1 alone makes it three times slower.

    Attributes:
        value: the function.
        gradient: its D partial derivatives, or K directional ones scaled so that the sum of their squares and the
            Laplacian below are unbiased estimates (Hutchinson), or none (D = 0).
        laplacian: its Laplacian in x, or None where it is not wanted.
        rate: its time derivative.
    """

    value: Float[Array, "N ..."]
    gradient: Float[Array, "D N ..."]
    laplacian: Float[Array, "N ..."] | None
    rate: Float[Array, "N ..."]

    def map(self, function: Callable[[Array], Array]) -> Streams:
        """Apply a linear function of one array, the same for all rows and derivatives, to every stream."""
        return Streams(
            value=function(self.value),
            gradient=function(self.gradient),
            laplacian=None if self.laplacian is None else function(self.laplacian),
            rate=function(self.rate),
        )

    def plus(self, other: Streams) -> Streams:
        """The sum of two functions."""
        return jax.tree.map(jnp.add, self, other)


def per_row(values: Float[Array, "T ..."], streams: Streams) -> Float[Array, "N ..."]:
    """What belongs to each of T times, for each row of `streams`.

    Args:
        values: one entry per time, shape (T, ...).
        streams: what is passed through a network: N rows, n per time.

    Example:
        >>> from hoam_plugin.potentials import per_row
        >>> from hoam_plugin.potentials.streams import Streams
        >>> rows = jnp.zeros(6)
        >>> per_row(jnp.asarray([1.0, 2.0]), Streams(rows, rows[None], None, rows)).tolist()
        [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]
    """
    return jnp.repeat(values, len(streams.value) // len(values), axis=0)


def product(a: Float[Array, "... i"], b: Float[Array, "i j"]) -> Float[Array, "... j"]:
    """`a @ b` as one plain matrix product: with several leading axes, XLA's CPU code for the transpose is slower."""
    return (a.reshape(math.prod(a.shape[:-1]), a.shape[-1]) @ b).reshape(*a.shape[:-1], b.shape[1])


def scale_rows(stream: Float[Array, "... N w"], factors: Float[Array, "N w"]) -> Float[Array, "... N w"]:
    """Multiply every row (of every derivative) by its own factors."""
    return stream * jnp.broadcast_to(factors, stream.shape)


def swish(streams: Streams, bias: Float[Array, " w"]) -> Streams:
    """Swish of the value plus bias, and the chain rule for its derivatives."""
    value = streams.value + bias[None, :]
    p = jax.nn.sigmoid(value)
    slope = p + value * p * (1 - p)
    laplacian = streams.laplacian
    if laplacian is not None:
        bend = p * (1 - p) * (2 + value * (1 - 2 * p))
        laplacian = laplacian * slope + bend * jnp.sum(streams.gradient**2, axis=0)
    return Streams(value * p, streams.gradient * slope[None], laplacian, streams.rate * slope)
