"""From an ensemble's attributes back to the stepper that made it."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import xarray as xr

from hoam_plugin import ensemble as ensembles
from hoam_plugin.checks import suggestion

ENTRY_POINTS = "hoam_plugin.steppers"


def rebuild_stepper(ds: xr.Dataset) -> Any:
    """The stepper that the attribute `stepper` of an ensemble describes (entry-point name and arguments).

    Raises:
        ValueError: the ensemble does not name its stepper, no installed package publishes that name under the
            entry-point group `hoam_plugin.steppers`, or its factory refuses the arguments.
    """
    description = ensembles.stepper_description(ds)
    if description is None:
        raise ValueError("the ensemble's attributes do not name the stepper that made it (attribute 'stepper')")
    name, arguments = description
    published = {entry.name: entry for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name not in published:
        raise ValueError(
            f"no installed package publishes the stepper {name!r} (group {ENTRY_POINTS}); {suggestion(name, published)}"
        )
    try:
        return published[name].load()(**arguments)
    except Exception as error:
        raise ValueError(f"the stepper {name!r} cannot be rebuilt from {arguments!r}: {error}") from error
