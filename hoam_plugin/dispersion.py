"""Public name of `hoam_plugin.plasma.dispersion`."""

from hoam_plugin.plasma.dispersion import (
    count_roots,
    dielectric,
    growth_rate,
    least_damped,
    roots,
)

__all__ = [
    "count_roots",
    "dielectric",
    "growth_rate",
    "least_damped",
    "roots",
]


def __dir__() -> list[str]:
    return __all__
