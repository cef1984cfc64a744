"""How a normalised sample enters a network: periodic coordinates as (cos, sin), with exact derivatives alongside."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Features of a point z in R^D: cos(k w z), sin(k w z) for periodic coordinates (k = 1..harmonics), z for others.

    Attributes:
        periods: per coordinate its period in normalised units, or None.
        harmonics: number of harmonics of each periodic coordinate.
    """

    periods: tuple[float | None, ...]
    harmonics: int = 1

    @property
    def n_features(self) -> int:
        """Number of features."""
        return sum(1 if period is None else 2 * self.harmonics for period in self.periods)

    def features(self, z: Float[Array, "... D"]) -> Float[Array, "... F"]:
        """The features alone."""
        columns = []
        for d, period in enumerate(self.periods):
            coordinate = z[..., d : d + 1]
            if period is None:
                columns.append(coordinate)
            else:
                angle = coordinate * self._frequencies(period, z)
                columns += [jnp.cos(angle), jnp.sin(angle)]
        return jnp.concatenate(columns, axis=-1)

    def streams(self, z: Float[Array, "... D"], *, laplacian: bool) -> Float[Array, "S ... F"]:
        """Features and their derivatives, stacked: value, D partial derivatives, (Laplacian,) time derivative (0)."""
        n_dims = len(self.periods)
        value, slopes, bends, owners = [], [], [], []
        for d, period in enumerate(self.periods):
            coordinate = z[..., d : d + 1]
            if period is None:
                value.append(coordinate)
                slopes.append(jnp.ones_like(coordinate))
                bends.append(jnp.zeros_like(coordinate))
                owners.append(d)
            else:
                frequency = self._frequencies(period, z)
                cos, sin = jnp.cos(coordinate * frequency), jnp.sin(coordinate * frequency)
                value += [cos, sin]
                slopes += [-frequency * sin, frequency * cos]
                bends += [-(frequency**2) * cos, -(frequency**2) * sin]
                owners += [d] * (2 * self.harmonics)
        slope = jnp.concatenate(slopes, axis=-1)
        # Each feature depends on one coordinate: its gradient has one entry, its Laplacian is one second derivative.
        owner = np.asarray(owners)
        gradients = [slope * self._row(owner == d, z) for d in range(n_dims)]
        rows = [jnp.concatenate(value, axis=-1), *gradients]
        if laplacian:
            rows.append(jnp.concatenate(bends, axis=-1))
        rows.append(jnp.zeros_like(slope))
        return jnp.stack(rows)

    def _frequencies(self, period: float, z: Float[Array, "... D"]) -> Float[Array, "... harmonics"]:
        return self._row(2 * np.pi / period * np.arange(1, self.harmonics + 1), z)

    @staticmethod
    def _row(values: np.ndarray, z: Float[Array, "... D"]) -> Float[Array, "... F"]:
        return jnp.asarray(values, z.dtype).reshape((1,) * (z.ndim - 1) + (-1,))
