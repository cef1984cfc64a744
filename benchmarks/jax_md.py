"""A one-body surrogate in jax-md's place: marginals at temperatures not trained on, and cost per unit of time.

`python -m benchmarks.jax_md`: the quench of `yukawa_quench`, stepped by `jax_md.simulate.nvt_langevin` with the fastest
of jax-md's own ways to sum pairs, through `adapters.jax_md.from_simulation`.
"""

from __future__ import annotations

import argparse
import math
import os
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
from hoam_plugin.adapters import jax_md as md
from hoam_plugin.simulators import yukawa_quench

# The pair energy there is 4e-5 of that at the Wigner-Seitz radius.
_CUTOFF = 8.0
_SCREENING = 1.0
_FRICTION = 0.2
TRAINING = [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4]
HELD_OUT = [0.125, 0.225, 0.375]
SCORES = ("sliced_wasserstein", "histogram_l1")


def yukawa(dr: Any, **_: Any) -> Any:
    """Energy of a pair at a distance, as a user of jax-md writes it."""
    inside = (dr > 1e-3) & (dr < _CUTOFF)
    safe = jnp.where(inside, dr, 1.0)
    return jnp.where(inside, jnp.exp(-safe / _SCREENING) / safe, 0.0)


def energies(length: float) -> dict[str, tuple[Any, Any]]:
    """Ways of jax-md to sum the pairs: name to (neighbour functions or None, energy)."""
    from jax_md import partition, smap, space

    displacement, _ = space.periodic(length)
    metric = space.canonicalize_displacement_or_metric(displacement)
    ways: dict[str, tuple[Any, Any]] = {"all pairs": (None, smap.pair(yukawa, metric))}
    for form in (partition.Dense, partition.Sparse, partition.OrderedSparse):
        for threshold in (0.5, 1.0, 2.0):
            neighbor_fn = partition.neighbor_list(displacement, length, _CUTOFF, dr_threshold=threshold, format=form)
            ways[f"{form.name} list, dr_threshold {threshold:g}"] = (
                neighbor_fn,
                smap.pair_neighbor_list(yukawa, metric),
            )
    return ways


def simulator(n_particles: int, way: tuple[Any, Any], **options: Any) -> md.JaxMDStepper:
    """The quench by jax-md."""
    from jax_md import simulate, space

    quench = yukawa_quench(n_particles=n_particles)

    def start(key: Any, parameters: Any) -> Any:
        return quench.init(key, n_particles, {"kT": parameters["kT"], "screening_length": _SCREENING}).x

    _, shift = space.periodic(quench.length)
    neighbor_fn, energy = way
    settings = {"dt": quench.dt, "horizon": quench.horizon, "gamma": _FRICTION} | options
    return md.from_simulation(
        simulate.nvt_langevin,
        energy,
        shift,
        position=start,
        box=quench.length,
        neighbor_fn=neighbor_fn,
        **settings,
    )


def jax_md_loop(n_particles: int, way: tuple[Any, Any], dt: float, n_steps: int) -> Callable[[], Any]:
    """A plain jax-md program: steps in a compiled loop with its list updated in every one."""
    from jax_md import simulate, space

    quench = yukawa_quench(n_particles=n_particles)
    _, shift = space.periodic(quench.length)
    neighbor_fn, energy = way
    init_fn, apply_fn = simulate.nvt_langevin(energy, shift, dt, 0.25, gamma=_FRICTION)
    R = quench.init(jax.random.key(0), n_particles, {"kT": 0.25, "screening_length": _SCREENING}).x

    if neighbor_fn is None:
        state = init_fn(jax.random.key(1), R)
        run = jax.jit(lambda state: jax.lax.fori_loop(0, n_steps, lambda i, s: apply_fn(s), state))
        return lambda: jax.block_until_ready(run(state))
    neighbors = neighbor_fn.allocate(R, extra_capacity=8)
    start = init_fn(jax.random.key(1), R, neighbor=neighbors), neighbors

    def step(i: Any, both: tuple[Any, Any]) -> tuple[Any, Any]:
        state, neighbors = both
        neighbors = neighbors.update(state.position)
        return apply_fn(state, neighbor=neighbors), neighbors

    run = jax.jit(lambda both: jax.lax.fori_loop(0, n_steps, step, both))

    def call() -> Any:
        state, neighbors = jax.block_until_ready(run(start))
        if neighbors.did_buffer_overflow:
            raise RuntimeError("the neighbour list of the timed run overflowed; allocate it with more extra_capacity")
        return state

    return call


