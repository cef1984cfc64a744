"""A surrogate in words, for the prompt and for notebooks."""

from __future__ import annotations

import math

import jax
import xarray as xr

from hoam_plugin.surrogates.learned import LearnedDynamics
from hoam_plugin.surrogates.options import Options
from hoam_plugin.surrogates.trained_range import TrainedRange


def in_words(learned: LearnedDynamics, trained: TrainedRange, options: Options, history: xr.Dataset | None) -> str:
    """Ten lines at most, of values that are concrete or being traced."""
    layout = learned.layout
    components = [
        variable.name + (f" {shape}" if shape else "") + (f" (period {variable.period:.9g})" if variable.period else "")
        for variable, shape in zip(layout.variables, layout.shapes, strict=True)
    ]
    start, end = trained.horizon
    ranges = [f"{name} in [{low:.9g}, {high:.9g}]" for name, low, high in trained.ranges]
    n_weights = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(learned.weights))
    lines = {
        "variables": ", ".join(components),
        "parameters": ", ".join(ranges) or "none",
        "times": f"[{start:.9g}, {end:.9g}], steps of {options.dt:.3g} by default",
        "learned": f"structure {learned.structure.kind!r}, {learned.potential!r}, {n_weights} weights",
        "noise": _noise(learned, options),
        "in the place of": "nothing" if learned.replaces is None else type(learned.replaces).__name__,
        "outside its ranges": trained.policy,
        "trained": _trained(history),
    }
    return "\n".join(["Surrogate", *(f"  {name:<20}{text}" for name, text in lines.items())])


def _noise(learned: LearnedDynamics, options: Options) -> str:
    if learned.known_noise:
        return f"that of the stepper it replaces, {options.noise}"
    return f"epsilon {learned.epsilon:g} (normalised), {options.noise}" if learned.epsilon else "none"


def _trained(history: xr.Dataset | None) -> str:
    if history is None or not history.sizes.get("iteration"):
        return "unknown"
    return f"{int(history['iteration'][-1]) + 1} iterations, last loss {float(history['loss'][-1]):.4g}"
