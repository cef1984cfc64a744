"""A surrogate in words, for the prompt and for notebooks."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping

import jax
import xarray as xr

from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.provenance import Provenance
from hoam_plugin.surrogates.trained_range import TrainedRange
from hoam_plugin.surrogates.training_runs import TrainingRuns


def rows(
    learned: LearnedDynamics,
    trained: TrainedRange,
    options: Options,
    provenance: Provenance,
    runs: TrainingRuns | None,
) -> dict[str, str]:
    """What there is to say, by name; of values that are concrete or being traced."""
    layout, history = learned.layout, provenance.history
    components = [
        variable.name + (f" {shape}" if shape else "") + (f" (period {variable.period:.9g})" if variable.period else "")
        for variable, shape in zip(layout.variables, layout.shapes, strict=True)
    ]
    start, end = trained.horizon
    ranges = [f"{name} in [{low:.9g}, {high:.9g}]" for name, low, high in trained.ranges]
    n_weights = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(learned.weights))
    own_clock = "" if learned.normalisation.clock is None else ", equal in the clock of the population"
    return {
        "variables": ", ".join(components),
        "parameters": ", ".join(ranges) or "none",
        "times": f"[{start:.9g}, {end:.9g}], steps of {options.dt:.3g} by default{own_clock}",
        "learned from": _learned_from(provenance, runs),
        "learned": f"structure {learned.structure.kind!r}, {learned.potential!r}, {n_weights} weights",
        "noise": _noise(learned, options),
        "in the place of": "nothing" if learned.replaces is None else type(learned.replaces).__name__,
        "outside its ranges": trained.policy,
        "trained": _trained(history),
    }


def in_words(told: Mapping[str, str]) -> str:
    """A line for each of `rows`, under a heading."""
    return "\n".join(["Surrogate", *(f"  {name:<20}{text}" for name, text in told.items())])


def as_html(told: Mapping[str, str]) -> str:
    """A table of `rows` without styles of its own, so that it goes with the notebook's, bright or dark."""
    cells = (
        f'<tr><th style="text-align:left">{html.escape(name)}</th>'
        f'<td style="text-align:left">{html.escape(text)}</td></tr>'
        for name, text in told.items()
    )
    return f"<div><strong>Surrogate</strong><table>{''.join(cells)}</table></div>"


def _learned_from(provenance: Provenance, runs: TrainingRuns | None) -> str:
    sizes = provenance.sizes
    if sizes:
        plural = "" if sizes["run"] == 1 else "s"
        return f"{sizes['run']} run{plural} of {sizes['sample']} samples at {sizes['time']} times"
    return "unknown" if runs is None else f"{runs.points.shape[0]} runs"


def _noise(learned: LearnedDynamics, options: Options) -> str:
    if learned.known_noise:
        return f"that of the stepper it replaces, {options.noise}"
    return f"epsilon {learned.epsilon:g} (normalised), {options.noise}" if learned.epsilon else "none"


def _trained(history: xr.Dataset | None) -> str:
    if history is None or not history.sizes.get("iteration"):
        return "unknown"
    return f"{int(history['iteration'][-1]) + 1} iterations, last loss {float(history['loss'][-1]):.4g}"
