"""Particle-in-cell speed: our compiled solver against plain NumPy codes of the same scheme.

All take the same steps (cloud-in-cell, kick-drift-kick leapfrog, one field solve per step) from the same particles, and
the fields that they end with are compared before anything is timed. Run by `python -m benchmarks.pic`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse  # type: ignore[import-untyped]
from scipy.sparse.linalg import spsolve  # type: ignore[import-untyped]

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin.simulators import two_stream

LENGTH = 50.0
MU = 1.25
DT = 0.01

Solve = Callable[[np.ndarray], np.ndarray]


def deposit(x: np.ndarray, n_cells: int) -> tuple[np.ndarray, ...]:
    """Cloud-in-cell density of mean 1, and the nodes and weights on both sides of each particle."""
    dx = LENGTH / n_cells
    left = np.floor(x / dx).astype(int)
    right = left + 1
    left_weight = (right * dx - x) / dx
    right_weight = (x - left * dx) / dx
    right = np.mod(right, n_cells)
    density = np.bincount(left, weights=left_weight, minlength=n_cells)
    density += np.bincount(right, weights=right_weight, minlength=n_cells)
    return density * (n_cells / len(x)), left, right, left_weight, right_weight


def sparse_direct_solver(n_cells: int) -> Solve:
    """E on the nodes from mu^2 phi'' = n - 1 by a sparse direct solve; phi of the last node is the gauge."""
    dx = LENGTH / n_cells
    ones = np.ones(n_cells)
    laplacian = sparse.diags_array([ones[1:], -2 * ones, ones[1:]], offsets=[-1, 0, 1]).tolil()
    laplacian[0, -1] = laplacian[-1, 0] = 1
    pinned = sparse.csc_array(laplacian.tocsc()[:-1, :-1] * (MU / dx) ** 2)

    def solve(density: np.ndarray) -> np.ndarray:
        phi = np.append(spsolve(pinned, density[:-1] - 1), 0.0)
        return (np.roll(phi, 1) - np.roll(phi, -1)) / (2 * dx)

    return solve


def cumulative_sum_solver(n_cells: int) -> Solve:
    """E on the nodes by integrating mu^2 E' = 1 - n once."""
    dx = LENGTH / n_cells

    def solve(density: np.ndarray) -> np.ndarray:
        between = np.cumsum(1 - density) * (dx / MU**2)
        between -= between.mean()
        return (between + np.roll(between, 1)) / 2

    return solve


