"""A potential of few coordinates as a tensor product of cubic B-splines, which is solved for instead of trained."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hoam_plugin._internal.checks import positive_float, positive_int
from hoam_plugin._types import Key
from hoam_plugin.numerics.uniform_splines import LEAST_AROUND, TAPS, Axis, Taps, columns, taps
from hoam_plugin.potentials.coefficients import coefficients_at, no_coefficients
from hoam_plugin.potentials.embedding import Embedding
from hoam_plugin.potentials.interface import ScalarPotential, Weights
from hoam_plugin.potentials.streams import Streams

# Beyond these, neither the splines nor the densities of samples on their grid are few.
MOST_DIMS = 2


class _Moved(NamedTuple):
    """How a coordinate changes.

    Attributes:
        gradient: along each direction.
        rate: with time.
    """

    gradient: Float[Array, "K N"]
    rate: Float[Array, " N"]


@dataclasses.dataclass(frozen=True)
class SplinePotential(ScalarPotential):
    """s(x, t, mu) = sum_k c_k(t, mu) B_k(x) with cubic B-splines B_k in one or two coordinates.

    The coefficients are cubic splines in normalised time, and between the runs interpolated as `RunWeights` does. As s
    is linear in them, `fit` needs no descent: the minimiser of action matching at one time is the solution of one
    linear system, and one after the other they make a march in time, in which each corrects what those before have left
    (see `hoam_plugin.training.marching`).

    Attributes:
        n_splines: along each coordinate; None takes 24 around a period, else 64.
        n_steps: of the march in time, at most one from each saved time to the next.
        smoothness: factor of int |hess s|^2 dz / volume beside E|grad s|^2 in normalised units: keeps the potential
            smooth where few samples say what it is. None chooses by held-out samples.
        axes: where the splines lie, in normalised units, as fields of `Axis`: `fit` finds it.
        period_weight: what motion along periods counts in the energy E|grad s|^2 beside motion along other coordinates,
            where a weight of 1 counts both in standard deviations (of a period, as if samples filled it). It says which
            of all velocities is chosen that take one population to the next: with 4, fewer samples are moved around the
            period (of a plasma, along x) and more across it (along v).

    Example:
        >>> hoam.SplinePotential(n_splines=32).n_splines
        32
    """

    n_splines: int | tuple[int, ...] | None = None
    n_steps: int = 96
    smoothness: float | None = None
    axes: tuple[tuple[float, float, int, bool], ...] | None = None
    period_weight: float = 4.0

    def __post_init__(self) -> None:
        if self.n_splines is not None:
            given = self.n_splines if isinstance(self.n_splines, tuple) else (self.n_splines,)
            numbers = tuple(positive_int("n_splines", n, LEAST_AROUND) for n in given)
            object.__setattr__(self, "n_splines", numbers if isinstance(self.n_splines, tuple) else numbers[0])
        positive_int("n_steps", self.n_steps)
        if self.smoothness is not None:
            positive_float("smoothness", self.smoothness)
        positive_float("period_weight", self.period_weight)
        if self.axes is not None:
            object.__setattr__(self, "axes", tuple(Axis(*axis) for axis in self.axes))

    @property
    def width(self) -> int:
        """Splines that take part at a sample, which is what its cost goes with."""
        return TAPS**MOST_DIMS

    @property
    def depth(self) -> int:
        """There is one layer."""
        return 1

    @property
    def harmonics(self) -> int:
        """Of periodic coordinates in the embedding, from which the coordinate itself is found again."""
        return 1

    @property
    def placed(self) -> tuple[Axis, ...]:
        """Where the splines lie.

        Raises:
            ValueError: nothing has placed them yet.
        """
        if self.axes is None:
            raise ValueError("axes=None: the splines of this potential have no place yet, which fit finds")
        return tuple(Axis(*axis) for axis in self.axes)

    def init(self, key: Key, n_features: int, n_conditions: int) -> Weights:
        """Coefficients of zero, of one run."""
        return no_coefficients(math.prod(axis.n for axis in self.placed), n_conditions)

    def modulations(self, weights: Weights, conditions: Float[Array, "T C"]) -> Float[Array, "T k"]:
        """The coefficients c_k(t, mu) for every row of conditions (time and parameters, normalised)."""
        return coefficients_at(weights, conditions)

    def propagate(
        self, weights: Weights, streams: Streams, modulations: Float[Array, "T k"], rates: Float[Array, "T k"]
    ) -> Streams:
        """The potential and its derivatives; see `Potential`."""
        axes = self.placed
        z, moved = self._coordinates(streams.value), [self._along(streams, d) for d in range(len(axes))]
        at = [taps(axis, column) for axis, column in zip(axes, z, strict=True)]
        local = self._local(modulations, at)
        first = [_contracted(local, at, [int(d == e) for e in range(len(axes))]) for d in range(len(axes))]
        gradient = sum(slope[None] * move.gradient for slope, move in zip(first, moved, strict=True))
        rate = _contracted(self._local(rates, at), at, [0] * len(axes))
        rate = rate + sum(slope * move.rate for slope, move in zip(first, moved, strict=True))
        laplacian = None
        if streams.laplacian is not None:
            # Along the given directions, in which the coordinates go linearly.
            laplacian = jnp.zeros_like(rate)
            for d, e in itertools.product(range(len(axes)), repeat=2):
                second = _contracted(local, at, [int(d == a) + int(e == a) for a in range(len(axes))])
                laplacian = laplacian + second * jnp.sum(moved[d].gradient * moved[e].gradient, axis=0)
        return Streams(_contracted(local, at, [0] * len(axes)), jnp.asarray(gradient), laplacian, rate)

    def value(
        self, weights: Weights, features: Float[Array, "n F"], modulation: Float[Array, " k"]
    ) -> Float[Array, " n"]:
        """The potential at many points of one time."""
        at = [taps(axis, column) for axis, column in zip(self.placed, self._coordinates(features), strict=True)]
        return _contracted(self._local(modulation[None], at), at, [0] * len(at))

    def drift_at_one_time(
        self, weights: Weights, embedding: Embedding, z: Float[Array, "n D"], modulation: Float[Array, " k"]
    ) -> Float[Array, "n Y"]:
        """From the coordinates themselves, spline by spline: no array has an axis for splines."""
        at = [columns(axis, z[:, d]) for d, axis in enumerate(self.placed)]
        places, sizes = jnp.zeros(len(z), jnp.int32), [axis.n for axis in self.placed]

        def gradient(d: int, place: Int[Array, " n"]) -> tuple[Float[Array, " n"], list[Float[Array, " n"]]]:
            """Value and slopes in the coordinates from number d on, of the splines at a place in those before."""
            if d == len(at):
                return modulation.at[place].get(mode="promise_in_bounds"), []
            value, slopes = jnp.zeros_like(z[:, 0]), [jnp.zeros_like(z[:, 0]) for _ in at[d:]]
            for which, own, slope in zip(at[d].which, at[d].value, at[d].slope, strict=True):
                inner, of_inner = gradient(d + 1, place * sizes[d] + which)
                value = value + own * inner
                parts = [slope * inner, *(own * one for one in of_inner)]
                slopes = [total + part for total, part in zip(slopes, parts, strict=True)]
            return value, slopes

        return jnp.stack(gradient(0, places)[1], axis=1)

    def _coordinates(self, features: Float[Array, "N F"]) -> list[Float[Array, " N"]]:
        """Those of the samples, again from their features."""
        columns, place = [], 0
        for axis in self.placed:
            if axis.periodic:
                angle = jnp.arctan2(features[:, place + 1], features[:, place])
                columns.append(angle * ((axis.high - axis.low) / (2 * np.pi)))
            else:
                columns.append(features[:, place])
            place += 1 + axis.periodic
        return columns

    def _along(self, streams: Streams, d: int) -> _Moved:
        """How one coordinate changes along the directions of the streams and with time."""
        place = sum(1 + axis.periodic for axis in self.placed[:d])
        axis = self.placed[d]
        if not axis.periodic:
            return _Moved(streams.gradient[..., place], streams.rate[..., place])
        length = (axis.high - axis.low) / (2 * np.pi)

        def turned(of: Float[Array, "... N F"]) -> Float[Array, "... N"]:
            cos, sin = (jnp.broadcast_to(streams.value[:, place + i], of.shape[:-1]) for i in range(2))
            return (cos * of[..., place + 1] - sin * of[..., place]) * length

        return _Moved(turned(streams.gradient), turned(streams.rate))

    def _local(self, coefficients: Float[Array, "T k"], at: Sequence[Taps]) -> Float[Array, "N ..."]:
        """The coefficients of the splines that do not vanish at each sample."""
        sizes = [axis.n for axis in self.placed]
        rows, n_times = at[0].which.shape[0], len(coefficients)
        place = jnp.asarray(0, jnp.int32)
        if n_times > 1:
            place = jnp.repeat(jnp.arange(n_times, dtype=jnp.int32), rows // n_times)
            place = place.reshape(-1, *[1] * len(sizes))
        for d, n in enumerate(sizes):
            shape = [rows, *(TAPS if e == d else 1 for e in range(len(sizes)))]
            place = place * n + at[d].which.reshape(shape)
        return coefficients.reshape(-1)[place]


def _contracted(local: Float[Array, "N ..."], at: Sequence[Taps], orders: Sequence[int]) -> Float[Array, " N"]:
    """Sum over the splines at every sample, differentiated so often in each coordinate; 0 beyond second derivatives."""
    for one, order in zip(reversed(at), reversed(orders), strict=True):
        factors = (one.value, one.slope, one.bend)[order]
        local = jnp.sum(local * factors.reshape(len(factors), *[1] * (local.ndim - 2), TAPS), axis=-1)
    return local
