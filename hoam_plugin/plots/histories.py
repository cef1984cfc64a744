"""Pictures of a training: its loss over the iterations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from hoam_plugin.plots.parts import Line, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LOSS: Line = {"color": "#0072B2"}
_VALIDATION: Line = {"color": "#D55E00", "linestyle": "--", "linewidth": 1.6}


def loss_history(history: xr.Dataset) -> Figure:
    """Training loss over the iterations, raw and as a running median, with the wall time on a second axis.

    Args:
        history: a Dataset over `iteration` with `loss` and, optionally, `validation` and `seconds` (per iteration): the
            `history` of a surrogate. Its attribute `an_iteration_is` names the axis, where it is something else.

    Raises:
        ValueError: no `loss` over `iteration`.

    Example:
        >>> figure = hoam.plots.loss_history(model.history)
    """
    if not isinstance(history, xr.Dataset) or "loss" not in history or history["loss"].dims != ("iteration",):
        shown = list(history) if isinstance(history, xr.Dataset) else type(history).__name__
        raise ValueError(
            f"history={shown!r} must be an xarray.Dataset with 'loss' over 'iteration', as Surrogate.history"
        )
    iteration, loss = history["iteration"].values, history["loss"].values.astype(np.float64)

    figure = new_figure(6.4, 4.0)
    panel = figure.subplots()
    panel.plot(iteration, loss, **_LOSS, alpha=0.35, linewidth=0.6, label="loss of each iteration")
    panel.plot(iteration, _running_median(loss, _half_width(len(loss))), **_LOSS, linewidth=1.6, label="running median")
    drawn = loss[np.isfinite(loss)]
    if "validation" in history:
        known = history["validation"].dropna("iteration")
        panel.plot(known["iteration"].values, known.values, **_VALIDATION, label="validation")
        drawn = np.concatenate([drawn, known.values])
    if drawn.size:
        # A few wild first iterations would flatten the rest.
        low, high = np.quantile(drawn, [0.002, 0.99])
        margin = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
        panel.set_ylim(low - margin, high + margin)
    panel.set_xlabel(history.attrs.get("an_iteration_is", "iteration"))
    panel.set_ylabel("loss")
    panel.grid(alpha=0.25)
    panel.legend(loc="upper right")
    pace = float(history["seconds"].mean()) if "seconds" in history else 0.0
    if pace > 0:
        clock = panel.secondary_xaxis("top", functions=(lambda i: np.multiply(i, pace), lambda s: np.divide(s, pace)))
        clock.set_xlabel("wall time at the mean pace [s]")
    return figure


def _half_width(n: int) -> int:
    """One per cent of the iterations to either side, or of short trainings five where there are as many."""
    return max(n // 100, min(5, n // 4))


def _running_median(values: Float[np.ndarray, " n"], half_width: int) -> Float[np.ndarray, " n"]:
    """Medians over windows that end where the values do, so that no value counts twice."""
    windows = np.lib.stride_tricks.sliding_window_view(values, min(2 * half_width + 1, len(values)))
    result = np.empty(len(values))
    result[half_width : half_width + len(windows)] = np.median(windows, axis=-1)
    for i in [*range(half_width), *range(len(values) - half_width, len(values))]:
        result[i] = np.median(values[max(0, i - half_width) : i + half_width + 1])
    return result
