"""`hoam demo`: its options; what it does is in `hoam_plugin.cli.demonstration`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hoam_plugin._internal.checks import positive_int
from hoam_plugin.cli.parsing import Output, Overwrite, Whole, require_output


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How large the demo is.

    Attributes:
        samples: samples per run.
        runs: training runs.
        nodes: Gauss-Legendre nodes of the training runs.
        saved_times: saved times of the held-out runs.
        iterations: steps of the optimiser; those of the settings by default.
    """

    samples: Whole = 25_000
    runs: Whole = 8
    nodes: Whole = 256
    saved_times: Whole = 129
    iterations: Whole | None = None

    def check(self) -> None:
        """Raise ValueError for one that is too small."""
        least = {"samples": 1, "runs": 2, "nodes": 2, "saved_times": 2}
        for field, smallest in least.items():
            positive_int(f"--{field.replace('_', '-')}", getattr(self, field), smallest)
        if self.iterations is not None:
            positive_int("--iterations", self.iterations)


def demo(
    *,
    output: Output = Path("hoam-demo"),
    seed: Whole = 0,
    overwrite: Overwrite = False,
    progress: bool = True,
    sizes: Annotated[Sizes, Parameter(name="*", show=False)] = Sizes(),
) -> None:
    """Do all of it in one go on the two-stream instability, within five minutes on two cores, and print the verdict.

    Args:
        output: folder for ensembles, surrogate, scores and pictures.
        seed: seed of all random numbers.
        overwrite: replace the folder of an earlier demo once the new one is complete.
        progress: show progress bars.
        sizes: how large it is, see `Sizes`.
    """
    require_output(output, overwrite=overwrite)
    sizes.check()

    from hoam_plugin.cli.demonstration import run_demo

    run_demo(output, sizes, seed=seed, progress=progress)
