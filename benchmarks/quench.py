"""The problem `lennard_jones_quench`, learned from samples and from forces. Run by `python -m benchmarks.quench`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin import simulators
from hoam_plugin.adapters import jax_md as md

TRAINING, HELD_OUT = [0.6, 0.7, 1.0, 1.3, 1.6], 0.85
N_SCORED, LONGER = 6, 10
MOMENTA = np.linspace(-4, 4, 41)


class System(NamedTuple):
    """What is simulated.

    Attributes:
        n_dimensions: axes.
        n_particles: of a replica.
        replicas: of every training run.
        scored: of every run that is scored.
    """

    n_dimensions: int
    n_particles: int
    replicas: int
    scored: int


SYSTEMS = (System(2, 64, 80, 100), System(2, 256, 16, 40), System(3, 125, 32, 60))


def trained(truth: Any, system: System, source: str, nodes: int) -> tuple[hoam.Surrogate, float]:
    """A surrogate, and the seconds that it took."""
    rule, key = hoam.quadrature.gauss_legendre(nodes), jax.random.key(0)
    ds = hoam.simulate(
        truth, {"kT": TRAINING}, rule, key=key, n_samples=system.replicas, rates=source == "forces", progress=False
    )
    begin = time.perf_counter()
    loss = hoam.VelocityMatching() if source == "forces" else None
    potential = hoam.ParticlePotential(cutoff=truth.cutoff)
    model = hoam.fit(
        ds, key=jax.random.key(1), structure="kinetic", potential=potential, loss=loss, replaces=truth, progress=False
    )
    return model, time.perf_counter() - begin


def run(of: Any, system: System, seed: int, times: np.ndarray, **options: Any) -> xr.Dataset:
    """At the held-out temperature."""
    return hoam.simulate(
        of, {"kT": [HELD_OUT]}, times, key=jax.random.key(seed), n_samples=system.scored, progress=False, **options
    )


def closest(ds: xr.Dataset, length: float) -> np.ndarray:
    """The smallest distance of two particles at every time but the first."""
    one, other = np.triu_indices(ds.sizes["particle"], 1)
    found = []
    for i in range(1, ds.sizes["time"]):
        apart = [x[one] - x[other] for x in ds["x"].values[0, i].astype(np.float64)]
        found.append(
            min(float(np.sqrt(np.sum((d - length * np.round(d / length)) ** 2, axis=-1)).min()) for d in apart)
        )
    return np.asarray(found)


def off_in_momentum(ds: xr.Dataset, truth: xr.Dataset) -> float:
    """L1 distance of the distributions of the velocities' components, mean over time."""
    fractions = [
        [np.histogram(values, MOMENTA)[0] / values.size for values in of["v"].values[0, 1:]] for of in (ds, truth)
    ]
    return float(np.mean(np.abs(np.asarray(fractions[0]) - np.asarray(fractions[1])).sum(axis=-1)))


def scores(moved: xr.Dataset, held: xr.Dataset, floor: xr.Dataset, length: float) -> dict[str, str]:
    """Beside those of a second run of the truth."""
    found = hoam.compare(held, moved, floor=floor)
    ours, second = (found.sel(reference=name).isel(run=0) for name in ("surrogate", "noise_floor"))

    def both(name: str) -> str:
        return f"{float(ours[name]):.4f} ({float(second[name]):.4f})"

    kT = [np.mean(ds["v"].values[0, 1:].astype(np.float64) ** 2, axis=(1, 2, 3)) for ds in (held, moved, floor)]
    off = [float(np.mean(np.abs(k / kT[0] - 1))) for k in kT[1:]]
    near = [closest(ds, length) for ds in (held, moved, floor)]
    apart = [float(np.abs(k / near[0] - 1).max()) for k in near[1:]]
    return {
        "g(r)": both("pair_distribution_error"),
        "smallest distance": f"{apart[0]:.1%} ({apart[1]:.1%})",
        "momenta": f"{off_in_momentum(moved, held):.4f} ({off_in_momentum(floor, held):.4f})",
        "temperature": f"{off[0]:.2%} ({off[1]:.2%})",
        "potential energy": both("potential_energy_error"),
        "pressure": both("pressure_error"),
    }


def later(of: Any, system: System, seed: int, held: xr.Dataset, horizon: float) -> xr.Dataset:
    """The state after so many times the horizon, each starting where the last one ended."""
    ends = np.linspace(0, horizon, 3)
    for part in range(LONGER - 1):
        moved = run(of, system, seed + 100 * part, ends, initial=held)
        held = moved.isel(time=slice(-1, None)).assign_coords(time=[0.0])
    return moved


