"""An ensemble in a line."""

from __future__ import annotations

from typing import Literal

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.losses import has_rates
from hoam_plugin.numerics import tolerances

Identity = Literal["trajectories", "snapshots", "unknown"]


def identity(ds: xr.Dataset) -> tuple[Identity, str]:
    """What samples of different times have to do with one another, and how that is known."""
    said = ds.attrs.get(ensembles.SAMPLING)
    if said in (ensembles.TRAJECTORIES, ensembles.SNAPSHOTS):
        return said, f"as the attribute {ensembles.SAMPLING!r} says"
    shares = ensembles.moves_with_velocities(ds)
    if not shares:
        return "unknown", "since no velocities are declared that would show it"
    share = float(np.mean([*shares.values()]))
    if ensembles.are_trajectories(ds):
        return "trajectories", f"since they move with their velocities, but for {share:.1g} of the mean square"
    return "snapshots", f"since positions do not move with their velocities ({share:.2g} of the mean square is left)"


def short_form(ds: xr.Dataset) -> str:
    """What a valid ensemble is taken for, in a line, which is found without reading it all."""
    variables = []
    for v in ensembles.variables(ds):
        said = [f"velocity of {v.velocity_of}"] if v.velocity_of else []
        said += [f"period {v.period:g}"] if v.period else []
        said += [f"{'x'.join(map(str, shape))} components"] if (shape := ds[v.name].shape[3:]) else []
        variables.append(f"{v.name} ({', '.join(said)})" if said else v.name)
    columns = ensembles.parameters(ds)
    varied = [f"{name} from {column.min():g} to {column.max():g}" for name, column in columns.items()]
    times = ds["time"].values.astype(np.float64)
    kind, _ = identity(ds)
    return "; ".join(
        (
            f"{ds.sizes['run']} runs of {ds.sizes['sample']} samples of {', '.join(variables)}",
            f"parameters {', '.join(varied)}" if varied else "no parameters",
            f"{len(times)} {'equally spaced ' if tolerances.equally_spaced(times) else ''}times "
            f"from {times[0]:g} to {times[-1]:g}",
            {"trajectories": "trajectories", "snapshots": "independent snapshots"}.get(
                kind, "perhaps unrelated samples"
            ),
            "recorded rates" if has_rates(ds) else "no rates",
        )
    )
