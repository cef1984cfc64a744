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


def main() -> None:
    """Check that all codes agree, time them, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=25_000)
    parser.add_argument("--cells", type=int, default=3125)
    parser.add_argument("--steps", type=int, default=4000, help="steps of the compiled code; NumPy takes a tenth")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n, n_cells, n_steps, dt = options.samples, options.cells, options.steps, 0.01
    n_numpy = n_steps // 10
    load = os.getloadavg()[0]

    stepper = two_stream(n_cells=n_cells, dt=dt)
    start = jax.jit(stepper.init, static_argnums=1)(jax.random.key(0), n, {"mu": MU})
    x, v = np.asarray(start.x, np.float64), np.asarray(start.v, np.float64)

    def loop(state: Any, mu: jax.Array, steps: jax.Array) -> Any:
        return jax.lax.fori_loop(0, steps, lambda i, s: stepper.step(s, dt, {"mu": mu}), state)

    options_of_simulate = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    compiled = jax.jit(loop, compiler_options=options_of_simulate)
    batched = jax.jit(jax.vmap(loop, in_axes=(None, 0, None)), compiler_options=options_of_simulate)

    def bare(mu: float = MU, steps: int = n_steps) -> Any:
        return jax.block_until_ready(compiled(start, jnp.asarray(mu), jnp.asarray(steps)))

    def simulated(mus: tuple[float, ...] = (MU,), steps: int = n_steps) -> object:
        return hoam.simulate(
            stepper, {"mu": mus}, [0.0, steps * dt], key=jax.random.key(0), n_samples=n, progress=False
        )

    solvers = {
        "NumPy, bincount and sparse direct solve": sparse_direct_solver(n_cells),
        "NumPy, bincount and cumulative sums": cumulative_sum_solver(n_cells),
    }
    checked = min(400, n_steps)
    ours = bare(steps=checked).aux.electric_field
    ours = (np.asarray(ours, np.float64) + np.roll(ours, 1)) / 2
    differences, energies = {}, {}
    for name, solve in solvers.items():
        field = numpy_pic(x, v, checked, dt, n_cells, solve)[2]
        differences[name] = np.abs(field - ours).max() / np.abs(field).max()
        energies[name] = field_energy(ours) / field_energy(field) - 1
        if not (differences[name] < 1e-2 and abs(energies[name]) < 1e-3):
            raise AssertionError(f"{name} computes another field: {differences[name]:.1e}, {energies[name]:.1e}")

    # Interleaved, so that a busy moment of the machine does not fall on one code alone.
    calls: dict[str, tuple[Callable[[], object], int]] = {
        "hoam, bare compiled loop": (bare, n_steps),
        "hoam, through simulate": (simulated, n_steps),
        **{
            name: (lambda solve=solve: numpy_pic(x, v, n_numpy, dt, n_cells, solve), n_numpy)  # type: ignore[misc]
            for name, solve in solvers.items()
        },
    }
    per_step: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(options.repeats + 1):
        for name, (call, steps) in calls.items():
            before = time.perf_counter()
            call()
            if repeat:
                per_step[name].append((time.perf_counter() - before) / steps)
    medians = {name: statistics.median(values) for name, values in per_step.items()}
    base = medians["hoam, bare compiled loop"]
    rows = [
        [
            name,
            f"{1e6 * seconds:.0f}",
            f"{1e9 * seconds / n:.1f}",
            f"{seconds * n_steps:.2f}",
            f"{seconds / base:.1f}",
            f"{differences[name]:.0e}, {energies[name]:+.0e}" if name in differences else "",
        ]
        for name, seconds in medians.items()
    ]
    speed = report.table(
        [
            "code",
            "us per step",
            "ns per particle and step",
            f"s for {n_steps} steps",
            "times hoam",
            "field, energy apart",
        ],
        rows,
    )

    eight = tuple(np.linspace(1.2, 1.9, 8).tolist())
    few = n_steps // 8
    with ThreadPoolExecutor() as pool:
        several = {
            "one after the other": lambda: [bare(mu, few) for mu in eight],
            "a thread per core over the compiled loop": lambda: list(pool.map(lambda mu: bare(mu, few), eight)),
            "vmap": lambda: jax.block_until_ready(batched(start, jnp.asarray(eight), jnp.asarray(few))),
            "hoam.simulate": lambda: simulated(eight, few),
        }
        seconds = {name: report.median_seconds(call, 3) for name, call in several.items()}
    eights = report.table(["eight runs", f"s for {few} steps"], [[name, f"{s:.2f}"] for name, s in seconds.items()])

    report.write(
        "pic",
        "# Particle-in-cell speed\n\n"
        f"`python -m benchmarks.pic`: {n} particles, {n_cells} cells, dt = {dt}, "
        f"two-stream start, mu = {MU}; hoam in float32, NumPy in float64; medians of {options.repeats} "
        f"interleaved runs after a warm-up; NumPy timed over {n_numpy} steps; load average {load:.1f} at the start. "
        f"The last column compares our field with the other code's after {checked} steps "
        f"(largest difference over largest value; relative difference of the field energy).\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'numpy', 'scipy'])}\n\n{speed}\n\n{eights}",
    )


if __name__ == "__main__":
    main()