def force_error(model: hoam.Surrogate, truth: Any, held: xr.Dataset) -> float:
    """Of all forces on particles, in L2, relative."""
    from jax_md import space

    displacement, _ = space.periodic(truth.length)
    learned = md.learned_force(model, displacement, parameters={"kT": HELD_OUT})
    x = jnp.asarray(held["x"].values[0, 1:, ::8].reshape(-1, *held["x"].shape[3:]))
    ours, true = (jax.lax.map(of, x) for of in (learned, lambda R: truth.pair_forces(R, {"kT": HELD_OUT})))
    return float(jnp.linalg.norm(ours - true) / jnp.linalg.norm(true))


def rows_of(system: System, sources: list[str], nodes: int) -> list[dict[str, str]]:
    """One row per source, and one each for what comes of it after ten times the horizon."""
    truth = simulators.lennard_jones_quench(n_dimensions=system.n_dimensions, n_particles=system.n_particles)
    times = np.linspace(*truth.horizon, N_SCORED)
    held, floor = run(truth, system, 7, times), run(truth, system, 8, times)
    end = held.isel(time=slice(-1, None)).assign_coords(time=[0.0])
    late, late_floor = (later(truth, system, seed, end, truth.horizon[1]) for seed in (11, 12))
    rows = []
    for source in sources:
        model, seconds = trained(truth, system, source, nodes)
        begin = time.perf_counter()
        moved = run(model, system, 9, times, initial=held)
        row = {
            "axes": str(system.n_dimensions),
            "N": str(system.n_particles),
            "from": source,
            "until": f"{truth.horizon[1]:g}",
            "replicas": str(system.replicas),
            "training s": f"{seconds:.0f}",
            "rollout s": f"{time.perf_counter() - begin:.0f}",
            "force": f"{force_error(model, truth, held):.1%}",
            **scores(moved, held, floor, truth.length),
        }
        rows.append(row)
        same = {name: row[name] for name in ("axes", "N", "from")}
        after = later(model, system, 13, end, truth.horizon[1])
        rows.append(
            {**same, "until": f"{LONGER * truth.horizon[1]:g}", **scores(after, late, late_floor, truth.length)}
        )
        print(json.dumps(rows[-2:]), flush=True)
    return rows


def main(words: list[str] | None = None) -> None:
    """Write `quench.md`, from rows that are kept beside it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--systems", type=int, nargs="+", default=[0, 1, 2], help=str(SYSTEMS))
    parser.add_argument("--sources", nargs="+", default=["samples", "forces"], choices=["samples", "forces"])
    parser.add_argument("--nodes", type=int, default=48, help="saved times")
    parser.add_argument("--rows", type=Path, help="JSON file that holds the rows of other calls, and gets these")
    options = parser.parse_args(words)
    rows = json.loads(options.rows.read_text()) if options.rows and options.rows.exists() else []
    for i in options.systems:
        rows += rows_of(SYSTEMS[i], options.sources, options.nodes)
        if options.rows:
            options.rows.write_text(json.dumps(rows))
    header = list(dict.fromkeys(name for row in rows for name in row))
    table = report.table(header, [[row.get(name, "") for name in header] for row in rows])
    report.write(
        "quench",
        "# A Lennard-Jones fluid out of a lattice\n\n"
        "`python -m benchmarks.quench`: the problem `lennard_jones_quench`, learned at kT = "
        f"{', '.join(map(str, TRAINING))} from {options.nodes} Gauss-Legendre nodes, from the samples alone or from "
        "recorded forces, by `fit(ds, structure='kinetic', potential=ParticlePotential(cutoff=...))`. Scored at kT = "
        f"{HELD_OUT} from the truth's own initial configurations, at {N_SCORED - 1} times; in brackets a second run of "
        "the truth. Force: of all forces on particles, L2, relative. g(r), potential energy and pressure: scores of "
        "`compare`. Smallest distance of two particles: largest error over time. Momenta: L1 distance of the "
        "distributions of their components. Temperature: mean relative error. The second row of each is what comes of "
        f"it after {LONGER} times the horizon, every part of it starting where the last one ended, beside the truth "
        f"that did the same. One seed.\n\n{table}\n\n{report.machine(['hoam-plugin', 'jax', 'jax-md'])}",
    )


if __name__ == "__main__":
    main()
