"""What `fit` costs beside its compiled iterations. Run by `python -m benchmarks.fit_overhead`."""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin.training import iterations
from hoam_plugin.training.guard import RunAwayGuard
from hoam_plugin.training.run import TrainingRun

_ITERATIONS = 1000
# Potential, nodes, samples per node.
_CASES = ((hoam.CoLoRA(), 256, 8), (hoam.CoLoRA(width=64, depth=7), 256, 4), (hoam.CoLoRA(width=16, depth=3), 256, 4))
_COMPILATION = "/jax/core/compile/backend_compile_duration"


def resident_megabytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def bare(setup: iterations.Setup, data: Any, key: Any) -> float:
    """Seconds per iteration of the compiled iterations alone, at the pace of the default block length."""
    state = iterations.start(setup, key, data.conditions.shape[-1])
    n_threads, block = iterations.threads(setup, data), setup.training.block
    seconds = []
    with ThreadPoolExecutor(n_threads) as pool:
        for _ in range(_ITERATIONS // block):
            begin = time.perf_counter()
            if n_threads == 1:
                state, losses = iterations._block(setup, state, data, key, block)
            else:
                state, losses = iterations._threaded_block(setup, state, data, key, block, pool, n_threads)
            jax.block_until_ready((state, losses))
            seconds.append(time.perf_counter() - begin)
    return float(np.sum(seconds[1:])) / (_ITERATIONS - block)


def measure(potential: hoam.CoLoRA, nodes: int, n_samples: int) -> list[str]:
    """One row."""
    sim = hoam.stepper("two_stream")
    rule = hoam.quadrature.gauss_legendre(nodes)
    key = jax.random.key(0)
    ds = hoam.simulate(sim, {"mu": [1.2, 1.5, 1.8]}, rule, key=key, n_samples=4096, progress=False, dt=0.1)
    options = hoam.Training(iterations=_ITERATIONS, n_samples=n_samples, checkpoint_seconds=2.0)
    watched: dict[str, Any] = {"compilations": [], "blocks": [], "memory": [], "seconds": []}

    def count(event: str, seconds: float, **_: Any) -> None:
        if event == _COMPILATION:
            watched["compilations"].append(time.perf_counter())

    check, train, blocks = RunAwayGuard.check, TrainingRun.train, iterations.blocks

    def watch(self: RunAwayGuard, *losses: Any) -> None:
        watched["blocks"].append(time.perf_counter())
        watched["memory"].append(resident_megabytes())
        check(self, *losses)

    def timed(self: TrainingRun, **arguments: Any) -> Any:
        result = train(self, **arguments)
        watched["seconds"].append(time.perf_counter() - watched["blocks"][-_ITERATIONS // options.block])
        return result

    seen: dict[str, Any] = {}

    def spying(setup: Any, state: Any, data_at: Any, run_key: Any) -> Any:
        seen.update(setup=setup, data=data_at(0))
        return blocks(setup, state, data_at, run_key)

    jax.monitoring.register_event_duration_secs_listener(count)
    RunAwayGuard.check, TrainingRun.train, iterations.blocks = watch, timed, spying  # type: ignore[method-assign]
    gradients = iterations._compiled_gradient._cache_size() + iterations._block._cache_size()
    try:
        with tempfile.TemporaryDirectory() as folder:
            for i in range(3):
                path = Path(folder) / f"{i}.hoam"
                hoam.fit(ds, key=key, potential=potential, training=options, checkpoint=path, progress=True)
    finally:
        RunAwayGuard.check, TrainingRun.train, iterations.blocks = check, train, blocks  # type: ignore[method-assign]
        jax.monitoring.clear_event_listeners()
    # From the end of the first block, which compiles, to the return of `train`: with checkpoints and progress bar.
    n_blocks = _ITERATIONS // options.block
    per_iteration = float(np.median(watched["seconds"])) / (_ITERATIONS - options.block)
    compiled = float(np.median([bare(seen["setup"], seen["data"], key) for _ in range(3)]))
    late = sum(t > watched["blocks"][0] for t in watched["compilations"])
    steps = iterations._compiled_gradient._cache_size() + iterations._block._cache_size() - gradients
    return [
        f"{potential.depth} x {potential.width}",
        f"{nodes} x {n_samples}",
        str(iterations.threads(seen["setup"], seen["data"])),
        f"{1e3 * compiled:.2f}",
        f"{1e3 * per_iteration:.2f}",
        f"{100 * (per_iteration / compiled - 1):+.1f} %",
        str(steps),
        str(late),
        f"{watched['memory'][n_blocks + 1]:.0f}",
        f"{watched['memory'][-1]:.0f}",
    ]


def main() -> None:
    """Write `results/fit_overhead.md`."""
    rows = [measure(*case) for case in _CASES]
    header = ["layers", "nodes x samples", "threads", "bare ms", "fit ms", "overhead", "compilations of the iteration"]
    header += ["of anything after the first block", "MB after the first fit", "MB at the end"]
    report.write(
        "fit_overhead",
        f"# What `fit` costs beside its iterations\n\n`python -m benchmarks.fit_overhead`: {_ITERATIONS} iterations "
        "three times in one process, with a progress bar and a checkpoint every 2 s; medians per iteration without the "
        "first block, against the compiled iterations alone in the same process. Compilations are those of all "
        "three.\n\n"
        f"{report.machine(['hoam-plugin', 'jax'])}\n\n{report.table(header, rows)}",
    )


if __name__ == "__main__":
    main()
