"""Liquids whose energy is dear and not of pairs, learned and put in jax-md's place.

Run by `python -m benchmarks.many_body`.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from benchmarks.particles import off
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.scores import pair_distribution

# Angstrom and eV; 64 atoms at the density of liquid silicon, and the cutoff of its potential.
N, BOX, CUTOFF = 64, 10.57, 3.77118
TRAINING, HELD_OUT = [0.2, 0.3, 0.45], 0.35
HORIZON, N_SCORED, N_SHELLS = 1.0, 6, 60
# What lists of neighbours reach beyond the cutoff.
HALO = 0.3
# The repulsion beside the network, without which its atoms would draw together, and what the network's energy is
# multiplied by: it makes about two thirds of the force.
SIGMA, EPSILON, SHARE = 2.6, 40.0, 10.0
# What is learned beside pairs.
POTENTIALS: dict[str, hoam.Neighbours | None] = {
    "pairs": None,
    "pairs, density": hoam.Neighbours(7, angular=0, density_degree=3),
    "pairs, density, angles (5 shells)": hoam.Neighbours(5),
    "pairs, density, angles (7 shells)": hoam.Neighbours(7),
}


SOURCES = {"forces": hoam.VelocityMatching(), "samples": hoam.ActionMatching()}


class Truth(NamedTuple):
    """What is learned.

    Attributes:
        title: of its table.
        what: it is, in words.
        dt: time step.
        lists: makes jax-md's functions of lists of neighbours and of the energy, of the period.
    """

    title: str
    what: str
    dt: float
    lists: Callable[[float], tuple[Any, Callable[..., Any]]]


def silicon(length: float) -> tuple[Any, Callable[..., Any]]:
    from jax_md import energy, space

    neighbor_fn, energy_fn = energy.stillinger_weber_neighbor_list(space.periodic(length)[0], length, dr_threshold=HALO)
    return neighbor_fn, energy_fn


def network(length: float) -> tuple[Any, Callable[..., Any]]:
    from jax_md import energy, partition, space

    displacement, _ = space.periodic(length)
    neighbor_fn, of_network = energy.behler_parrinello_neighbor_list(
        displacement,
        length,
        key=jax.random.key(0),
        sym_kwargs={"cutoff_distance": CUTOFF},
        dr_threshold=HALO,
        format=partition.Dense,
    )

    def energy_fn(R: jax.Array, neighbor: Any, **_: object) -> jax.Array:
        apart = jax.vmap(jax.vmap(displacement, (None, 0)))(R, R[neighbor.idx])
        near = jnp.maximum(1 - jnp.sqrt(jnp.maximum(jnp.sum(apart**2, axis=-1), 1e-12)) / SIGMA, 0)
        repulsion = EPSILON / 4 * jnp.sum(jnp.where(neighbor.idx < len(R), near, 0) ** 2)
        return repulsion + SHARE * of_network(R, neighbor=neighbor)

    return neighbor_fn, energy_fn


TRUTHS = {
    "silicon": Truth(
        "Silicon, whose energy depends on angles",
        "the Stillinger-Weber potential of `jax_md.energy`",
        0.01,
        silicon,
    ),
    "network": Truth(
        "A neural network of symmetry functions",
        f"the Behler-Parrinello network of `jax_md.energy` with its own symmetry functions and fixed random weights, "
        f"{SHARE:g} times, beside a soft repulsion ({EPSILON:g} eV, {SIGMA:g} A)",
        0.02,
        network,
    ),
}


def box_of(n: int) -> float:
    return float(BOX * (n / N) ** (1 / 3))


def lattice(n: int, key: jax.Array) -> jax.Array:
    """A simple cubic one, shaken, which melts."""
    side = round(n ** (1 / 3))
    points = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    places = jnp.asarray((points + 0.5) * (box_of(n) / side), jnp.float32)
    return jnp.mod(places + 0.15 * jax.random.normal(key, places.shape), box_of(n))


def stepper(truth: Truth) -> md.JaxMDStepper:
    from jax_md import simulate, space

    neighbor_fn, energy_fn = truth.lists(BOX)
    return md.from_simulation(
        simulate.nvt_langevin,
        energy_fn,
        space.periodic(BOX)[1],
        dt=truth.dt,
        position=lambda key: lattice(N, key),
        box=BOX,
        view="configuration",
        neighbor_fn=neighbor_fn,
        gamma=1.0,
        horizon=(0.0, HORIZON),
    )


def structure_of(ds: xr.Dataset) -> xr.Dataset:
    """Pair distribution up to half of the box; all pairs count."""
    return pair_distribution(ds, n_rings=N_SHELLS, most_pairs=ds.sizes["sample"] * N**2)


def seconds_in_turn(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Medians."""
    taken: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            begin = time.perf_counter()
            jax.block_until_ready(function())
            if repeat:
                taken[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in taken.items()}