def numpy_pic(
    x: np.ndarray, v: np.ndarray, n_steps: int, dt: float, n_cells: int, solve: Solve
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The leapfrog in plain NumPy; returns positions, velocities and the field on the nodes."""

    def field_and_acceleration(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        density, left, right, left_weight, right_weight = deposit(x, n_cells)
        field = solve(density)
        return field, -(left_weight * field[left] + right_weight * field[right])

    field, acceleration = field_and_acceleration(x)
    for _ in range(n_steps):
        v = v + dt / 2 * acceleration
        x = np.mod(x + dt * v, LENGTH)
        field, acceleration = field_and_acceleration(x)
        v = v + dt / 2 * acceleration
    return x, v, field


def field_energy(field: np.ndarray) -> float:
    """Energy of a nodal field per particle."""
    return float(MU**2 / 2 * np.mean(np.asarray(field, np.float64) ** 2))


def compiled_loop(stepper: Any) -> tuple[Any, Any]:
    """`loop(state, mu, n_steps)`, compiled, for one run and for several values of mu."""

    def loop(state: Any, mu: jax.Array, steps: jax.Array) -> Any:
        return jax.lax.fori_loop(0, steps, lambda i, s: stepper.step(s, stepper.dt, {"mu": mu}), state)

    options_of_simulate = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    one = jax.jit(loop, compiler_options=options_of_simulate)
    return one, jax.jit(jax.vmap(loop, in_axes=(None, 0, None)), compiler_options=options_of_simulate)


def speed_rows(n: int, n_cells: int, n_steps: int, n_numpy: int, repeats: int) -> list[list[str]]:
    """All codes from the same particles: compared, then timed in turns, so that a busy moment falls on all of them."""
    stepper = two_stream(n_cells=n_cells, dt=DT)
    start = jax.jit(stepper.init, static_argnums=1)(jax.random.key(0), n, {"mu": MU})
    x, v = np.asarray(start.x, np.float64), np.asarray(start.v, np.float64)
    compiled, _ = compiled_loop(stepper)

    def bare(steps: int = n_steps) -> Any:
        return jax.block_until_ready(compiled(start, jnp.asarray(MU), jnp.asarray(steps)))

    def simulated() -> object:
        options = {"key": jax.random.key(0), "n_samples": n, "initial": start, "progress": False}
        return hoam.simulate(stepper, {"mu": [MU]}, [0.0, n_steps * DT], **options)

    solvers = {
        "NumPy, bincount and sparse direct solve": sparse_direct_solver(n_cells),
        "NumPy, bincount and cumulative sums": cumulative_sum_solver(n_cells),
    }
    ours = bare(steps=n_numpy).aux.electric_field
    ours = (np.asarray(ours, np.float64) + np.roll(ours, 1)) / 2
    apart = {}
    for name, solve in solvers.items():
        field = numpy_pic(x, v, n_numpy, DT, n_cells, solve)[2]
        difference = np.abs(field - ours).max() / np.abs(field).max()
        energy = field_energy(ours) / field_energy(field) - 1
        apart[name] = f"{difference:.0e}, {energy:+.0e}"
        if not (difference < 1e-2 and abs(energy) < 1e-3):
            raise AssertionError(f"{name} computes another field: {apart[name]}")

    calls: dict[str, tuple[Callable[[], object], int]] = {
        "hoam, bare compiled loop": (bare, n_steps),
        "hoam, through simulate": (simulated, n_steps),
        **{
            name: (lambda solve=solve: numpy_pic(x, v, n_numpy, DT, n_cells, solve), n_numpy)  # type: ignore[misc]
            for name, solve in solvers.items()
        },
    }
    per_step: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, (call, steps) in calls.items():
            before = time.perf_counter()
            call()
            if repeat:
                per_step[name].append((time.perf_counter() - before) / steps)
    medians = {name: statistics.median(values) for name, values in per_step.items()}
    base = medians["hoam, bare compiled loop"]
    return [
        [
            str(n),
            name,
            f"{1e6 * seconds:.0f}",
            f"{1e9 * seconds / n:.1f}",
            f"{seconds / base:.1f}",
            apart.get(name, ""),
        ]
        for name, seconds in medians.items()
    ]


def eight_rows(n: int, n_cells: int, n_steps: int) -> list[list[str]]:
    """Eight runs at once, four ways."""
    stepper = two_stream(n_cells=n_cells, dt=DT)
    start = jax.jit(stepper.init, static_argnums=1)(jax.random.key(0), n, {"mu": MU})
    one, batched = compiled_loop(stepper)
    mus = np.linspace(1.2, 1.9, 8).tolist()
    steps, end = jnp.asarray(n_steps), n_steps * DT

    def bare(mu: float) -> Any:
        return jax.block_until_ready(one(start, jnp.asarray(mu), steps))

    with ThreadPoolExecutor() as pool:
        several = {
            "one after the other": lambda: [bare(mu) for mu in mus],
            "a thread per core over the compiled loop": lambda: list(pool.map(bare, mus)),
            "vmap": lambda: jax.block_until_ready(batched(start, jnp.asarray(mus), steps)),
            "hoam.simulate": lambda: hoam.simulate(
                stepper, {"mu": mus}, [0.0, end], key=jax.random.key(0), n_samples=n, progress=False
            ),
        }
        seconds = {name: report.median_seconds(call, 3) for name, call in several.items()}
    return [[name, f"{s:.2f}"] for name, s in seconds.items()]


def main() -> None:
    """Check that all codes agree, time them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, nargs="+", default=[25_000, 1_000_000])
    parser.add_argument("--cells", type=int, default=3125)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    rows = []
    for n in options.samples:
        # About as many particle steps for every size.
        n_steps = max(40, 100_000_000 // n)
        rows += speed_rows(n, options.cells, n_steps, max(20, n_steps // 10), options.repeats)
    header = ["particles", "code", "us per step", "ns per particle and step", "times hoam", "field, energy apart"]
    eights = report.table(["eight runs", "s for 500 steps"], eight_rows(options.samples[0], options.cells, n_steps=500))
    report.write(
        "pic",
        f"# Particle-in-cell speed\n\n`python -m benchmarks.pic`: {options.cells} cells, dt = {DT}, "
        f"two-stream start, mu = {MU}; hoam in float32, NumPy in float64; medians of {options.repeats} "
        f"interleaved runs after a warm-up, of {100_000_000:.0e} particle steps each, NumPy of a tenth; load average "
        f"{load:.1f} at the start. The last column compares our field with the other code's after NumPy's steps "
        f"(largest difference over largest value; relative difference of the field energy).\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'numpy', 'scipy'])}\n\n{report.table(header, rows)}\n\n{eights}",
    )


if __name__ == "__main__":
    main()
