"""Recorded curves of all that `compare` puts side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float, Int

from hoam_plugin.scores.curves import error_of, recorded_curve
from hoam_plugin.scores.sources import Source, recomputed_curves

# A reference and the number of its ensemble.
Name = tuple[str, int]
TRUTH: Name = ("truth", 0)

# Two particles drawn at the same place repel one another without bound.
_NOT_FINITE = "the truth's stepper finds no finite value for these samples"

# Reasons why a reference lacks a score, keyed by (score, reference).
Notes = dict[tuple[str, str], list[str]]


def recorded_curves(
    names: Sequence[str],
    truth: xr.Dataset,
    given: Mapping[str, Sequence[xr.Dataset]],
    computed: Mapping[str, tuple[Source, Sequence[int]]],
    times: Int[np.ndarray, " time"],
    seed: int,
) -> tuple[dict[Name, dict[str, Float[np.ndarray, "run time"]]], Notes]:
    """The recorded curves at `times` of all that is scored; NaN and a note where a reference has none.

    Args:
        names: of the curves.
        truth: the truth.
        given: reference to its ensembles.
        computed: reference to samples that no ensemble holds, and the runs for which there are any: their diagnostics
            are computed by the truth's stepper.
        times: indices of saved times.
        seed: of what the stepper's state holds beside samples.
    """
    notes, missing = Notes(), np.full((truth.sizes["run"], len(times)), np.nan)
    own = {name: curve for name in names if (curve := recorded_curve(truth, name)) is not None}
    found = {
        TRUTH: {name: curve[:, times] for name, curve in own.items()},
        ("frozen", 0): {name: np.broadcast_to(curve[:, :1], missing.shape) for name, curve in own.items()},
    }
    for reference, several in given.items():
        for i, ds in enumerate(several):
            curves = {name: recorded_curve(ds, name) for name in names}
            found[reference, i] = {name: missing if c is None else c[:, times] for name, c in curves.items()}
            for name in (name for name, curve in curves.items() if curve is None):
                notes[error_of(name), reference] = [f"floor has no {name!r}"]
    for reference, (source, runs) in computed.items():
        drawn = {
            name: _NOT_FINITE if not isinstance(c, str) and not np.isfinite(c[list(runs)]).all() else c
            for name, c in recomputed_curves(truth, names, source, runs, times, seed).items()
        }
        found[reference, 0] = {name: missing if isinstance(c, str) else c for name, c in drawn.items()}
        notes |= {(error_of(name), reference): [c] for name, c in drawn.items() if isinstance(c, str)}
    return found, notes
