"""How a normalised sample enters a network: periodic coordinates as (cos, sin), with exact derivatives alongside."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.potential_interface import Streams


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

    def streams(
        self, z: Float[Array, "N D"], *, laplacian: bool, probes: Float[Array, "N K D"] | None = None
    ) -> Streams:
        """Features and their derivatives; the time derivative is 0.

        Args:
            z: one point per row.
            laplacian: whether the Laplacian is wanted.
            probes: K random directions for every point, independent with mean 0 and variance 1 in every coordinate:
                derivatives along them take the place of the D partial derivatives, and the Laplacian of any function of
                the features is then Hutchinson's unbiased estimate v^T H v. K = 0 leaves the derivatives out.
        """
        value, slopes, bends, owners = [], [], [], []
        for d, period in enumerate(self.periods):
            coordinate = z[:, d : d + 1]
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
        slope, bend = jnp.concatenate(slopes, axis=-1), jnp.concatenate(bends, axis=-1)
        # Each feature depends on one coordinate: its gradient has one entry, its Laplacian is one second derivative.
        owner = np.asarray(owners)
        if probes is None:
            directions = jnp.asarray(np.arange(len(self.periods))[:, None, None] == owner[None, None, :], z.dtype)
        else:
            n_probes = probes.shape[1]
            directions = probes.transpose(1, 0, 2)[:, :, owner] / max(n_probes, 1) ** 0.5
            bend = bend * jnp.sum(directions**2, axis=0)
        return Streams(
            value=jnp.concatenate(value, axis=-1),
            gradient=slope[None] * directions,
            laplacian=bend if laplacian else None,
            rate=jnp.zeros_like(slope),
        )

    def _frequencies(self, period: float, z: Float[Array, "... D"]) -> Float[Array, "... harmonics"]:
        return self._row(2 * np.pi / period * np.arange(1, self.harmonics + 1), z)

    @staticmethod
    def _row(values: np.ndarray, z: Float[Array, "... D"]) -> Float[Array, "... F"]:
        return jnp.asarray(values, z.dtype).reshape((1,) * (z.ndim - 1) + (-1,))
