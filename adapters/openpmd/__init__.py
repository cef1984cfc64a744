"""Particles in openPMD series, as WarpX, PIConGPU and FBPIC write them. Imported as `hoam_plugin.adapters.openpmd`.

Needs the extra `openpmd` (openpmd-api).
"""

from .reading import read

__all__ = ["read"]


def __dir__() -> list[str]:
    return __all__