def surrogate_loop(model: hoam.Surrogate, n_particles: int, dt: float, n_steps: int) -> Callable[[], Any]:
    """The same program with the surrogate."""
    from jax_md import space

    quench = yukawa_quench(n_particles=n_particles)
    _, shift = space.periodic(quench.length)
    init_fn, apply_fn = md.nvt_langevin(model, shift, dt, 0.25, gamma=_FRICTION)
    R = quench.init(jax.random.key(0), n_particles, {"kT": 0.25, "screening_length": _SCREENING}).x
    state = init_fn(jax.random.key(1), R)
    run = jax.jit(lambda state: jax.lax.fori_loop(0, n_steps, lambda i, s: apply_fn(s, t=i), state))
    return lambda: md.check(jax.block_until_ready(run(state)))


def seconds_per_time(calls: dict[str, tuple[Callable[[], Any], float]], repeats: int) -> dict[str, float]:
    """Median seconds per unit of physical time of every call, which lasts so long; interleaved, after a warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, (call, duration) in calls.items():
            before = time.perf_counter()
            call()
            if repeat:
                seconds[name].append((time.perf_counter() - before) / duration)
    return {name: statistics.median(values) for name, values in seconds.items()}


def errors(truth: xr.Dataset, other: xr.Dataset, floor: xr.Dataset) -> dict[str, np.ndarray]:
    """Scores of every held-out run as multiples of the noise floor, a second run of the simulator."""
    scores = hoam.compare(truth, other, floor=floor)
    found = {
        name: scores[name].sel(reference="surrogate").values / scores[name].sel(reference="noise_floor").values
        for name in SCORES
    }
    own, noise = (
        np.sqrt(((ds["temperature"] - truth["temperature"]) ** 2).mean("time")).values for ds in (other, floor)
    )
    return {**found, "temperature curve": own / noise}


def main() -> None:
    """Write `results/jax_md.md`."""
    warnings.filterwarnings("ignore", message="Explicitly requested dtype")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=4050, help="twice a square")
    parser.add_argument("--replicas", type=int, default=2, help="of every training run")
    parser.add_argument("--iterations", type=int, default=5000)
    parser.add_argument("--width", type=int, default=24)
    parser.add_argument("--steps", type=int, default=50, help="timed steps of jax-md")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--horizon", type=float, default=20.0)
    options = parser.parse_args()
    load, n = os.getloadavg()[0], options.particles
    length = yukawa_quench(n_particles=n).length
    ways = energies(length)
    if length < 3 * _CUTOFF:
        print(f"a box of {length:.3g} is too small for cells of {_CUTOFF:g}: lists go through all pairs")

    first = seconds_per_time(
        {name: (jax_md_loop(n, way, 0.1, options.steps), 0.1 * options.steps) for name, way in ways.items()}, 2
    )
    fastest = min(first, key=first.__getitem__)
    horizon = (0.0, options.horizon)
    stepper = simulator(n, ways[fastest], horizon=horizon)
    begin = time.perf_counter()
    training = hoam.simulate(
        stepper,
        {"kT": TRAINING},
        hoam.quadrature.gauss_legendre(32),
        key=jax.random.key(0),
        n_samples=options.replicas * n,
        rates=True,
        progress=False,
    )
    simulated = time.perf_counter() - begin
    begin = time.perf_counter()
    model = hoam.fit(
        training,
        key=jax.random.key(0),
        structure="kinetic",
        # The mean force depends on the momentum: kinetic energy turns into energy of correlations.
        potential=hoam.CoLoRA(width=options.width, depth=3, rank=4),
        training=hoam.recipes.velocity_training(options.iterations),
        replaces=stepper,
        progress=False,
    )
    fitted = time.perf_counter() - begin

    times = np.linspace(0, options.horizon, 21)
    held, floor = (
        hoam.simulate(stepper, {"kT": HELD_OUT}, times, key=jax.random.key(seed), n_samples=n, progress=False)
        for seed in (1, 2)
    )
    rows, calls = [], {}
    gap = options.horizon / 20
    n_timed = max(1, math.floor(min(options.horizon, options.steps * 0.1) / 0.1))
    for dt in (0.1, 0.2):
        coarse = (
            held
            if dt == 0.1
            else hoam.simulate(
                stepper,
                {"kT": HELD_OUT},
                times,
                key=jax.random.key(3),
                n_samples=n,
                dt=dt,
                initial=held,
                progress=False,
            )
        )
        found = None if dt == 0.1 else errors(held, coarse, floor)
        steps = max(1, round(n_timed * 0.1 / dt))
        name = f"jax-md, dt = {dt:g}"
        calls[name] = (jax_md_loop(n, ways[fastest], dt, steps), steps * dt)
        rows.append((name, found))
    for dt in (gap / 8, gap / 2, gap):
        predicted = hoam.simulate(
            model.with_options(dt=dt),
            {"kT": HELD_OUT},
            times,
            key=jax.random.key(4),
            n_samples=n,
            initial=held,
            progress=False,
        )
        steps = max(1, math.floor(options.horizon / dt * 0.9))
        name = f"surrogate, dt = {dt:g}"
        calls[name] = (surrogate_loop(model.with_options(dt=dt), n, dt, steps), steps * dt)
        rows.append((name, errors(held, predicted, floor)))
    seconds = seconds_per_time(calls, options.repeats)

    def cells(found: dict[str, np.ndarray] | None) -> list[str]:
        if found is None:
            return ["the truth", "", ""]
        return [" / ".join(f"{value:.2f}" for value in found[score]) for score in (*SCORES, "temperature curve")]

    good = [name for name, found in rows if found is None or all((values <= 2).all() for values in found.values())]
    jax_md = min((seconds[name] for name in good if name.startswith("jax-md")), default=math.nan)
    ours = min((seconds[name] for name in good if name.startswith("surrogate")), default=math.nan)
    table = report.table(
        ["code", *(f"{score}, in floors" for score in (*SCORES, "temperature curve")), "ms per unit of time"],
        [[name, *cells(found), f"{1e3 * seconds[name]:.3g}"] for name, found in rows],
    )
    sums = report.table(
        ["pairs summed by", "ms per step"], [[name, f"{1e2 * value:.3g}"] for name, value in first.items()]
    )
    report.write(
        "jax_md",
        "# A one-body surrogate in jax-md's place\n\n"
        f"`python -m benchmarks.jax_md`: {n} screened charges in a bath after a quench (`yukawa_quench`, screening "
        f"length {_SCREENING:g}), by `jax_md.simulate.nvt_langevin` through `from_simulation`. Trained at kT = "
        f"{', '.join(f'{kT:g}' for kT in TRAINING)} (simulated in {simulated:.0f} s, fitted in {fitted:.0f} s, "
        f'structure="kinetic", a potential of width {options.width}, rates recorded), '
        f"scored at kT = {' / '.join(f'{kT:g}' for kT in HELD_OUT)} from the "
        "truth's own initial samples. Scores of the position-momentum marginals and of the temperature curve (root "
        "mean square over time) are multiples of the noise floor, that of a second run of jax-md. Times: jitted loops "
        f"in float32, warm, medians of {options.repeats} interleaved runs; load average {load:.1f} at the start.\n\n"
        f"{report.machine(['hoam-plugin', 'jax', 'jax-md'])}\n\n{table}\n\n"
        f"Among the rows within 2 floors everywhere, jax-md takes {jax_md / ours:.1f} times as long as the surrogate. "
        f"jax-md sums its pairs in the fastest of these ways ({fastest}; cut off at {_CUTOFF:g} radii):\n\n{sums}",
    )


if __name__ == "__main__":
    main()