def learned(
    truth: Truth, options: argparse.Namespace
) -> tuple[list[list[str]], tuple[float, float], dict[str, hoam.Surrogate]]:
    """Rows of all potentials, how far two runs of the truth are apart, and what was learned from forces."""
    of, rule = stepper(truth), hoam.quadrature.gauss_legendre(options.nodes)
    ds = hoam.simulate(
        of, {"kT": TRAINING}, rule, key=jax.random.key(0), n_samples=options.replicas, rates=True, progress=False
    )

    def run(of: Any, seed: int, **more: Any) -> xr.Dataset:
        times, key = np.linspace(0, HORIZON, N_SCORED), jax.random.key(seed)
        return hoam.simulate(of, {"kT": [HELD_OUT]}, times, key=key, n_samples=options.scored, progress=False, **more)

    held, second = run(of, 7, rates=True), run(of, 8)
    x = jnp.asarray(held["position"].values[0, 1:, ::4].reshape(-1, N, 3))
    # Recorded is the force less the friction, of coefficient 1.
    forces = (held["momentum_rate"] + held["momentum"]).values[0, 1:, ::4].reshape(-1, N, 3)
    own = structure_of(held)
    rows, models = [], {}
    for source in options.sources:
        for name, neighbours in POTENTIALS.items():
            begin = time.perf_counter()
            model = hoam.fit(
                ds,
                key=jax.random.key(1),
                structure="kinetic",
                potential=hoam.ParticlePotential(cutoff=CUTOFF, neighbours=neighbours),
                loss=SOURCES[source],
                replaces=of,
                progress=False,
            )
            seconds = time.perf_counter() - begin
            found = jax.lax.map(force_of(model, BOX), x)
            moved = structure_of(run(model, 9, initial=held))
            row = [
                source,
                name,
                str(model.learned.potential.functions.n_functions),
                f"{seconds:.0f}",
                f"{np.linalg.norm(found - forces) / np.linalg.norm(forces):.1%}",
                f"{off(moved, own):.4f}",
                f"{off(moved.isel(time=[-1]), own.isel(time=[-1])):.4f}",
            ]
            print(row, flush=True)
            rows.append(row)
            models.setdefault(name, model)
            # A process may map only so many pieces of compiled code.
            jax.clear_caches()
    ends = [one.isel(time=[-1]) for one in (structure_of(second), own)]
    return rows, (off(structure_of(second), own), off(*ends)), models


def force_of(model: hoam.Surrogate, length: float) -> Callable[..., jax.Array]:
    from jax_md import space

    return md.learned_force(model, space.periodic(length)[0], parameters={"kT": HELD_OUT})


