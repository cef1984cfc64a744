"""Trajectories of molecular dynamics, in all formats of MDAnalysis. Imported as `hoam_plugin.adapters.mdanalysis`.

LAMMPS dumps, DCD, XTC, TRR, GSD, XYZ and others; needs the extra `mdanalysis`.
"""

from .reading import read

__all__ = ["read"]


def __dir__() -> list[str]:
    return __all__
