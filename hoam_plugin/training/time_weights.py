"""With which weights the saved times of an ensemble stand for the integral over time."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin.losses import AbstractLoss
from hoam_plugin.numerics import tolerances
from hoam_plugin.quadrature import Rule, simpson, trapezoid_weights


def weights_of_loss(loss: AbstractLoss, ds: xr.Dataset, rule: Rule | None) -> Float[np.ndarray, " T"]:
    """Weights of the saved times as a loss wants them; errors as `weights_of_rule`."""
    return loss.time_weights(ds["time"].values.astype(np.float64), weights_of_rule(rule, ds))


def weights_of_rule(rule: Rule | None, ds: xr.Dataset) -> Float[np.ndarray, " T"]:
    """Quadrature weights of the saved times, summing to 1.

    Args:
        rule: the one whose nodes were saved. For None the ensemble's `quadrature_weight` counts, if it has one; for
            None and random rules else the composite Simpson or trapezoidal rule on the saved times.
        ds: the ensemble.

    Raises:
        ValueError: a deterministic rule whose nodes are not the saved times (its two ends may be there as well).
    """
    times = ds["time"].values.astype(np.float64)
    tau = (times - times[0]) / (times[-1] - times[0])
    if rule is None or rule.random:
        if rule is None and "quadrature_weight" in ds:
            return ds["quadrature_weight"].values.astype(np.float64)
        if len(times) % 2 and len(times) >= 3 and tolerances.equally_spaced(times):
            return simpson(len(times)).nodes_and_weights()[1]
        return trapezoid_weights(times)
    nodes, rule_weights = rule.nodes_and_weights()
    weights = np.zeros(len(tau))
    nearest = np.abs(tau[:, None] - nodes[None, :]).argmin(axis=0)
    # A share of the time range, beside what single precision leaves of late times.
    if np.abs(tau[nearest] - nodes).max() * (times[-1] - times[0]) > tolerances.overshoot(times[0], times[-1]):
        raise ValueError(
            f"quadrature={rule} does not match the {len(times)} saved times on [{times[0]:g}, {times[-1]:g}]; simulate "
            "with times=that rule, or use quadrature=None, which picks a rule for the saved times"
        )
    weights[nearest] = rule_weights
    return weights
