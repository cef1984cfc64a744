"""How large `hoam demo` is: options that its help leaves out."""

from __future__ import annotations

import dataclasses

from hoam_plugin._internal.checks import positive_int
from hoam_plugin.cli.parsing import Whole


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large the demo is.

    Attributes:
        samples: samples per run.
        runs: training runs.
        nodes: Gauss-Legendre nodes of the training runs.
        saved_times: saved times of the held-out runs.
        iterations: steps of the optimiser of both trainings; those of the settings by default.
        force_iterations: those of the force, where `iterations` is None.
    """

    samples: Whole = 25_000
    runs: Whole = 8
    nodes: Whole = 256
    saved_times: Whole = 129
    iterations: Whole | None = None
    force_iterations: Whole = 1500

    def check(self) -> None:
        """Raise ValueError for one that is too small."""
        least = {"samples": 1, "runs": 2, "nodes": 2, "saved_times": 2}
        for field, smallest in least.items():
            positive_int(f"--{field.replace('_', '-')}", getattr(self, field), smallest)
        if self.iterations is not None:
            positive_int("--iterations", self.iterations)
        positive_int("--force-iterations", self.force_iterations)


DEFAULT = Sizes()
QUICK = Sizes(samples=10_000, runs=5, nodes=128, saved_times=65, force_iterations=1000)
