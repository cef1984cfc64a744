"""Pictures of the clock of a population: how normalised time goes with time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import xarray as xr

from hoam_plugin import ensembles
from hoam_plugin.dynamics import Normalisation, PopulationClock, normalisation_of, population_clock_of, recorded_clock
from hoam_plugin.plots.parts import Line, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CLOCK: Line = {"color": "#0072B2", "linewidth": 1.6}
_EVEN: Line = {"color": "0.45", "linestyle": ":", "linewidth": 1.0}
_POINTS = 1001


@runtime_checkable
class _Learned(Protocol):
    @property
    def normalisation(self) -> Normalisation: ...


@runtime_checkable
class Learner(Protocol):
    """What is taken for a surrogate here."""

    @property
    def learned(self) -> _Learned:
        """What moves samples."""
        ...


def clock(of: object) -> Figure:
    """Normalised time tau over time, and its rate: how fast the population travels, in units of its mean.

    Args:
        of: a surrogate, whose clock is drawn; or an ensemble, whose own is drawn, or else the one that its samples
            give, and its saved times as marks.

    Raises:
        TypeError: anything else.
        ValueError: not a valid ensemble.

    Example:
        >>> figure = hoam.plots.clock(truth)
    """
    times = np.empty(0)
    if isinstance(of, xr.Dataset):
        ds = ensembles.validate(of)
        times, (start, end) = ds["time"].values.astype(np.float64), ds["time"].values[[0, -1]].tolist()
        found = recorded_clock(ds) or population_clock_of(ds, normalisation_of(ds), always=True)
    elif isinstance(of, Learner):
        norm = of.learned.normalisation
        found, (start, end) = norm.clock, norm.horizon
    else:
        raise TypeError(f"of={type(of).__name__} must be a surrogate or an ensemble")
    fractions = np.linspace(0, 1, _POINTS)
    tau, rate = _readings(found, fractions)
    figure = new_figure(8.0, 3.4)
    readings, paces = figure.subplots(1, 2)
    at = start + (end - start) * fractions
    readings.plot(at, fractions, **_EVEN, label="even in time")
    readings.plot(at, tau, **_CLOCK, label="clock of the population")
    paces.axhline(1.0, **_EVEN)
    paces.plot(at, rate, **_CLOCK)
    if times.size:
        marks = _readings(found, (times - start) / (end - start))[0]
        readings.plot(times, marks, linestyle="", marker="|", color="#D55E00", label="saved times")
    readings.set_ylabel("normalised time")
    paces.set_ylabel("pace, in units of its mean")
    paces.set_ylim(bottom=0)
    for panel in (readings, paces):
        panel.set_xlabel("time")
        panel.set_xlim(start, end)
        panel.grid(alpha=0.25)
    readings.legend(loc="lower right")
    return figure


def _readings(clock: PopulationClock | None, fractions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tau and its rate; without a clock, of time itself."""
    if clock is None:
        return fractions, np.ones_like(fractions)
    return clock.tau_on_host(fractions), clock.rate_on_host(fractions)
