"""Units of positions, times and velocities: those of MDAnalysis, or of a LAMMPS dump in its `units` style."""

from __future__ import annotations

from typing import Literal, NamedTuple

Style = Literal["lj", "real", "metal", "si", "cgs", "electron", "micro", "nano"]


class Units(NamedTuple):
    """What numbers are in.

    Attributes:
        length: of positions and boxes.
        time: of times.
    """

    length: str
    time: str

    @property
    def velocity(self) -> str:
        """Of velocities."""
        return "1" if self.length == "1" else f"{self.length} {self.time}-1"


# MDAnalysis brings what formats declare to these.
OWN = Units("angstrom", "ps")
# https://docs.lammps.org/units.html
LAMMPS: dict[Style, Units] = {
    "lj": Units("1", "1"),
    "real": Units("angstrom", "fs"),
    "metal": Units("angstrom", "ps"),
    "si": Units("m", "s"),
    "cgs": Units("cm", "s"),
    "electron": Units("bohr", "fs"),
    "micro": Units("um", "us"),
    "nano": Units("nm", "ns"),
}
