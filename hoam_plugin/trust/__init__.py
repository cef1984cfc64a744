"""How wrong a surrogate is where there is no truth, and which run to make next."""

from hoam_plugin.surrogates import members_of
from hoam_plugin.trust.calibration import band_around, with_bands
from hoam_plugin.trust.proposing import propose
from hoam_plugin.trust.validation import cross_validate

__all__ = [
    "band_around",
    "cross_validate",
    "members_of",
    "propose",
    "with_bands",
]


def __dir__() -> list[str]:
    return __all__
