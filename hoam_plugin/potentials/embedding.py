"""How a normalised sample enters a network: periodic coordinates as (cos, sin), with exact derivatives alongside."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.potentials.streams import Streams


@dataclasses.dataclass(frozen=True)
class Embedding:
    """Features of a point z in R^D: cos(k w z), sin(k w z) for periodic coordinates (k = 1..harmonics), z for others.

    Attributes:
        periods: per coordinate its period in normalised units, or None.
        harmonics: number of harmonics of each periodic coordinate.
        driven: the coordinates with respect to which gradients are taken, in order; None for all.
        unseen: coordinates without features.
    """

    periods: tuple[float | None, ...]
    harmonics: int = 1
    driven: tuple[int, ...] | None = None
    unseen: tuple[int, ...] = ()

    @property
    def n_features(self) -> int:
        """Number of features."""
        return len(self.owners)

    @property
    def owners(self) -> tuple[int, ...]:
        """The coordinate that each feature depends on."""
        counts = {d: 1 if period is None else 2 * self.harmonics for d, period in self._seen}
        return tuple(d for d, count in counts.items() for _ in range(count))

    @property
    def _seen(self) -> tuple[tuple[int, float | None], ...]:
        """The coordinates with features, and their periods."""
        return tuple((d, period) for d, period in enumerate(self.periods) if d not in self.unseen)

    @property
    def _plain(self) -> bool:
        """Whether the features are the coordinates: gradients through one after the other take longer than networks."""
        return not self.unseen and not any(self.periods)

    @property
    def gradient_coordinates(self) -> tuple[int, ...]:
        """The coordinates with respect to which gradients are taken."""
        return tuple(range(len(self.periods))) if self.driven is None else self.driven

    def features(self, z: Float[Array, "... D"]) -> Float[Array, "... F"]:
        """The features alone."""
        if self._plain:
            return z
        columns = []
        for d, period in self._seen:
            coordinate = z[..., d : d + 1]
            if period is None:
                columns.append(coordinate)
            else:
                angle = coordinate * self._frequencies(period, z)
                columns += [jnp.cos(angle), jnp.sin(angle)]
        return jnp.concatenate(columns, axis=-1)

    def streams(
        self,
        z: Float[Array, "N D"],
        *,
        laplacian: bool,
        probes: Float[Array, "N K D"] | None = None,
        drift: Float[Array, "N D"] | None = None,
    ) -> Streams:
        """Features and their derivatives; gradient and Laplacian in the driven coordinates.

        Args:
            z: one point per row.
            laplacian: whether the Laplacian is wanted.
            probes: K random directions for every point, independent with mean 0 and variance 1 in every coordinate:
                derivatives along them take the place of the D partial derivatives, and the Laplacian of any function of
                the features is then Hutchinson's unbiased estimate v^T H v. K = 0 leaves the derivatives out.
            drift: velocity of the points, so that the time derivative is the one along their path; None for points at
                rest, whose features do not change.
        """
        value, slopes, bends = [], [], []
        if self._plain:
            value, slopes, bends = [z], [jnp.ones_like(z)], [jnp.zeros_like(z)]
        for d, period in () if self._plain else self._seen:
            coordinate = z[:, d : d + 1]
            if period is None:
                value.append(coordinate)
                slopes.append(jnp.ones_like(coordinate))
                bends.append(jnp.zeros_like(coordinate))
            else:
                frequency = self._frequencies(period, z)
                cos, sin = jnp.cos(coordinate * frequency), jnp.sin(coordinate * frequency)
                value += [cos, sin]
                slopes += [-frequency * sin, frequency * cos]
                bends += [-(frequency**2) * cos, -(frequency**2) * sin]
        slope, bend = jnp.concatenate(slopes, axis=-1), jnp.concatenate(bends, axis=-1)
        # Each feature depends on one coordinate: its gradient has one entry, its Laplacian is one second derivative.
        owner = np.asarray(self.owners)
        if probes is None:
            along = np.asarray(self.gradient_coordinates)
            directions = jnp.asarray(along[:, None, None] == owner[None, None, :], z.dtype)
            if self.driven is not None:
                bend = bend * jnp.asarray(np.isin(owner, along), z.dtype)[None, :]
        else:
            n_probes = probes.shape[1]
            directions = probes.transpose(1, 0, 2)[:, :, owner] / max(n_probes, 1) ** 0.5
            bend = bend * jnp.sum(directions**2, axis=0)
        return Streams(
            value=jnp.concatenate(value, axis=-1),
            gradient=slope[None] * directions,
            laplacian=bend if laplacian else None,
            rate=jnp.zeros_like(slope) if drift is None else slope * drift[:, owner],
        )

    def slope_of_features(
        self, features: Float[Array, "N P"], chosen: np.ndarray, coordinate: int
    ) -> Float[Array, "N P"]:
        """Derivatives of some features (those at the indices `chosen`) in one coordinate, from the features alone."""
        n = self.n_features
        linear, constant = np.zeros((n, n)), np.zeros(n)
        at = np.flatnonzero(np.asarray(self.owners) == coordinate)
        period = self.periods[coordinate]
        if period is None:
            constant[at] = 1
        elif at.size:
            frequency = 2 * np.pi / period * np.arange(1, self.harmonics + 1)
            cos, sin = np.split(at, 2)
            linear[sin, cos], linear[cos, sin] = -frequency, frequency
        moved = features @ jnp.asarray(linear[np.ix_(chosen, chosen)], features.dtype)
        return moved + jnp.asarray(constant[chosen], features.dtype)[None, :]

    def _frequencies(self, period: float, z: Float[Array, "... D"]) -> Float[Array, "... harmonics"]:
        return self._row(2 * np.pi / period * np.arange(1, self.harmonics + 1), z)

    @staticmethod
    def _row(values: np.ndarray, z: Float[Array, "... D"]) -> Float[Array, "... F"]:
        return jnp.asarray(values, z.dtype).reshape((1,) * (z.ndim - 1) + (-1,))
