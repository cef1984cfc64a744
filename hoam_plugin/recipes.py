"""Ready settings for `fit`."""

from __future__ import annotations

from typing import TypedDict

from hoam_plugin.losses import ActionMatching, velocity_field
from hoam_plugin.potentials import CoLoRA
from hoam_plugin.training import Training, velocity_training

__all__ = ["Settings", "paper", "quality", "velocity_field", "velocity_training"]


def __dir__() -> list[str]:
    return __all__


class Settings(TypedDict):
    """What `fit` takes by these names.

    Example:
        >>> sorted(hoam.recipes.paper())
        ['loss', 'potential', 'training']
    """

    potential: CoLoRA
    loss: ActionMatching
    training: Training


def paper(epsilon: float = 0.2, iterations: int = 25_000) -> Settings:
    """The settings of Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000): `fit(ds, key=key, **paper())`.

    Seven C-layers of width 64 and rank 3, 256 samples per node, Adam at 2e-3 with cosine decay. Save the ensemble on
    `quadrature.gauss_legendre(256)` to have the paper's nodes as well. The authors search epsilon over 0, 1e-2 and 5e-2
    with coordinates scaled to [0, 1]; with ours scaled to standard deviation 1, 5e-2 is about 0.2. They take 50 000
    iterations for the chaotic problem. The time derivative acts on the network, as published.

    Args:
        epsilon: amplitude of the noise, in normalised units.
        iterations: number of steps of the optimiser.

    Example:
        >>> settings = hoam.recipes.paper(epsilon=0.1)
        >>> settings["potential"].width, settings["training"].iterations
        (64, 25000)
    """
    return {
        "potential": CoLoRA(width=64, depth=7, rank=3, hyper_width=15, hyper_depth=3),
        "loss": ActionMatching(epsilon=epsilon, time_derivative="network"),
        "training": Training(
            iterations=iterations,
            n_samples=256,
            optimiser="adam",
            learning_rate=2e-3,
            warmup=0,
            average=0.0,
            n_end_samples=256,
        ),
    }


def quality(epsilon: float = 0.5, iterations: int = 16_000) -> Settings:
    """Larger and longer than the defaults, for `fit(ds, key=key, **quality())`: about ten minutes on two cores.

    Half as wide again, twice the modulations from a larger hyper-network, two harmonics of periodic coordinates. Longer
    training exploits coarse quadrature rules: save the ensemble on `quadrature.gauss_legendre(256)`.

    Args:
        epsilon: amplitude of the noise, in normalised units.
        iterations: number of steps of the optimiser.

    Example:
        >>> hoam.recipes.quality()["training"].n_samples
        16
    """
    return {
        "potential": CoLoRA(width=48, depth=5, rank=6, hyper_width=24, harmonics=2),
        "loss": ActionMatching(epsilon=epsilon),
        "training": Training(
            iterations=iterations,
            n_samples=16,
            optimiser="adam",
            learning_rate=4e-3,
            average=0.999,
            n_end_samples=512,
        ),
    }
