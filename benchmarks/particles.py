"""A Lennard-Jones fluid learned from samples alone, and put in jax-md's place. Run by `python -m benchmarks.particles`.

Configurations of 64 particles in two dimensions, released from a square lattice into a bath at several temperatures.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin import ensembles
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.scores import pair_distribution
from hoam_plugin.steppers import Variable

DENSITY, ONSET, CUTOFF = 0.7, 1.8, 2.5
N, LARGE = 64, 4096
TRAINING, HELD_OUT = [0.5, 0.7, 1.0, 1.3, 1.6], 0.85
# Name of jax-md's ensemble -> step, horizon, structure.
ENSEMBLES = {"brownian": (2e-4, 0.2, "gradient"), "nvt_langevin": (5e-3, 2.0, "kinetic")}
N_RINGS, N_SCORED = 60, 5
Force = Callable[..., Any]


def box_of(n: int) -> float:
    return float((n / DENSITY) ** 0.5)


def lattice(n: int, key: jax.Array) -> jax.Array:
    """A square one, shaken."""
    side, box = round(n**0.5), box_of(n)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    places = jnp.asarray((grid + 0.5) * (box / side), jnp.float32)
    return jnp.mod(places + 0.05 * jax.random.normal(key, places.shape), box)


def energy_of(displacement: Any) -> Any:
    from jax_md import energy

    return energy.lennard_jones_pair(displacement, r_onset=ONSET, r_cutoff=CUTOFF)


def stepper(ensemble: str) -> md.JaxMDStepper:
    from jax_md import simulate, space

    dt, horizon, _ = ENSEMBLES[ensemble]
    displacement, shift = space.periodic(box_of(N))
    return md.from_simulation(
        getattr(simulate, ensemble),
        energy_of(displacement),
        shift,
        dt=dt,
        position=lambda key: lattice(N, key),
        box=box_of(N),
        view="configuration",
        gamma=1.0,
        horizon=(0.0, horizon),
    )


# Structure


def structure_of(ds: xr.Dataset, r_max: float | None = None) -> xr.Dataset:
    """Pair distribution, by rings up to half of the box of N particles, and smallest distance; all pairs count."""
    return pair_distribution(ds, n_rings=N_RINGS, r_max=r_max, most_pairs=ds.sizes["sample"] * LARGE**2)


def off(structure: xr.Dataset, truth: xr.Dataset) -> float:
    """L1 distance of pair distributions, relative; mean over all times but the first, where there are several."""
    g, own = (ds["pair_distribution"].values[0, min(1, ds.sizes["time"] - 1) :] for ds in (structure, truth))
    return float(np.mean(np.abs(g - own).sum(axis=-1) / own.sum(axis=-1)))


# What is measured


def trained(ensemble: str, replicas: int, nodes: int) -> tuple[hoam.Surrogate, float]:
    """A surrogate from samples alone, and the seconds that it took."""
    truth = stepper(ensemble)
    rule, key = hoam.quadrature.gauss_legendre(nodes), jax.random.key(0)
    ds = hoam.simulate(truth, {"kT": TRAINING}, rule, key=key, n_samples=replicas, progress=False)
    begin = time.perf_counter()
    model = hoam.fit(
        ds,
        key=jax.random.key(1),
        structure=ENSEMBLES[ensemble][2],
        potential=hoam.ParticlePotential(cutoff=CUTOFF),
        replaces=truth,
        progress=False,
    )
    return model, time.perf_counter() - begin


def force_error(model: hoam.Surrogate, g: np.ndarray) -> float:
    """Of the force between two particles, in L2 over the distances where g > .1, weighted by it; relative."""
    from jax_md import space

    displacement, _ = space.free()
    middles = (np.arange(N_RINGS) + 0.5) * (box_of(N) / 2 / N_RINGS)
    seen = (g > 0.1) & (middles < CUTOFF)
    pairs = jnp.asarray(np.stack([np.zeros((seen.sum(), 2)), np.c_[middles[seen], 0 * middles[seen]]], axis=1), float)
    learned = md.learned_force(model, displacement, parameters={"kT": HELD_OUT})
    forces = [
        np.asarray(jax.vmap(of)(pairs))[:, 1, 0] for of in (learned, jax.grad(lambda R: -energy_of(displacement)(R)))
    ]
    return float(np.sqrt(np.sum(g[seen] * (forces[0] - forces[1]) ** 2) / np.sum(g[seen] * forces[1] ** 2)))


def at_another_temperature(ensemble: str, model: hoam.Surrogate, replicas: int) -> dict[str, str]:
    """Scores over time, beside those of a second run of the truth."""
    truth = stepper(ensemble)
    times = np.linspace(*truth.horizon, N_SCORED)

    def run(of: Any, seed: int, **options: Any) -> xr.Dataset:
        return hoam.simulate(
            of, {"kT": [HELD_OUT]}, times, key=jax.random.key(seed), n_samples=replicas, progress=False, **options
        )

    held, floor = run(truth, 7), run(truth, 8)
    begin = time.perf_counter()
    moved = run(model, 9, initial=held)
    seconds = time.perf_counter() - begin
    own, second, ours = map(structure_of, (held, floor, moved))
    closest = abs(ours["smallest_distance"] / own["smallest_distance"] - 1).values[0, 1:].max()
    row = {
        "pair force": f"{force_error(model, own['pair_distribution'].values[0, -1]):.1%}",
        "g(r)": f"{off(ours, own):.4f} ({off(second, own):.4f})",
        "smallest distance": f"{closest:.1%}",
        "rollout s": f"{seconds:.0f}",
    }
    if "momentum" in held:
        kT = [np.mean(ds["momentum"].values[0, 1:] ** 2, axis=(1, 2, 3)) for ds in (held, floor, moved)]
        ratio = [np.mean(np.abs(k / kT[0] - 1)) for k in kT[1:]]
        row["temperature"] = f"{ratio[1]:.2%} ({ratio[0]:.2%})"
    return row


def large(model: hoam.Surrogate, n_steps: int) -> str:
    """The fluid of 4096 particles in jax-md, with neighbour lists, and the cost of its forces."""
    from jax_md import energy, simulate, space

    box = box_of(LARGE)
    displacement, shift = space.periodic(box)
    neighbor_fn, energy_fn = energy.lennard_jones_neighbor_list(
        displacement, box, r_onset=ONSET, r_cutoff=CUTOFF, dr_threshold=0.3
    )
    start = lattice(LARGE, jax.random.key(3))
    room = neighbor_fn.allocate(start)
    learned = md.learned_force(model, displacement, parameters={"kT": HELD_OUT})
    forces: dict[str, Force] = {
        "jax-md": jax.jit(lambda R, neighbor: -jax.grad(energy_fn)(R, neighbor=neighbor)),
        "learned": jax.jit(lambda R, neighbor: learned(R, neighbor=neighbor)),
    }
    seconds: dict[str, list[float]] = {name: [] for name in forces}
    for repeat in range(31):
        for name, force in forces.items():
            begin = time.perf_counter()
            jax.block_until_ready(force(start, room))
            if repeat:
                seconds[name].append(time.perf_counter() - begin)

    def fluid(pair: Any, seed: int) -> tuple[xr.Dataset, bool]:
        init_fn, apply_fn = pair

        @jax.jit
        def run(R: Any, neighbor: Any) -> Any:
            def advance(_: Any, carry: Any) -> Any:
                state = apply_fn(carry[0], neighbor=carry[1])
                return state, carry[1].update(state.position)

            state = init_fn(jax.random.key(seed), R, neighbor=neighbor)
            state, neighbor = jax.lax.fori_loop(0, n_steps, advance, (state, neighbor))
            return state.position, neighbor.did_buffer_overflow

        position, overflowed = run(start, room)
        variable = Variable("position", dims=("particle", "axis"), period=box)
        frame = ensembles.frame([0.0], {"kT": [HELD_OUT]})
        ds = ensembles.build(frame, (variable,), {"position": np.asarray(position)[None, None, None]})
        return structure_of(ds, box_of(N) / 2), bool(overflowed)

    arguments: dict[str, Any] = {"dt": ENSEMBLES["nvt_langevin"][0], "kT": HELD_OUT, "gamma": 1.0}
    own, second = (fluid(simulate.nvt_langevin(energy_fn, shift, **arguments), seed) for seed in (1, 2))
    ours = fluid(md.nvt_langevin(model, shift, **arguments), 3)
    assert not any(overflowed for _, overflowed in (own, second, ours))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return (
        f"In jax-md's place with {LARGE} particles and neighbour lists (`md.nvt_langevin`), after {n_steps} steps: "
        f"g(r) off by {off(ours[0], own[0]):.4f}, two runs of jax-md by {off(second[0], own[0]):.4f}. "
        f"A force takes {1e3 * medians['learned']:.2f} ms, that of jax-md's own list {1e3 * medians['jax-md']:.2f} ms: "
        f"{medians['jax-md'] / medians['learned']:.2f} times as fast (medians of 30, in turn)."
    )


def main(words: list[str] | None = None) -> None:
    """Write `particles.md`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--replicas", type=int, nargs="+", default=[40], help="of every training run")
    parser.add_argument("--nodes", type=int, default=48, help="saved times")
    parser.add_argument("--scored", type=int, default=100, help="replicas that are scored")
    parser.add_argument("--steps", type=int, default=600, help="of the large system")
    options = parser.parse_args(words)
    rows, model = [], None
    for ensemble in ENSEMBLES:
        for replicas in options.replicas:
            model, seconds = trained(ensemble, replicas, options.nodes)
            assert model.history is not None
            found = at_another_temperature(ensemble, model, options.scored)
            row = {"ensemble": ensemble, "replicas": str(replicas), "training s": f"{seconds:.0f}", **found}
            rows.append({**row, "how pairs depend": model.history.attrs["verdict"]})
    assert model is not None
    header = list(dict.fromkeys(name for row in rows for name in row))
    table = report.table(header, [[row.get(name, "-") for name in header] for row in rows])
    text = (
        "# A Lennard-Jones fluid, from samples alone\n\n"
        f"`python -m benchmarks.particles`: {N} particles in two dimensions at the density {DENSITY}, released from a "
        f"square lattice into a bath at kT = {', '.join(map(str, TRAINING))}, saved at {options.nodes} Gauss-Legendre "
        f"nodes; learned by `fit(ds, potential=ParticlePotential(cutoff={CUTOFF}))` from the samples, in the declared "
        f"noise and friction. Scored at kT = {HELD_OUT}, {options.scored} replicas, {N_SCORED - 1} times: L1 error "
        "of g(r) relative to its sum, mean over time (in brackets a second run of the truth); largest error over time "
        "of the smallest distance of two particles; mean relative error of the kinetic temperature; the force of a "
        "pair in L2, weighted by g(r), where g > .1. One seed.\n\n"
        f"{table}\n\n{large(model, options.steps)}\n\n{report.machine(['hoam-plugin', 'jax', 'jax-md'])}"
    )
    report.write("particles", text)


if __name__ == "__main__":
    main()
