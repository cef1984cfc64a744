"""Runs that are long: what must be kept is kept, nothing grows, and what is taken up again goes on as it would have.

    python tests/campaigns/long_runs.py particles 1000000
    python tests/campaigns/long_runs.py training 100000

The first takes so many steps of the particle-in-cell code, the second so many iterations of a training, once through
and once interrupted half-way and resumed. Prints what was found as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from hoam_plugin import simulators
from hoam_plugin.training.guard import RunAwayGuard

PARTICLES, CELLS, PARTS = 1024, 32, 100


def particles(n_steps: int, dt: float = 0.05) -> Iterator[dict[str, Any]]:
    """Energy and momentum of a thermal plasma of few particles, in single precision."""
    for shape in ("linear", "cubic"):
        yield {"shape": shape, **kept_by(n_steps, dt, shape)}


def kept_by(n_steps: int, dt: float, shape: str) -> dict[str, Any]:
    """The same with one shape of particles."""
    stepper = simulators.VlasovPoissonPIC(n_cells=CELLS, amplitude=0.05, start="random", dt=dt, shape=shape)  # type: ignore[arg-type]
    parameters = {"mu": 1.0}

    @jax.jit
    def steps(state: Any) -> Any:
        return jax.lax.fori_loop(0, n_steps // PARTS, lambda _, s: stepper.step(s, dt, parameters), state)

    state = stepper.init(jax.random.key(0), PARTICLES, parameters)
    began = time.perf_counter()
    energies, momenta = [], []
    for part in range(PARTS + 1):
        state = steps(state) if part else state
        energies.append(float(stepper.diagnostics(state, parameters)["total_energy"]))
        momenta.append(float(np.mean(np.asarray(state.v, np.float64))))
    energy, momentum = np.asarray(energies), np.asarray(momenta)
    return {
        "steps": n_steps,
        "plasma_times": n_steps * dt,
        "seconds": round(time.perf_counter() - began),
        "energy_most_off": float(np.abs(energy / energy[0] - 1).max()),
        # In units of the thermal speed, which is 1.
        "momentum_most_off": float(np.abs(momentum - momentum[0]).max()),
    }


def training(n_iterations: int) -> Iterator[dict[str, Any]]:
    """A tiny network, trained twice: in one go, and with an interruption."""
    began = time.perf_counter()
    resident: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        once = fitted(n_iterations, Path(folder) / "once.hoam", resident)
        path = Path(folder) / "twice.hoam"
        try:
            fitted(n_iterations, path, [], stop_after=len(resident) // 2)
        except hoam.TrainingInterrupted:
            pass
        else:
            raise AssertionError("it was not interrupted")
        twice = fitted(n_iterations, path, [], resume=path)
    leaves = [jax.tree.leaves(model.learned.weights) for model in (once, twice)]
    histories = [model.history.drop_vars("seconds") for model in (once, twice)]
    after = resident[len(resident) // 10 :]
    yield {
        "iterations": n_iterations,
        "seconds": round(time.perf_counter() - began),
        "resident_mb": round(after[0] / 1e6, 1),
        "grown": max(after) / after[0] - 1,
        "same_weights": all(np.array_equal(a, b) for a, b in zip(*leaves, strict=True)),
        "same_history": histories[0].identical(histories[1]),
        "loss": float(once.history["loss"][-100:].mean()),
    }


def fitted(
    n_iterations: int, path: Path, resident: list[int], *, stop_after: int | None = None, resume: Path | None = None
) -> Any:
    """A training, and what of the process is in memory after each block."""
    check = RunAwayGuard.check

    def watched(self: RunAwayGuard, *losses: Any) -> None:
        check(self, *losses)
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        if len(resident) == stop_after:
            raise KeyboardInterrupt

    RunAwayGuard.check = watched  # type: ignore[method-assign]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hoam.fit(
                moving_gaussian(),
                key=jax.random.key(0),
                potential=hoam.CoLoRA(width=4, depth=2, rank=1, hyper_width=4, hyper_depth=2),
                loss=hoam.ActionMatching(epsilon=0.0),
                training=hoam.Training(
                    iterations=n_iterations, n_samples=8, n_end_samples=8, block=n_iterations // 100, feedback=False
                ),
                checkpoint=path,
                resume=resume,
                overwrite=resume is not None,
                progress=False,
            )
    finally:
        RunAwayGuard.check = check  # type: ignore[method-assign]


def moving_gaussian() -> xr.Dataset:
    """Two runs of y ~ N(mu t, 1)."""
    rng, times, mu = np.random.default_rng(0), np.linspace(0.0, 1.0, 5), np.asarray([1.0, 2.0])
    y = rng.standard_normal((2, 1, 512)) + mu[:, None, None] * times[None, :, None]
    return xr.Dataset({"y": (("run", "time", "sample"), y.astype(np.float32))}, {"time": times, "mu": ("run", mu)})


def main() -> None:
    """Run one of them."""
    kind, n = sys.argv[1], int(sys.argv[2])
    for found in {"particles": particles, "training": training}[kind](n):
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
