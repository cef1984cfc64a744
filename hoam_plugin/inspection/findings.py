"""All that is found out about an ensemble by looking at it."""

from __future__ import annotations

import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin._internal import warned
from hoam_plugin.ensembles import Checkup
from hoam_plugin.inspection import forces, motion, parameters, samples, times
from hoam_plugin.inspection.summary import identity


def look_at(ensemble: xr.Dataset) -> Checkup:
    """The findings about an ensemble, without a plan; what is no ensemble gives its error.

    Of large ensembles, samples are looked at in pieces, and a part of them only where all of them would say no more.
    """
    with warned.kept_back() as said:
        try:
            ds = ensembles.validate(ensemble)
        except (TypeError, ValueError) as error:
            return Checkup(_outline(ensemble), error=str(error))
    suspicions = list(said)
    described, odd_samples = samples.look_at(ds)
    declared, odd_parameters = parameters.look_at(ds)
    kind, why = identity(ds)
    clock, odd_times = times.look_at(ds)
    suspicions += [*odd_samples, *odd_parameters, *odd_times, *motion.suspicions(ds, followed=kind == "trajectories")]
    suspicions += forces.suspicions(ds, followed=kind == "trajectories")
    sizes = ", ".join(f"{ds.sizes[dim]} {name}" for dim, name in zip(ensembles.DIMS, _WORDS, strict=True))
    recognised = {
        "ensemble": (f"{sizes}, {ds.nbytes / 1e6:.3g} MB",),
        "variables": described,
        "parameters": declared,
        "times": clock,
        "samples": (f"{_SAID[kind]}, {why}",),
    }
    return Checkup(recognised, tuple(dict.fromkeys(suspicions)))


_WORDS = ("runs", "times", "samples")
_SAID = {
    "trajectories": "the same ones at all times",
    "snapshots": "independent at different times",
    "unknown": "of different times perhaps unrelated",
}


def _outline(ds: object) -> dict[str, tuple[str, ...]]:
    """What can be said of what is no ensemble."""
    if not isinstance(ds, xr.Dataset):
        return {}
    arrays = tuple(f"{name} {dict(zip(array.dims, array.shape, strict=True))}" for name, array in ds.variables.items())
    return {"variables": arrays}
