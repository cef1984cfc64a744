"""At which times `simulate` saves, and with which quadrature weights."""

from __future__ import annotations

from typing import TypeAlias

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin._internal.checks import increasing_times
from hoam_plugin._types import Key, Numbers
from hoam_plugin.quadrature import Rule

# Times in physical units, or a rule that is scaled to a horizon.
Times: TypeAlias = Numbers | xr.DataArray | Rule


def saved_times(
    times: Times, horizon: tuple[float, float], key: Key
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"] | None]:
    """The times, and the weights of a rule, which is scaled to the horizon; both of its ends are saved as well.

    Raises:
        ValueError: times that are no numbers, or do not increase.
    """
    if not isinstance(times, Rule):
        return increasing_times("times", times), None
    nodes, weights = times.nodes_and_weights(jax.random.fold_in(key, 0x51) if times.random else None)
    t0, t1 = horizon
    ends = [end for end in (0.0, 1.0) if not np.any(nodes == end)]
    nodes, weights = np.concatenate([nodes, ends]), np.concatenate([weights, np.zeros(len(ends))])
    order = np.argsort(nodes)
    return increasing_times("times", t0 + (t1 - t0) * nodes[order]), weights[order]
