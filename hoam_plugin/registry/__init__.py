"""One name, a simulator and any number of surrogates."""

from hoam_plugin.registry.entries import (
    build,
    catalogue,
    names,
    register,
    stepper,
    surrogates,
    unregister,
    use_surrogate,
)
from hoam_plugin.registry.listing import Listing
from hoam_plugin.steppers import rebuild_from_attribute, rebuild_stepper

__all__ = [
    "Listing",
    "build",
    "catalogue",
    "names",
    "rebuild_from_attribute",
    "rebuild_stepper",
    "register",
    "stepper",
    "surrogates",
    "unregister",
    "use_surrogate",
]
