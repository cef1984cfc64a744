"""Ready settings for `fit`."""

from __future__ import annotations

from typing import Any

from hoam_plugin.action_matching import ActionMatching
from hoam_plugin.potentials import CoLoRA
from hoam_plugin.training import Training


def paper(epsilon: float = 0.05, iterations: int = 25_000) -> dict[str, Any]:
    """The settings of Berman, Blickhan and Peherstorfer 2024 (arXiv:2410.12000, appendix), for `fit(ds, key=key, **paper())`.

    Seven C-layers of width 64 and rank 3, 256 samples per node, Adam at 2e-3 with cosine decay. Save the ensemble on
    `quadrature.gauss_legendre(256)` to have the paper's nodes as well. The authors search epsilon over 0, 1e-2 and 5e-2
    and take 50 000 iterations for the chaotic problem.
    """
    return {
        "potential": CoLoRA(width=64, depth=7, rank=3, hyper_width=15, hyper_depth=3),
        "loss": ActionMatching(epsilon=epsilon),
        "training": Training(
            iterations=iterations, n_samples=256, learning_rate=2e-3, warmup=0, average=0.0, n_end_samples=256
        ),
    }
