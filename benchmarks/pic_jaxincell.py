"""Particle-in-cell speed against JAX-in-Cell (PyPI `jaxincell`), on its own two-stream example.

JAX-in-Cell is electromagnetic, with three velocities, mobile ions, quadratic particles and a filter of the current, in
float64 (it switches JAX to float64 when imported), and keeps every step of every particle. Ours is electrostatic with
one velocity, the same mobile ions, and keeps the field energy of every step. So the ratio is what a user of an
electrostatic problem gains, not a measure of the same work. Run by `python -m benchmarks.pic_jaxincell` after
`pip install jaxincell`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from hoam_plugin.simulators import Beam, Species, VlasovPoissonPIC


def theirs(n_samples: int, n_cells: int, n_steps: int) -> Any:
    """Their default problem, the two-stream instability, with as many particles, cells and steps as told."""
    from jaxincell import Simulation  # type: ignore[import-not-found]

    return Simulation(
        {
            "domain_parameters": {"total_steps": n_steps, "number_grid_points": n_cells},
            "species_parameters": {
                "electrons": {"electrons0": {"number_pseudoparticles": n_samples // 2}},
                "ions": {"ions0": {"number_pseudoparticles": n_samples // 2}},
            },
            "solver_parameters": {"print_info": False},
        }
    )


def units(output: dict[str, Any]) -> dict[str, float]:
    """Their run in plasma units: thermal width (their speed is sqrt 2 of it) and plasma frequency of electrons."""
    frequency = float(output["plasma_frequency"])
    width = float(output["vth_electrons_over_c"]) * 299_792_458.0 / np.sqrt(2)
    field = 9.10938371e-31 * width * frequency / 1.60217663e-19
    return {"width": width, "frequency": frequency, "field": field}


def main() -> None:
    """Run the same problem with both, compare the field energies, time, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=25_000, help="electrons and ions together")
    parser.add_argument("--cells", type=int, default=50)
    parser.add_argument("--steps", type=int, default=350)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n, n_cells, n_steps = options.samples, options.cells, options.steps
    load = os.getloadavg()[0]

    simulation = theirs(n, n_cells, n_steps)
    output = jax.block_until_ready(simulation.run())
    if output["positions"].shape[:2] != (n_steps, n):
        raise AssertionError(f"jaxincell ran {output['positions'].shape[:2]} steps and particles, not {(n_steps, n)}")
    unit = units(output)
    drift = 1e8 / unit["width"]
    mass = float(np.max(output["masses"]) / np.min(output["masses"]))
    species = (
        Species("electrons", beams=(Beam(0.5, -drift, 1.0), Beam(0.5, drift, 1.0))),
        Species("ions", charge=1.0, mass=mass, beams=(Beam(1.0, 0.0, mass**-0.5),)),
    )
    length = float(output["length"]) * unit["frequency"] / unit["width"]
    dt = float(output["dt"]) * unit["frequency"]
    energy = np.mean(np.asarray(output["electric_field"])[..., 0] ** 2, axis=1) / 2 / unit["field"] ** 2

    def ours(shape: Any, dtype: Any) -> Callable[[], Any]:
        # Random particles, as theirs: the instability grows from their noise.
        stepper = VlasovPoissonPIC(
            species=species, length=length, n_cells=n_cells, dt=dt, shape=shape, amplitude=0.0, start="random"
        )
        start = jax.jit(stepper.init, static_argnums=1)(jax.random.key(0), n, {"mu": 1.0})
        start = jax.tree.map(lambda leaf: leaf.astype(dtype), start)

        @jax.jit
        def run(state: Any, size: Any) -> Any:
            def step(state: Any, _: Any) -> tuple[Any, Any]:
                state = stepper.step(state, size, {"mu": 1.0})
                return state, jnp.mean(state.aux.electric_field**2) / 2

            return jax.lax.scan(step, state, length=n_steps)[1]

        return lambda: jax.block_until_ready(run(start, jnp.asarray(dt, dtype)))

    calls: dict[str, Callable[[], Any]] = {"jaxincell": lambda: jax.block_until_ready(simulation.run())}
    for shape in ("quadratic", "linear"):
        for dtype in (np.float64, np.float32):
            calls[f"hoam, {shape}, {np.dtype(dtype).name}"] = ours(shape, dtype)
    peaks = {"jaxincell": float(energy.max())}
    peaks |= {name: float(np.max(call())) for name, call in calls.items() if name != "jaxincell"}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    # Interleaved, so that a busy moment of the machine does not fall on one code alone.
    for repeat in range(options.repeats + 1):
        for name, call in calls.items():
            before = time.perf_counter()
            call()
            if repeat:
                seconds[name].append(time.perf_counter() - before)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [
        [
            name,
            f"{1e6 * value / n_steps:.0f}",
            f"{1e9 * value / n_steps / n:.1f}",
            f"{medians['jaxincell'] / value:.1f}",
            f"{peaks[name]:.2f}",
        ]
        for name, value in medians.items()
    ]
    header = ["code", "us per step", "ns per particle and step", "times as fast as jaxincell", "largest field energy"]
    report.write(
        "pic_jaxincell",
        "# Particle-in-cell speed against JAX-in-Cell\n\n"
        f"`python -m benchmarks.pic_jaxincell`: the two-stream example of `jaxincell`, {n} particles (half electrons, "
        f"half ions), {n_cells} cells, {n_steps} steps of {dt:.3f} plasma times, streams at {drift:.2f} thermal "
        f"widths; medians of {options.repeats} interleaved runs after a warm-up; load average {load:.1f} at the start. "
        "`jaxincell` is electromagnetic, with three velocities, in float64, filters its current and keeps every step "
        "of every particle; hoam is electrostatic with one velocity and keeps the field energy of every step. The last "
        "column is the largest field energy per electron in units of electron mass times thermal width squared, "
        "a rough check that both see the same instability (theirs is damped by its filter).\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'jaxincell', 'numpy'])}\n\n{report.table(header, rows)}",
    )


if __name__ == "__main__":
    main()
