"""Scalar curves over the saved times of a run: moments of its samples, and what its stepper recorded."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin._internal.checks import suggestion
from hoam_plugin.scores.distances import Coordinate, embedded, moments, relative
from hoam_plugin.scores.sources import Source

# What plasmas and particles record: scored where it is there, and no ensemble needs to have it.
USUAL = ("electric_energy", "potential_energy", "pressure")
# Those that may pass through zero, where an error relative to each value is none.
_OF_EITHER_SIGN = ("potential_energy", "pressure")

# One array from the same array of several runs.
Combination = Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class Curves:
    """The curves of one run.

    Attributes:
        mean: of the embedded samples.
        covariance: of the embedded samples.
        recorded: name of a scalar diagnostic to its values.
    """

    mean: Float[np.ndarray, "time F"]
    covariance: Float[np.ndarray, "time F F"]
    recorded: Mapping[str, Float[np.ndarray, " time"]]

    def map(self, by: Combination, *others: Curves) -> Curves:
        """The curves that a function of arrays makes of the same curve of several runs."""
        runs = (self, *others)
        names = [name for name in self.recorded if all(name in run.recorded for run in others)]
        return Curves(
            mean=by(*(run.mean for run in runs)),
            covariance=by(*(run.covariance for run in runs)),
            recorded={name: by(*(run.recorded[name] for run in runs)) for name in names},
        )


def curves_of(
    source: Source,
    run: int,
    times: Int[np.ndarray, " time"],
    coordinates: tuple[Coordinate, ...],
    recorded: Mapping[str, Float[np.ndarray, " time"]],
) -> Curves:
    """The curves of one run of a source at the given time indices; what is recorded is handed through."""
    rows = [moments(embedded(source(run, time), coordinates)) for time in times.tolist()]
    mean, covariance = (np.stack(column) for column in zip(*rows, strict=True))
    return Curves(mean, covariance, recorded)


def recorded_curve(ds: xr.Dataset, name: str) -> Float[np.ndarray, "run time"] | None:
    """The ensemble's diagnostic of that name in float64, or None where it has none over just (run, time)."""
    if name not in recorded_names(ds):
        return None
    return ds[name].transpose("run", "time").values.astype(np.float64)


def error_of(curve: str) -> str:
    """The name of the score of a recorded curve."""
    return f"{curve}_error"


def meaning_of_error(curve: str) -> str:
    """What the score of a recorded curve is, in words."""
    named = f"error of the {curve.replace('_', ' ')}"
    if curve in _OF_EITHER_SIGN:
        return f"mean {named} over saved times, relative to the truth's root mean square"
    return f"relative {named}, mean over saved times"


def curve_error(curve: str, truth: Float[np.ndarray, " time"], other: Float[np.ndarray, " time"]) -> float:
    """Mean of |c - c_hat| / |c| over saved times; of what has either sign, mean |c - c_hat| over the RMS of c."""
    off, size = np.abs(truth - other), np.abs(truth)
    if curve in _OF_EITHER_SIGN:
        # In units of the largest, whose square SI units may not have.
        largest = size.max() or 1.0
        size = largest * np.sqrt(np.mean((size / largest) ** 2))
    return float(np.mean(relative(off, size)))


def scored_curves(
    curves: Sequence[str], given: Sequence[tuple[str, xr.Dataset]], *, optional: Sequence[str], taken: Container[str]
) -> list[str]:
    """Those of the wanted curves that all ensembles have.

    Args:
        curves: the wanted names.
        given: arguments and the ensembles that they hold.
        optional: names that an ensemble may lack.
        taken: names of other scores.

    Raises:
        ValueError: a curve that an ensemble has to have and has not, or whose score would have the name of another.
    """
    wanted = list(dict.fromkeys([curves] if isinstance(curves, str) else curves))
    known = [(argument, recorded_names(ds)) for argument, ds in given]
    for name in wanted:
        if error_of(name) in taken:
            raise ValueError(f"curves={curves!r} has {name!r}, but {error_of(name)!r} is another score; rename it")
        for argument, names in known:
            if name not in names and name not in optional:
                raise ValueError(
                    f"curves={curves!r} has {name!r}, which {argument} does not hold as one number per run and time; "
                    f"{suggestion(name, names)}"
                )
    return [name for name in wanted if all(name in names for _, names in known)]


def recorded_names(ds: xr.Dataset) -> list[str]:
    """Names of the numbers over just (run, time)."""
    return [
        str(name)
        for name, array in ds.data_vars.items()
        if set(array.dims) == {"run", "time"} and array.dtype.kind in "fiub"
    ]
