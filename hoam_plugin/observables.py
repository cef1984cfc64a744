"""Public name of `hoam_plugin.simulation.observables`."""

from hoam_plugin.simulation import diagnostic_over_time

__all__ = ["diagnostic_over_time"]


def __dir__() -> list[str]:
    return __all__
