"""The optimisers to choose from, all from optax; `benchmarks/results/optimisers.md` compares some at equal time."""

from __future__ import annotations

from typing import Any, Literal, get_args

import optax

Optimiser = Literal["adam", "adamw", "nadam", "radam", "adabelief", "adan", "ademamix", "lion", "muon"]
OPTIMISERS = get_args(Optimiser)


def transformation(name: Optimiser, learning_rate: optax.Schedule) -> optax.GradientTransformation:
    """The optimiser of that name, with gradients clipped to a global norm of 1."""
    maker: Any = getattr(optax, name, None) or getattr(optax.contrib, name)
    return optax.chain(optax.clip_by_global_norm(1.0), maker(learning_rate))
