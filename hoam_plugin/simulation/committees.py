"""Every member of a committee by itself: how far they come apart is what the training runs leave open."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import xarray as xr

from hoam_plugin.steppers import Stepper

MEMBER = "member"


def by_member(members: Sequence[Stepper], simulated: Callable[[Stepper], xr.Dataset]) -> xr.Dataset:
    """What each member does, with the same random numbers, along a leading dim `member`.

    Times, parameters and weights, which all share, stay without it.

    Args:
        members: steppers of the same variables.
        simulated: the ensemble of one of them.
    """
    each = [simulated(member) for member in members]
    first = each[0]
    varied = {
        name: ((MEMBER, *array.dims), np.stack([ds[name].values for ds in each]), array.attrs)
        for name, array in first.data_vars.items()
        if {"run", "time"} <= set(array.dims)
    }
    return first.assign(varied)
