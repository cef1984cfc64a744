"""Time in normalised units: as a fraction of the horizon, or as the clock of the population reads it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Array, Float

from hoam_plugin.dynamics.population_clock import PopulationClock


class NormalisedTime:
    """What a normalisation does with time: `tau` is normalised, `elapsed` the physical time since the horizon's start.

    Attributes:
        horizon: the time range that becomes [0, 1].
        clock: of the population; None for one that goes evenly with time.
    """

    horizon: tuple[float, float]
    clock: PopulationClock | None

    @property
    def duration(self) -> float:
        """Length of the horizon, physical units."""
        return self.horizon[1] - self.horizon[0]

    def tau(self, elapsed: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Normalised times."""
        fraction = elapsed / self.duration
        return fraction if self.clock is None else self.clock.tau(fraction)

    def elapsed(self, tau: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Physical times since the start of the horizon: the inverse of `tau`."""
        return self.duration * (tau if self.clock is None else self.clock.fraction(tau))

    def time_unit(
        self, elapsed: Float[Array, "*shape"], dt: Float[Array, "*shape"] | None = None
    ) -> float | Float[Array, "*shape"]:
        """How long a unit of normalised time is in physical units, d t / d tau; without a clock, the duration.

        Args:
            elapsed: when, time since the start of the horizon.
            dt: over steps of this size that begin then: dt / time_unit is exactly by how much tau grows.
        """
        if self.clock is None:
            return self.duration
        fraction = elapsed / self.duration
        rate = self.clock.rate(fraction) if dt is None else self.clock.mean_rate(fraction, dt / self.duration)
        return self.duration / rate

    def tau_on_host(self, times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """Normalised times of physical ones (not elapsed), in double precision."""
        fraction = (np.asarray(times, np.float64) - self.horizon[0]) / self.duration
        return fraction if self.clock is None else self.clock.tau_on_host(fraction)

    def elapsed_on_host(self, tau: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
        """`elapsed`, in double precision."""
        return self.duration * (tau if self.clock is None else self.clock.fraction_on_host(tau))

    def time_unit_on_host(self, times: Float[np.ndarray, " T"]) -> float | Float[np.ndarray, " T"]:
        """`time_unit` at physical times (not elapsed), in double precision."""
        if self.clock is None:
            return self.duration
        fraction = (np.asarray(times, np.float64) - self.horizon[0]) / self.duration
        return self.duration / self.clock.rate_on_host(fraction)
