"""A distribution f(x, v) on a grid: its advection along both axes, its moments, and the way to samples and back."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from hoam_plugin._types import DTypeLike, Scalar
from hoam_plugin.numerics import tabulation
from hoam_plugin.steppers import default_float

from .spectral_shift import Interpolation, refined, shifted

# Samples read a field from a finer grid, where linear interpolation is exact enough: of a wave of n cells it leaves a
# relative error of (2 pi / (16 n))^2 / 8.
_REFINEMENT = 16


class PhaseSpaceGrid(NamedTuple):
    """Nodes x_i = i length / n_x and v_j = low + j (high - low) / n_v, periodic along both axes.

    The distribution is to vanish at the ends of the velocity range, so that its period has no effect.
    """

    length: float
    n_x: int
    n_v: int
    low: float
    high: float

    @property
    def dv(self) -> float:
        """Distance of nodes in v."""
        return (self.high - self.low) / self.n_v

    def positions(self, dtype: DTypeLike | None = None) -> Float[Array, " n_x"]:
        """Nodes in x."""
        return jnp.arange(self.n_x, dtype=dtype or default_float()) * (self.length / self.n_x)

    def velocities(self, dtype: DTypeLike | None = None) -> Float[Array, " n_v"]:
        """Nodes in v."""
        return self.low + jnp.arange(self.n_v, dtype=dtype or default_float()) * self.dv

    def kicked(
        self, f: Float[Array, "n_x n_v"], acceleration: Float[Array, " n_x"], dt: Scalar, kind: Interpolation
    ) -> Float[Array, "n_x n_v"]:
        """The distribution after a kick, f(x, v - a(x) dt)."""
        return shifted(f, (acceleration * dt)[:, None] * (1 / self.dv), kind)

    def drifted(self, f: Float[Array, "n_x n_v"], dt: Scalar, kind: Interpolation) -> Float[Array, "n_x n_v"]:
        """The distribution after free flight, f(x - v dt, v)."""
        cells = self.velocities(f.dtype)[:, None] * (dt * (self.n_x / self.length))
        return shifted(f.T, cells, kind).T

    def density(self, f: Float[Array, "n_x n_v"]) -> Float[Array, " n_x"]:
        """Number density at the nodes in x."""
        return jnp.sum(f, axis=1) * self.dv

    def mean(self, f: Float[Array, "n_x n_v"], power: int = 0) -> Float[Array, ""]:
        """1/L times the integral of v^power f."""
        return jnp.sum(self.velocities(f.dtype) ** power * jnp.mean(f, axis=0)) * self.dv

    def deposited(self, x: Float[Array, " sample"], v: Float[Array, " sample"]) -> Float[Array, "n_x n_v"]:
        """The distribution of samples at positions in [0, length), by bilinear weights, of mean density 1."""
        f = jnp.zeros((self.n_x, self.n_v), x.dtype)
        corners = []
        for place, n in ((x * (self.n_x / self.length), self.n_x), ((v - self.low) * (1 / self.dv), self.n_v)):
            whole = jnp.floor(place)
            part = place - whole
            corners.append([((whole.astype(jnp.int32) + m) % n, part if m else 1 - part) for m in (0, 1)])
        for row, row_weight in corners[0]:
            for column, column_weight in corners[1]:
                f = f.at[row, column].add(row_weight * column_weight)
        return f * (self.n_x / (len(x) * self.dv))


def at_positions(values: Float[Array, " n_x"], x: Float[Array, " sample"], length: float) -> Float[Array, " sample"]:
    """A smooth periodic function, given at its nodes, at positions."""
    fine = refined(values, _REFINEMENT * values.shape[0])
    table = jnp.append(fine, fine[0])[:, None]
    return tabulation.linear(table, x, 0.0, length, periodic=True)[:, 0]
