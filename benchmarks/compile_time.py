"""Seconds from nothing to the first result. Run by `python -m benchmarks.compile_time`."""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks import report

_COMMON = """
import time, jax, jax.numpy as jnp, numpy as np
import hoam_plugin as hoam
from benchmarks.training_step import Case, setup_of, synthetic_data
from hoam_plugin.training import iterations
"""

_TRAINING = """
case = Case("CoLoRA", {width}, {depth}, 32, 128, {n_dims})
setup, data, key = setup_of(case, 1), synthetic_data(32, 128, {n_dims}), jax.random.key(0)
begin = time.perf_counter()
state = iterations.start(setup, key, 2)
next(iterations.blocks(setup, state, lambda iteration: data, key))
print(time.perf_counter() - begin)
"""

_ROLLOUT = """
import sys
sys.path.insert(0, "tests/helpers")
import toy
model = toy.plasma_surrogate()
state = model.init(jax.random.key(0), 64, {{"mu": 1.4}})
begin = time.perf_counter()
{call}
print(time.perf_counter() - begin)
"""

_CASES = {
    "training iteration, 5 x 32, D = 2": _TRAINING.format(width=32, depth=5, n_dims=2),
    "training iteration, 7 x 64, D = 2": _TRAINING.format(width=64, depth=7, n_dims=2),
    "training iteration, 7 x 64, D = 9": _TRAINING.format(width=64, depth=7, n_dims=9),
    "training iteration, 7 x 64, D = 100": _TRAINING.format(width=64, depth=7, n_dims=100),
    "`step` of a surrogate": _ROLLOUT.format(call='jax.block_until_ready(model.step(state, 0.1, {"mu": 1.4}))'),
    "`solve` of a surrogate": _ROLLOUT.format(
        call='jax.block_until_ready(model.solve(state, np.linspace(0.0, 4.0, 9), {"mu": 1.4}))'
    ),
}


def main() -> None:
    """Write `results/compile_time.md`."""
    rows = []
    for name, code in _CASES.items():
        seconds = []
        for _ in range(3):
            command = [sys.executable, "-c", _COMMON + code]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            seconds.append(float(output.split()[-1]))
        rows.append([name, f"{statistics.median(seconds):.1f}"])
    report.write(
        "compile_time",
        "# Compilation\n\n`python -m benchmarks.compile_time`: the first call in a new process (nearly all of it "
        f"compilation), medians of 3.\n\n{report.machine(['hoam-plugin', 'jax'])}\n\n"
        f"{report.table(['what', 's'], rows)}",
    )


if __name__ == "__main__":
    main()
