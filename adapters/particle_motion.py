"""Velocities and momenta of single particles, of files that hold either."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

_LIGHT = 299_792_458.0


@runtime_checkable
class Records(Protocol):
    """Records of single particles of a species."""

    def momentum_axes(self) -> list[str]:
        """Of the momenta."""
        ...

    def per_particle(self, record: str, axis: str | None, rows: slice) -> Float[np.ndarray, " n"]:
        """A record in SI units."""
        ...


class Momenta:
    """Momenta of single particles and what follows of them, of all axes at a time."""

    def __init__(self, species: Records) -> None:
        self._species = species
        self._rows, self._kept = slice(0, 0), np.empty((0, 0))

    def of(self, rows: slice) -> Float[np.ndarray, "n axis"]:
        """Momenta in kg m/s; the piece is kept, since it is asked for axis by axis."""
        if rows != self._rows:
            columns = [self._species.per_particle("momentum", axis, rows) for axis in self._species.momentum_axes()]
            self._rows, self._kept = rows, np.stack(columns, axis=-1)
        return self._kept

    def velocities(self, rows: slice) -> Float[np.ndarray, "n axis"]:
        """dx/dt = p / sqrt(m^2 + p^2 / c^2), in m/s."""
        over_light = self.of(rows) / _LIGHT
        mass = self._species.per_particle("mass", None, rows)
        # Of the order of one, since squares of SI momenta underflow in single precision and come close in double.
        unit = float(max(np.abs(over_light).max(initial=0.0), np.abs(mass).max(initial=0.0))) or 1.0
        q, m = over_light / unit, mass / unit
        with np.errstate(invalid="ignore"):
            return _LIGHT * q / np.sqrt(m**2 + np.sum(q**2, axis=-1))[:, None]


class Motion:
    """One axis of momenta or velocities."""

    def __init__(self, momenta: Momenta, axis: int, n: int, *, velocity: bool) -> None:
        self._momenta, self._axis, self._velocity, self.shape = momenta, axis, velocity, (n,)

    def __getitem__(self, rows: slice, /) -> Float[np.ndarray, " n"]:
        found = self._momenta.velocities(rows) if self._velocity else self._momenta.of(rows)
        return found[:, self._axis]


def units_of_motion(axes: Sequence[str], motion: str) -> dict[str, str]:
    """CF units of the variables that a choice of motion gives."""
    if motion == "velocity":
        return {f"v{axis}": "m s-1" for axis in axes}
    return {f"p{axis}": "kg m s-1" for axis in axes} if motion == "momentum" else {}
