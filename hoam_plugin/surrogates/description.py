"""A surrogate in words, for the prompt and for notebooks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax

if TYPE_CHECKING:
    from hoam_plugin.surrogates.surrogate import Surrogate


def of_surrogate(model: Surrogate) -> str:
    """Ten lines at most, of values that are concrete or being traced."""
    components = [
        variable.name + (f" {shape}" if shape else "") + (f" (period {variable.period:.9g})" if variable.period else "")
        for variable, shape in zip(model.variables, model.shapes, strict=True)
    ]
    start, end = model.horizon
    ranges = [f"{name} in [{low:.9g}, {high:.9g}]" for name, (low, high) in model.ranges.items()]
    n_weights = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(model.weights))
    lines = {
        "variables": ", ".join(components),
        "parameters": ", ".join(ranges) or "none",
        "times": f"[{start:.9g}, {end:.9g}], steps of {model.dt:.3g} by default",
        "learned": f"structure {model.structure.kind!r}, {model.potential!r}, {n_weights} weights",
        "noise": _noise(model),
        "in the place of": "nothing" if model.replaces is None else type(model.replaces).__name__,
        "outside its ranges": model.on_extrapolation,
        "trained": _trained(model.history),
    }
    return "\n".join(["Surrogate", *(f"  {name:<20}{text}" for name, text in lines.items())])


def _noise(model: Surrogate) -> str:
    if model.known_noise:
        return f"that of the stepper it replaces, {model.noise}"
    return f"epsilon {model.epsilon:g} (normalised), {model.noise}" if model.epsilon else "none"


def _trained(history: Any) -> str:
    if history is None or not history.sizes.get("iteration"):
        return "unknown"
    return f"{history.sizes['iteration']} iterations, last loss {float(history['loss'][-1]):.4g}"
