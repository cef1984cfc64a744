"""`Surrogate.solve` as user code calls it, beside `simulate` and diffrax, one thread. `python -m benchmarks.solve`."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

import hoam_plugin as hoam
from benchmarks import report
from hoam_plugin.quadrature import gauss_legendre
from hoam_plugin.surrogates import with_learned

MU, HORIZON = 1.55, 40.0
NETWORKS = {"5 x 32": (32, 5), "7 x 64": (64, 7)}
# Samples, steps, saved times behind the start.
WORK = (5000, 200, 8)
KINETIC_WORK = (25_000, 200, 40)
MEMORY = (25_000, 1000, 1)
Way = Literal["simulate", "solve", "solve in jit", "solve in jit, all traced", "diffrax in jit"]
WAYS: tuple[Way, ...] = ("simulate", "solve", "solve in jit", "solve in jit, all traced", "diffrax in jit")


def model_of(network: str, integrator: Any, *, kinetic: bool = False) -> hoam.Surrogate:
    """A surrogate of `two_stream` with noise and steps of 0.04, trained for two iterations."""
    sim = hoam.stepper("two_stream")
    ds = hoam.simulate(sim, {"mu": [1.2, 1.9]}, gauss_legendre(16), key=jax.random.key(0), n_samples=256, rates=True)
    training = hoam.Training(iterations=2, n_samples=64)
    if kinetic:
        model = hoam.fit(ds, key=jax.random.key(0), structure="kinetic", training=training, progress=False)
        return model.with_options(dt=HORIZON / 1000)
    width, depth = NETWORKS[network]
    potential = hoam.CoLoRA(width=width, depth=depth, rank=3)
    loss = hoam.ActionMatching(epsilon=0.05)
    model = hoam.fit(
        ds.drop_vars(["x_rate", "v_rate"]),
        key=jax.random.key(0),
        structure="gradient",
        potential=potential,
        loss=loss,
        training=training,
        clock="physical",
        progress=False,
    )
    weights = potential.init(jax.random.key(0), 3, 2)
    last = weights["layers"][-1]
    last |= {"W": 0.01 * jax.random.normal(jax.random.key(1), last["W"].shape)}
    model = with_learned(model, potential=potential, weights=weights)
    return model.with_options(integrator=integrator, noise="independent", dt=HORIZON / 1000)


def diffrax_solution(model: hoam.Surrogate, state: Any, times: Any, parameters: Any, key: Any) -> Any:
    """One Euler-Maruyama solve by diffrax per sample, with a Brownian tree of its own."""
    scale = model.learned.normalisation.scale * (model.learned.epsilon / model.learned.normalisation.duration**0.5)

    def one(y: Any, key: Any) -> Any:
        def drift(t: Any, y: Any, args: Any) -> Any:
            return model.velocity(y[None], t, parameters)[0]

        path = diffrax.VirtualBrownianTree(0.0, HORIZON, tol=model.dt / 2, shape=y.shape, key=key)
        terms = diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(lambda t, y, args: jnp.diag(scale), path))
        saved = diffrax.SaveAt(ts=times)
        return diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, times[-1], model.dt, y, saveat=saved).ys

    y0 = jnp.stack([state.x, state.v], axis=-1)
    return jax.vmap(one)(y0, jax.random.split(key, len(y0)))


def call_of(way: Way, model: hoam.Surrogate, state: Any, times: np.ndarray) -> Callable[[], Any]:
    """The work of one row as a function without arguments."""
    parameters, key = {"mu": jnp.asarray(MU)}, jax.random.key(2)

    def simulate() -> xr.Dataset:
        return hoam.simulate(model, {"mu": [MU]}, times, key=key, initial=state, n_samples=len(state.x), progress=False)

    if way == "simulate":
        return simulate
    if way == "solve":
        return lambda: model.solve(state, times, {"mu": MU}, key=key)
    traced = jnp.asarray(times, jnp.float32)
    functions: dict[str, Callable[..., Any]] = {
        "solve in jit": lambda m, s, t, p, k: m.solve(dataclasses.replace(s, time=0.0), times, p, key=k),
        "solve in jit, all traced": lambda m, s, t, p, k: m.solve(s, t, p, key=k),
        "diffrax in jit": diffrax_solution,
    }
    compiled = jax.jit(functions[way])
    return lambda: compiled(model, state, traced, parameters, key)


def seconds_of(call: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Of the first call, and the median of the others."""
    begin = time.perf_counter()
    jax.block_until_ready(call())
    first = time.perf_counter() - begin
    return {"first": first, "median": report.median_seconds(lambda: jax.block_until_ready(call()), repeats)}


