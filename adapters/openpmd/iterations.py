"""The iterations of a series, and the particles of a species in one of them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from hoam_plugin.importing import Column

from ..foreign_files import naming
from ..particle_motion import Momenta, Motion
from .columns import REMEDY, Component, Ids, Position
from .series import file_of

if TYPE_CHECKING:
    import openpmd_api

# Powers of m, kg, s, A, K, mol, cd.
_LENGTH, _MASS, _MOMENTUM = (1, 0, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0, 0), (1, 1, -1, 0, 0, 0, 0)


class Wanted(NamedTuple):
    """What is read of an iteration."""

    species: str
    axes: tuple[str, ...]
    motion: str
    equal_weights: bool


class Series:
    """The iterations of one run."""

    def __init__(self, api: ModuleType, name: str) -> None:
        self.name = name
        self._open: set[int] = set()
        with naming(name, "give a complete openPMD series"):
            # A file is read when its iteration is. Columns of different lengths are told of by their snapshot; here
            # they would make the species disappear.
            self._series: openpmd_api.Series = api.Series(
                name,
                api.Access.read_only,
                '{"defer_iteration_parsing": true, "verify_homogeneous_extents": false}',
            )
            self.iterations = sorted(int(number) for number in self._series.iterations)
        if not self.iterations:
            raise ValueError(f"{name} holds no iterations; give a complete openPMD series")

    def where(self, iteration: int) -> str:
        """What an iteration is called in errors."""
        return f"{file_of(self.name, iteration)}, iteration {iteration}"

    def iteration(self, number: int) -> openpmd_api.Iteration:
        """One of them, opened."""
        with naming(self.where(number), REMEDY):
            opened = self._series.iterations[number].open()
        self._open.add(number)
        return opened

    def close(self, number: int) -> None:
        """Let go of its file, if it was opened."""
        if number in self._open:
            self._series.iterations[number].close()
            self._open.discard(number)

    def species(self, number: int, name: str) -> Species:
        """The particles of a species in an iteration.

        Raises:
            ValueError: there are none, or they lack a record.
        """
        iteration, where = self.iteration(number), self.where(number)
        known = [str(one) for one in iteration.particles]
        if name not in known:
            has = f"has the species {', '.join(known)}" if known else "has no particles"
            raise ValueError(f"{where} {has}, and species={name!r} is asked for; name one of them, or leave it out")
        with naming(where, REMEDY):
            return Species(self._series, iteration.particles[name], where)

    def snapshot(self, number: int, wanted: Wanted) -> dict[str, object]:
        """One iteration, as `from_snapshots` takes it."""
        own, iteration = self.species(number, wanted.species), self.iteration(number)
        if own.weights is None and not wanted.equal_weights:
            raise ValueError(
                f"{own.where} has no 'weighting' of the species {wanted.species!r}; write the weights as well, or pass "
                "equal_weights=True (--equal-weights) if all particles stand for as many"
            )
        with naming(own.where, REMEDY):
            columns: dict[str, object] = {axis: own.position(axis) for axis in wanted.axes}
            if wanted.motion != "none":
                columns |= own.motion(wanted.axes, velocity=wanted.motion == "velocity")
            time = float(iteration.time) * float(iteration.time_unit_SI)
        where = f"{own.where}, species {wanted.species!r}"
        weights = None if wanted.equal_weights else own.weights
        return {"time": time, "where": where, **columns, "weights": weights, "ids": own.ids}


class Species:
    """Particles of one species in one iteration."""

    def __init__(self, series: openpmd_api.Series, particles: openpmd_api.ParticleSpecies, where: str) -> None:
        self._series, self._particles, self.where = series, particles, where
        self._require("position", _LENGTH)
        self.axes = [str(axis) for axis in particles["position"]]
        self.weights: Component | None = None
        if "weighting" in particles:
            self.weights = self._component("weighting", None)
        self.ids = Ids(series, self._scalar("id"), where) if "id" in particles else None

    def momentum_axes(self) -> list[str]:
        """Of the momenta, which one- and two-dimensional runs have three of as well."""
        self._require("momentum", _MOMENTUM)
        return [str(axis) for axis in self._particles["momentum"]]

    def position(self, axis: str) -> Column:
        """One coordinate."""
        offset = None
        if "positionOffset" in self._particles and axis in self._particles["positionOffset"]:
            offset = self._component("positionOffset", axis)
        return Position(self._component("position", axis), offset)

    def motion(self, axes: Sequence[str], *, velocity: bool) -> dict[str, Motion]:
        """Velocities or momenta along axes."""
        momenta, known = Momenta(self), self.momentum_axes()
        if velocity:
            self._require("mass", _MASS)
        n = self._component("position", self.axes[0]).shape[0]
        letter = "v" if velocity else "p"
        return {f"{letter}{axis}": Motion(momenta, known.index(axis), n, velocity=velocity) for axis in axes}

    def per_particle(self, record: str, axis: str | None, rows: slice) -> Float[np.ndarray, " n"]:
        """A record of single particles in SI units, where the file may hold that of all that one stands for."""
        values = self._component(record, axis)[rows].astype(np.float64)
        kept = self._particles[record]
        power = float(kept.get_attribute("weightingPower")) if "weightingPower" in kept.attributes else 0.0
        macro = bool(kept.get_attribute("macroWeighted")) if "macroWeighted" in kept.attributes else False
        if not (macro and power):
            return values
        if self.weights is None:
            raise ValueError(
                f"{self.where} has no 'weighting', by which its {record!r} of macroparticles would be divided; write "
                "the weights as well"
            )
        return values / self.weights[rows].astype(np.float64) ** power

    def _component(self, record: str, axis: str | None) -> Component:
        own = self._particles[record]
        return Component(self._series, self._scalar(record) if axis is None else own[axis], self.where)

    def _scalar(self, record: str) -> openpmd_api.Record_Component:
        own = self._particles[record]
        return own[self._key] if self._key in own else own  # noqa: SIM401  a record that is its only component

    @functools.cached_property
    def _key(self) -> str:
        import openpmd_api

        return str(openpmd_api.Record_Component.SCALAR)

    def _require(self, record: str, dimension: tuple[int, ...]) -> None:
        if record not in self._particles:
            raise ValueError(
                f"{self.where} has no record {record!r} of the species, only {', '.join(map(str, self._particles))}; "
                "write it as well, or take a file that has it"
            )
        said = tuple(int(power) for power in self._particles[record].unit_dimension)
        if any(said) and said != dimension:
            raise ValueError(
                f"{self.where} has {record!r} with the unitDimension {said}, and it must be {dimension} (powers of m, "
                "kg, s, A, K, mol, cd); correct the file's attributes"
            )
