"""Silicon of Stillinger and Weber, whose energy depends on angles, learned and put in jax-md's place.

Run by `python -m benchmarks.many_body`.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from benchmarks.particles import off
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.scores import pair_distribution

# Angstrom and eV; 64 atoms at the density of the liquid, and the cutoff of the potential.
N, BOX, CUTOFF = 64, 10.57, 3.77118
LARGE = 1000
TRAINING, HELD_OUT = [0.2, 0.3, 0.45], 0.35
DT, HORIZON, N_SCORED, N_SHELLS = 0.01, 1.0, 6, 60
# What is learned beside pairs.
POTENTIALS: dict[str, hoam.Neighbours | None] = {
    "pairs": None,
    "pairs, density": hoam.Neighbours(7, angular=0, density_degree=3),
    "pairs, density, angles (5 shells)": hoam.Neighbours(5),
    "pairs, density, angles (7 shells)": hoam.Neighbours(7),
}


def box_of(n: int) -> float:
    return float(BOX * (n / N) ** (1 / 3))


def lattice(n: int, key: jax.Array) -> jax.Array:
    """A simple cubic one, shaken, which melts."""
    side = round(n ** (1 / 3))
    points = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = jnp.asarray((points + 0.5) * (box_of(n) / side), jnp.float32)
    return jnp.mod(places + 0.15 * jax.random.normal(key, places.shape), box_of(n))


def stepper() -> md.JaxMDStepper:
    from jax_md import energy, simulate, space

    displacement, shift = space.periodic(BOX)
    return md.from_simulation(
        simulate.nvt_langevin,
        energy.stillinger_weber(displacement),
        shift,
        dt=DT,
        position=lambda key: lattice(N, key),
        box=BOX,
        view="configuration",
        gamma=1.0,
        horizon=(0.0, HORIZON),
    )


def structure_of(ds: xr.Dataset) -> xr.Dataset:
    """Pair distribution up to half of the box; all pairs count."""
    return pair_distribution(ds, n_rings=N_SHELLS, most_pairs=ds.sizes["sample"] * N**2)


def seconds_in_turn(forces: dict[str, Callable[..., Any]], *arguments: Any) -> dict[str, float]:
    """Medians."""
    taken: dict[str, list[float]] = {name: [] for name in forces}
    for repeat in range(21):
        for name, force in forces.items():
            begin = time.perf_counter()
            jax.block_until_ready(force(*arguments))
            if repeat:
                taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in taken.items()}


def main(words: list[str] | None = None) -> None:
    """Write `many_body.md`."""
    from jax_md import energy, space

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--replicas", type=int, default=24, help="of every training run")
    parser.add_argument("--scored", type=int, default=48, help="replicas that are scored")
    parser.add_argument("--nodes", type=int, default=16, help="saved times")
    options = parser.parse_args(words)
    warnings.filterwarnings("ignore", "Explicitly requested dtype float64")
    truth, rule = stepper(), hoam.quadrature.gauss_legendre(options.nodes)
    ds = hoam.simulate(
        truth, {"kT": TRAINING}, rule, key=jax.random.key(0), n_samples=options.replicas, rates=True, progress=False
    )

    def run(of: Any, seed: int, **more: Any) -> xr.Dataset:
        times, key = np.linspace(0, HORIZON, N_SCORED), jax.random.key(seed)
        return hoam.simulate(of, {"kT": [HELD_OUT]}, times, key=key, n_samples=options.scored, progress=False, **more)

    held, floor = run(truth, 7), run(truth, 8)
    displacement, _ = space.periodic(BOX)
    x = jnp.asarray(held["position"].values[0, 1:, ::4].reshape(-1, N, 3))
    dear = energy.stillinger_weber(displacement)
    true = jax.lax.map(jax.grad(lambda R: -dear(R)), x)
    own, second = structure_of(held), structure_of(floor)
    rows, models = [], {}
    for source, loss in (("forces", hoam.VelocityMatching()), ("samples", hoam.ActionMatching())):
        for name, neighbours in POTENTIALS.items():
            begin = time.perf_counter()
            model = hoam.fit(
                ds,
                key=jax.random.key(1),
                structure="kinetic",
                potential=hoam.ParticlePotential(cutoff=CUTOFF, neighbours=neighbours),
                loss=loss,
                replaces=truth,
                progress=False,
            )
            seconds = time.perf_counter() - begin
            force = jax.lax.map(md.learned_force(model, displacement, parameters={"kT": HELD_OUT}), x)
            moved = structure_of(run(model, 9, initial=held))
            row = [
                source,
                name,
                str(model.learned.potential.functions.n_functions),
                f"{seconds:.0f}",
                f"{float(jnp.linalg.norm(force - true) / jnp.linalg.norm(true)):.1%}",
                f"{off(moved, own):.4f}",
                f"{off(moved.isel(time=[-1]), own.isel(time=[-1])):.4f}",
            ]
            print(row, flush=True)
            rows.append(row)
            models[source, name] = model
    floors = off(second, own), off(second.isel(time=[-1]), own.isel(time=[-1]))

    large, _ = space.periodic(box_of(LARGE))
    neighbor_fn, dear_fn = energy.stillinger_weber_neighbor_list(large, box_of(LARGE), dr_threshold=0.3)
    start = lattice(LARGE, jax.random.key(3))
    room = neighbor_fn.allocate(start)
    forces: dict[str, Callable[..., Any]] = {
        "jax-md": jax.jit(lambda R, neighbor: -jax.grad(dear_fn)(R, neighbor=neighbor))
    }
    for name in POTENTIALS:
        learned = md.learned_force(models["forces", name], large, parameters={"kT": HELD_OUT})
        forces[name] = jax.jit(lambda R, neighbor, learned=learned: learned(R, neighbor=neighbor))
    taken = seconds_in_turn(forces, start, room)
    few = {"jax-md": jax.jit(jax.vmap(jax.grad(lambda R: -dear(R))))}
    for name in POTENTIALS:
        learned = md.learned_force(models["forces", name], displacement, parameters={"kT": HELD_OUT})
        few[name] = jax.jit(jax.vmap(learned))
    taken_few = seconds_in_turn(few, x[:8])
    header = ["from", "potential", "functions", "training s", "force", "g(r)", "g(r) at the end"]
    times_faster = "; ".join(
        f"{name}: {taken['jax-md'] / taken[name]:.2f} times with lists ({1e3 * taken[name]:.1f} ms), "
        f"{taken_few['jax-md'] / taken_few[name]:.1f} times without"
        for name in POTENTIALS
    )
    report.write(
        "many_body",
        "# Silicon, whose energy depends on angles\n\n"
        f"`python -m benchmarks.many_body`: {N} atoms of the Stillinger-Weber potential (`jax_md.energy`) in a bath, "
        f"released from a simple cubic lattice at the density of the liquid; kT = {', '.join(map(str, TRAINING))} eV, "
        f"{options.replicas} replicas at {options.nodes} Gauss-Legendre nodes. Scored at kT = {HELD_OUT}, "
        f"{options.scored} replicas. Force: of all forces on atoms, L2, relative. g(r): L1 error relative to its sum, "
        f"mean over {N_SCORED - 1} times and at the last one; two runs of the truth are {floors[0]:.4f} and "
        f"{floors[1]:.4f} apart. One seed.\n\n{report.table(header, rows)}\n\n"
        f"Speed of the forces against jax-md's own, medians of 20 in turn: {LARGE} atoms and its list of neighbours "
        f"({1e3 * taken['jax-md']:.1f} ms), and 8 replicas of {N} atoms without one ({1e3 * taken_few['jax-md']:.1f} "
        f"ms). {times_faster}.\n\n{report.machine(['hoam-plugin', 'jax', 'jax-md'])}",
    )


if __name__ == "__main__":
    main()
