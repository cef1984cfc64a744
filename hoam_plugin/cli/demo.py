"""`hoam demo`: its options; what it does is in `hoam_plugin.cli.demonstration`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from hoam_plugin.cli.demo_sizes import DEFAULT, QUICK, Sizes
from hoam_plugin.cli.parsing import Output, Overwrite, Whole, require_output


def demo(
    *,
    output: Output = Path("hoam-demo"),
    seed: Whole = 0,
    quick: bool = False,
    overwrite: Overwrite = False,
    progress: bool = True,
    sizes: Annotated[Sizes, Parameter(name="*", show=False)] = DEFAULT,
) -> None:
    """Do all of it in one go on the two-stream instability, within two minutes on two cores, and print the verdict.

    Args:
        output: folder for ensembles, surrogate, scores and pictures.
        seed: seed of all random numbers.
        quick: the same with fewer samples, runs, times and iterations, in half of the time.
        overwrite: replace the folder of an earlier demo once the new one is complete.
        progress: show progress bars.
        sizes: how large it is, see `Sizes`.
    """
    require_output(output, overwrite=overwrite)
    if quick:
        if sizes != DEFAULT:
            raise ValueError("--quick sets all sizes; leave it out, or the other ones")
        sizes = QUICK
    sizes.check()

    from hoam_plugin.cli.demonstration import run_demo

    run_demo(output, sizes, seed=seed, progress=progress)
