"""Memory and time of a gradient through thousands of particle-in-cell steps. `python -m benchmarks.reverse_memory`."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import report
from hoam_plugin.simulators import advance, two_stream

DT = 0.01


def differentiate(n_samples: int, n_steps: int, *, reverse: bool) -> None:
    """One final field energy, with its derivative by mu where `reverse` is set; prints seconds after compilation."""
    stepper = two_stream(dt=DT)

    def energy(mu: Any) -> Any:
        parameters = {"mu": mu}
        start = stepper.init(jax.random.key(0), n_samples, parameters)
        end = advance(stepper, start, parameters, n_steps)
        return stepper.diagnostics(end, parameters)["electric_energy"]

    function = jax.jit(jax.value_and_grad(energy) if reverse else energy)
    jax.block_until_ready(function(jnp.asarray(1.4)))
    begin = time.perf_counter()
    jax.block_until_ready(function(jnp.asarray(1.5)))
    print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def main() -> None:
    """Write `results/reverse_memory.md`; every row is a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=25_000)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--part", choices=("value", "gradient"), help="one row, in this process")
    options = parser.parse_args()
    if options.part:
        differentiate(options.samples, options.steps, reverse=options.part == "gradient")
        return
    rows = []
    for part, n_steps in (("value", 4000), ("gradient", 1000), ("gradient", 4000), ("gradient", 16_000)):
        arguments = ["--part", part, "--samples", str(options.samples), "--steps", str(n_steps)]
        command = [sys.executable, "-m", "benchmarks.reverse_memory", *arguments]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        seconds, peak = map(float, printed.split())
        rows.append([part, str(n_steps), f"{seconds:.2f}", f"{peak / 1e6:.0f}"])
    report.write(
        "reverse_memory",
        f"# Gradients through many steps\n\n`python -m benchmarks.reverse_memory`: two-stream, {options.samples} "
        f"particles, dt = {DT}, `hoam_plugin.simulators.advance`, float32; the derivative of the final "
        "field energy by mu, in reverse mode; the largest resident memory of the whole process, Python and JAX "
        f"included.\n\n{report.machine(['hoam-plugin', 'jax'])}\n\n"
        + report.table(["computed", "steps", "s", "peak memory, MB"], rows),
    )


if __name__ == "__main__":
    main()
