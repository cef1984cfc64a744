"""With which weights the saved times of an ensemble stand for the integral over normalised time."""

from __future__ import annotations

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin.dynamics import PopulationClock
from hoam_plugin.losses import AbstractLoss
from hoam_plugin.numerics import tolerances
from hoam_plugin.quadrature import Rule, simpson, trapezoid_weights


def weights_of_loss(
    loss: AbstractLoss, ds: xr.Dataset, rule: Rule | None, clock: PopulationClock | None = None
) -> Float[np.ndarray, " T"]:
    """Weights of the saved times as a loss wants them; arguments and errors as those of `weights_of_rule`."""
    times = ds["time"].values.astype(np.float64)
    places = times if clock is None else clock.tau_on_host(_fractions(times))
    return loss.time_weights(places, weights_of_rule(rule, ds, clock))


def weights_of_rule(rule: Rule | None, ds: xr.Dataset, clock: PopulationClock | None = None) -> Float[np.ndarray, " T"]:
    """Quadrature weights of the saved times, summing to 1.

    Weights of a rule in physical time, such as an ensemble's `quadrature_weight`, count as many times as the clock is
    faster than on average: that is the same rule in normalised time, and the very one whose nodes `simulate` spread
    over this clock.

    Args:
        rule: the one whose nodes were saved, spread over the clock or over time. For None the ensemble's
            `quadrature_weight` counts, if it has one; for None and random rules else the composite Simpson or
            trapezoidal rule on the saved times.
        ds: the ensemble.
        clock: of the population, over the saved times from the first to the last; None for one that goes with time.

    Raises:
        ValueError: a deterministic rule whose nodes are not the saved times (its two ends may be there as well).
    """
    times = ds["time"].values.astype(np.float64)
    fractions = _fractions(times)
    tau = fractions if clock is None else clock.tau_on_host(fractions)
    if rule is not None and not rule.random:
        return _of_nodes(rule, times, fractions, clock)
    if rule is None and "quadrature_weight" in ds:
        return _in_clock(ds["quadrature_weight"].values.astype(np.float64), fractions, clock)
    if len(times) % 2 and len(times) >= 3:
        weights = simpson(len(times)).nodes_and_weights()[1]
        if clock is not None and tolerances.equally_spaced(tau):
            return weights
        if tolerances.equally_spaced(times):
            return _in_clock(weights, fractions, clock)
    return trapezoid_weights(times if clock is None else tau)


def _fractions(times: Float[np.ndarray, " T"]) -> Float[np.ndarray, " T"]:
    return (times - times[0]) / (times[-1] - times[0])


def _in_clock(
    weights: Float[np.ndarray, " T"], fractions: Float[np.ndarray, " T"], clock: PopulationClock | None
) -> Float[np.ndarray, " T"]:
    """Weights of a rule in time as those in what the clock reads."""
    if clock is None:
        return weights
    faster = weights * clock.rate_on_host(fractions)
    return faster / faster.sum()


def _of_nodes(
    rule: Rule,
    times: Float[np.ndarray, " T"],
    fractions: Float[np.ndarray, " T"],
    clock: PopulationClock | None,
) -> Float[np.ndarray, " T"]:
    """The weights of a rule on those saved times that are its nodes."""
    nodes, rule_weights = rule.nodes_and_weights()
    places = [(nodes, clock)] if clock is None else [(clock.fraction_on_host(nodes), None), (nodes, clock)]
    for wanted, rest in places:
        nearest = np.abs(fractions[:, None] - wanted[None, :]).argmin(axis=0)
        # A share of the time range, beside what single precision leaves of late times.
        if np.abs(fractions[nearest] - wanted).max() * (times[-1] - times[0]) <= tolerances.overshoot(
            times[0], times[-1]
        ):
            weights = np.zeros(len(times))
            weights[nearest] = rule_weights
            return _in_clock(weights, fractions, rest)
    raise ValueError(
        f"quadrature={rule} does not match the {len(times)} saved times on [{times[0]:g}, {times[-1]:g}]; simulate "
        "with times=that rule, or use quadrature=None, which picks a rule for the saved times"
    )
