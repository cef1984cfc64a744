"""At which times `simulate` saves, and with which quadrature weights."""

from __future__ import annotations

from typing import TypeAlias

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin._internal.checks import increasing_times
from hoam_plugin._types import Key, Numbers
from hoam_plugin.dynamics import PopulationClock
from hoam_plugin.quadrature import Rule

# Times in physical units, or a rule that is scaled to a horizon.
Times: TypeAlias = Numbers | xr.DataArray | Rule


def saved_times(
    times: Times, horizon: tuple[float, float], key: Key, clock: PopulationClock | None = None
) -> tuple[Float[np.ndarray, " T"], Float[np.ndarray, " T"] | None]:
    """The times, and the weights of a rule, which is scaled to the horizon; both of its ends are saved as well.

    Args:
        times: in physical units, or a rule.
        horizon: of a rule.
        key: of a random rule.
        clock: in which the nodes of a rule are spread as the rule says. The weights are then those of an integral over
            physical time: the rule's divided by how fast the clock goes there, so that they still sum to 1.

    Raises:
        ValueError: times that are no numbers, or do not increase.
    """
    if not isinstance(times, Rule):
        return increasing_times("times", times), None
    nodes, weights = times.nodes_and_weights(jax.random.fold_in(key, 0x51) if times.random else None)
    t0, t1 = horizon
    if clock is not None:
        nodes = np.where((nodes == 0) | (nodes == 1), nodes, clock.fraction_on_host(nodes))
        weights = weights / clock.rate_on_host(nodes)
        weights = weights / weights.sum()
    ends = [end for end in (0.0, 1.0) if not np.any(nodes == end)]
    nodes, weights = np.concatenate([nodes, ends]), np.concatenate([weights, np.zeros(len(ends))])
    order = np.argsort(nodes)
    return increasing_times("times", t0 + (t1 - t0) * nodes[order]), weights[order]
