"""Particles in SDF files of EPOCH. Imported as `hoam_plugin.adapters.epoch`; needs no extra."""

from .reading import read

__all__ = ["read"]


def __dir__() -> list[str]:
    return __all__