def speeds(truth: Truth, models: dict[str, hoam.Surrogate], large: int) -> list[list[str]]:
    """Rows of jax-md's own energy and of all that was learned: one force, and steps of jax-md's ensemble."""
    rows: dict[str, list[str]] = {}
    for n in (N, large):
        neighbor_fn, energy_fn = truth.lists(box_of(n))
        start = lattice(n, jax.random.key(3))
        room = neighbor_fn.allocate(start)
        force_fns: dict[str, Callable[..., Any]] = {
            "jax-md": lambda R, neighbor, energy_fn=energy_fn, **_: -jax.grad(energy_fn)(R, neighbor=neighbor)
        }
        force_fns |= {name: force_of(model, box_of(n)) for name, model in models.items()}
        compiled = {name: jax.jit(of) for name, of in force_fns.items()}
        forces = seconds_in_turn(
            {name: functools.partial(of, start, neighbor=room) for name, of in compiled.items()}, 15
        )
        steps = seconds_in_turn({name: stepping(of, n, truth.dt, start, room) for name, of in force_fns.items()}, 5)
        for name in force_fns:
            for kind in (forces, steps):
                own, other = kind[name], kind["jax-md"]
                rows.setdefault(name, [name]).append(
                    f"{1e3 * own:.2f}" + ("" if name == "jax-md" else f" ({other / own:.2f} x)")
                )
    return list(rows.values())


def stepping(force_fn: Callable[..., Any], n: int, dt: float, start: jax.Array, room: Any) -> Callable[[], Any]:
    """Ten steps of jax-md's ensemble with its lists updated; the seconds are of all ten."""
    from jax_md import simulate, space

    init_fn, apply_fn = simulate.nvt_langevin(force_fn, space.periodic(box_of(n))[1], dt, HELD_OUT, 1.0)
    state = init_fn(jax.random.key(4), start, neighbor=room)

    def step(_: jax.Array, carried: tuple[Any, Any]) -> tuple[Any, Any]:
        state, neighbor = carried
        state = apply_fn(state, neighbor=neighbor)
        return state, neighbor.update(state.position)

    run = jax.jit(lambda state, neighbor: jax.lax.fori_loop(0, 10, step, (state, neighbor))[0].position)
    return lambda: run(state, room)


def section(truth: Truth, options: argparse.Namespace) -> str:
    rows, floors, models = learned(truth, options)
    header = ["from", "potential", "functions", "training s", "force", "g(r)", "g(r) at the end"]
    timed = ["potential"] + [f"{what}, N = {n}" for n in (N, options.large) for what in ("force", "ten steps")]
    return (
        f"## {truth.title}\n\n"
        f"{N} atoms: {truth.what}. g(r) of two runs of the truth: {floors[0]:.4f} and {floors[1]:.4f} apart.\n\n"
        f"{report.table(header, rows)}\n\n"
        "Milliseconds, and how many times as fast as jax-md's own energy, with its lists of neighbours everywhere:\n\n"
        f"{report.table(timed, speeds(truth, models, options.large))}\n"
    )


def main(words: Sequence[str] | None = None) -> None:
    """Write `many_body.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--replicas", type=int, default=24, help="of every training run")
    parser.add_argument("--scored", type=int, default=48, help="replicas that are scored")
    parser.add_argument("--nodes", type=int, default=16, help="saved times")
    parser.add_argument("--large", type=int, default=1000, help="atoms, a cubic number, for which speed is measured")
    parser.add_argument("--sources", nargs="+", choices=list(SOURCES), default=list(SOURCES), help="to learn from")
    parser.add_argument("--truths", nargs="+", choices=list(TRUTHS), default=list(TRUTHS))
    options = parser.parse_args(words)
    warnings.filterwarnings("ignore", "Explicitly requested dtype float64")
    sections = [section(TRUTHS[name], options) for name in options.truths]
    report.write(
        "many_body",
        "# Liquids whose energy is not of pairs\n\n"
        f"`python -m benchmarks.many_body`: atoms in a bath, released from a simple cubic lattice at the density of "
        f"liquid silicon; kT = {', '.join(map(str, TRAINING))} eV, {options.replicas} replicas at {options.nodes} "
        f"Gauss-Legendre nodes. Scored at kT = {HELD_OUT}, {options.scored} replicas. Force: of all forces on atoms, "
        f"L2, relative. g(r): L1 error relative to its sum, mean over {N_SCORED - 1} times and at the last one. Speeds "
        f"are of what was learned from {options.sources[0]}, medians of calls in turn. One seed.\n\n"
        + "\n".join(sections)
        + f"\n{report.machine(['hoam-plugin', 'jax', 'jax-md'])}",
    )


if __name__ == "__main__":
    main()