def in_process(case: dict[str, Any]) -> dict[str, float]:
    """One row, in this process."""
    n_samples, n_steps, n_saved = case["work"]
    model = model_of(case["network"], case["integrator"], kinetic=case["network"] == "kinetic")
    state = hoam.stepper("two_stream").init(jax.random.key(1), n_samples, {"mu": MU})
    times = np.linspace(0.0, n_steps * model.dt, n_saved + 1)
    if not case.get("memory"):
        return seconds_of(call_of(case["way"], model, state, times), case["repeats"])
    key = None if case["network"] == "kinetic" else jax.random.key(2)

    def value(mu: Any, state: Any) -> Any:
        return jnp.mean(model.solve(state, times, {"mu": mu}, key=key).v[-1] ** 2)

    function = jax.jit(jax.grad(value) if case.get("reverse") else value)
    lowered = function.lower(jnp.asarray(MU), state)
    begin = time.perf_counter()
    compiled = lowered.compile()
    first = time.perf_counter() - begin
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.perf_counter()
    jax.block_until_ready(compiled(jnp.asarray(MU), state))
    seconds = time.perf_counter() - begin
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    temporary = compiled.memory_analysis().temp_size_in_bytes / 1e6
    return {"first": first, "seconds": seconds, "grown": (after - before) * 1024 / 1e6, "temporary": temporary}


def of_a_process(case: dict[str, Any], core: int) -> dict[str, float]:
    """One row in a process of its own, on one core."""
    command = [sys.executable, "-m", "benchmarks.solve", "--case", json.dumps(case)]
    run = subprocess.run(
        command,
        check=True,
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    return json.loads(run.stdout.splitlines()[-1])


def times_of_ways(core: int, repeats: int) -> str:
    """Table of all ways to do the same work, for networks, integrators, and a learned force."""
    cases: list[tuple[str, Any, tuple[int, int, int]]] = [(n, i, WORK) for n in NETWORKS for i in ("euler", "heun")]
    cases.append(("kinetic", None, KINETIC_WORK))
    rows = []
    for network, integrator, work in cases:
        base = None
        for way in WAYS:
            if way == "diffrax in jit" and integrator != "euler":
                continue
            case = {"network": network, "integrator": integrator, "way": way, "work": work, "repeats": repeats}
            own = of_a_process(case, core)
            base = base or own["median"]
            numbers = [f"{own['first']:.1f}", f"{own['median']:.3g}", f"{own['median'] / base:.2f}"]
            rows.append([network, integrator or "splitting", way, *numbers])
            print(rows[-1], flush=True)
    return report.table(["layers", "integrator", "way", "first call s", "median s", "times simulate"], rows)


def memory(core: int) -> str:
    """Table of the memory of values and gradients."""
    rows = []
    for network in ("kinetic", *NETWORKS):
        for reverse in (False, True):
            integrator = None if network == "kinetic" else "euler"
            case = {"network": network, "integrator": integrator, "work": MEMORY, "memory": True, "reverse": reverse}
            own = of_a_process(case, core)
            numbers = [f"{own['first']:.1f}", f"{own['seconds']:.3g}", f"{own['temporary']:.0f}", f"{own['grown']:.0f}"]
            rows.append([network, "gradient" if reverse else "value", *numbers])
            print(rows[-1], flush=True)
    header = [
        "layers",
        "computed",
        "compiled in s",
        "s",
        "MB beyond arguments and result",
        "MB by which the process grew",
    ]
    return report.table(header, rows)


def main() -> None:
    """Write `results/solve.md` or, with `--memory`, `results/solve_memory.md`; a row is a process on one core."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="one row, in this process (JSON)")
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", action="store_true")
    options = parser.parse_args()
    if options.case:
        print(json.dumps(in_process(json.loads(options.case))))
        return
    machine = report.machine(["hoam-plugin", "jax", "diffrax"])
    if options.memory:
        n_samples, n_steps, _ = MEMORY
        report.write(
            "solve_memory",
            f"# Memory of a trajectory\n\n`python -m benchmarks.solve --memory`: `solve` inside `jit`, {n_samples} "
            f"samples, {n_steps} steps, two saved times; the value, or the gradient by a parameter in reverse mode. "
            "Every row is a process of one thread; seconds are of one call. First XLA's own account, then the "
            f"largest resident memory after the call less that before it.\n\n{machine}\n\n{memory(options.core)}",
        )
        return
    report.write(
        "solve",
        f"# A trajectory in user code\n\n`python -m benchmarks.solve`: {WORK[0]} samples, {WORK[1]} steps, {WORK[2]} "
        f"saved times (kinetic: {KINETIC_WORK[0]}, {KINETIC_WORK[1]}, {KINETIC_WORK[2]}) by a surrogate of "
        "`two_stream`, with independent noise (kinetic: without); 1000 steps would reach the end of its horizon. All"
        " traced: model, state with its time, times, parameters and key are arguments of the compiled function. "
        "diffrax: one Euler-Maruyama solve per sample by the same drift, with a VirtualBrownianTree. Every row is a "
        f"process of its own with one thread; the median of {options.repeats} calls after the first.\n\n{machine}\n\n"
        f"{times_of_ways(options.core, options.repeats)}",
    )


if __name__ == "__main__":
    main()
