"""Where a surrogate comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import xarray as xr

from hoam_plugin.surrogates.bands import Bands


@dataclasses.dataclass(frozen=True, eq=False)
class Provenance:
    """How a surrogate was trained. It does not go through compiled code; what comes out of it has an empty one.

    Attributes:
        configuration: of the training, as JSON.
        history: the training history over `iteration`, or None where it is not known.
        sizes: of the training ensemble by dim, such as "run"; empty where they are not known.
        bands: how far curves of its populations are off, or None where nobody has looked.
    """

    configuration: str = "{}"
    history: xr.Dataset | None = None
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    bands: Bands | None = None
