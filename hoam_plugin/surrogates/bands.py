"""Bands around curves of a learned population: how far they are from the truth, as runs that were left out tell.

How they are found is in `hoam_plugin.trust`; here they are kept with a surrogate, and put into what it simulates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal, get_args

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin.scores import curve_of_ensemble

# On which scale a band reaches as far to both sides.
Scale = Literal["linear", "log"]
SCALES = get_args(Scale)


@dataclasses.dataclass(frozen=True, eq=False)
class Band:
    """The band around one curve.

    Attributes:
        times: physical, increasing.
        half_width: how far it reaches to both sides at these times, in units of the curve, or of its logarithm.
        scale: "linear" or "log".
    """

    times: Float[np.ndarray, " T"]
    half_width: Float[np.ndarray, " T"]
    scale: Scale

    def around(
        self, curve: Float[np.ndarray, "run time"], times: Float[np.ndarray, " time"]
    ) -> tuple[Float[np.ndarray, "run time"], Float[np.ndarray, "run time"]]:
        """Lower and upper end around curves; half widths are interpolated linearly between times."""
        half = np.interp(times, self.times, self.half_width)[None, :]
        if self.scale == "log":
            return curve * np.exp(-half), curve * np.exp(half)
        return curve - half, curve + half


@dataclasses.dataclass(frozen=True, eq=False)
class Bands:
    """The bands of a surrogate.

    Attributes:
        level: share of the runs whose curve is promised to stay inside of its band at all times.
        n_runs: how many left-out runs they are from.
        curves: the band around each curve, by its name.
    """

    level: float
    n_runs: int
    curves: Mapping[str, Band]

    def annotated(self, ds: xr.Dataset) -> xr.Dataset:
        """An ensemble with `<curve>_low` and `<curve>_high` of the curves that it has by name.

        A function of the ensemble is known to those alone who gave it: see `hoam_plugin.trust.band_around`.
        """
        times = ds["time"].values.astype(np.float64)
        for name, band in self.curves.items():
            curve = curve_of_ensemble(ds, name)
            if curve is None:
                continue
            units = ds[name].attrs.get("units", "1") if name in ds else "1"
            for end, values in zip(("low", "high"), band.around(curve, times), strict=True):
                words = f"{end} end of the band around the {name.replace('_', ' ')} at level {self.level:g}"
                described = {"units": units, "long_name": words}
                ds = ds.assign({f"{name}_{end}": (("run", "time"), values, described)})
        return ds

    def described(self) -> dict[str, object]:
        """All but the arrays, as JSON has it."""
        scales = {name: band.scale for name, band in self.curves.items()}
        return {"level": self.level, "n_runs": self.n_runs, "scales": scales}

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        found: dict[str, np.ndarray] = {}
        for name, band in self.curves.items():
            found |= {f"{name}/times": band.times, f"{name}/half_width": band.half_width}
        return found


def bands_from(described: Mapping[str, object], arrays: Mapping[str, np.ndarray]) -> Bands:
    """The inverse of `Bands.described` and `Bands.arrays`."""
    fields = dict(described)
    scales = fields.pop("scales")
    assert isinstance(scales, Mapping)
    curves = {
        str(name): Band(arrays[f"{name}/times"], arrays[f"{name}/half_width"], scale) for name, scale in scales.items()
    }
    return Bands(curves=curves, **fields)  # type: ignore[arg-type]
